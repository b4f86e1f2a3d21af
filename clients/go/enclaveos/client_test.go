package enclaveos_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"enclaveos/client-go/dcap"
	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/internal/fixture"
	"enclaveos/client-go/policy"
	"enclaveos/client-go/verify"
)

func serve(t *testing.T) *fixture.Server {
	return fixture.Serve(t, fixture.NewEnclave(t, fixture.NewPKI(t, "Test Root")))
}

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// client talks to the server under a policy with these lines at the end.
func client(t *testing.T, s *fixture.Server, tier policy.Tier, more string, edit ...func(*enclaveos.Config)) *enclaveos.Client {
	t.Helper()
	config := enclaveos.Config{
		Address: s.Address(), Policy: parse(t, s.Policy(more)), Tier: &tier,
		Now: func() time.Time { return fixture.Now.Add(time.Minute) },
	}
	for _, change := range edit {
		change(&config)
	}
	made, err := enclaveos.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

const anyTier = "[freshness]\nmin_tier = \"certificate\"\n"

func TestEveryTier(t *testing.T) {
	for _, tier := range []policy.Tier{policy.Certificate, policy.Challenge, policy.Channel} {
		t.Run(tier.String(), func(t *testing.T) {
			s := serve(t)
			conn, err := client(t, s, tier, anyTier).Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if v := conn.Verdict(); !v.Accepted || *v.Tier != tier || len(conn.Certificates()) != 3 {
				t.Errorf("%+v", v)
			}
			if s.Requests() != 0 || s.Attests() != 1 {
				t.Errorf("%d requests and %d attests before the first call", s.Requests(), s.Attests())
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTheStrongestTierIsTheDefault(t *testing.T) {
	s := serve(t)
	c := client(t, s, 0, "", func(c *enclaveos.Config) { c.Tier = nil })
	conn, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if *conn.Verdict().Tier != policy.Channel {
		t.Error(conn.Verdict().Tier)
	}
}

// refused connects, expects these checks to fail, and that the server was asked for nothing but quotes.
func refused(t *testing.T, s *fixture.Server, c *enclaveos.Client, attests int, failed ...verify.CheckID) {
	t.Helper()
	conn, err := c.Connect(t.Context())
	if err == nil {
		conn.Close()
		t.Fatal("connected")
	}
	var refused *enclaveos.VerificationError
	if !errors.As(err, &refused) {
		t.Fatal(err)
	}
	if !slices.Equal(refused.Verdict.Failed(), failed) {
		t.Errorf("failed %v: %v", refused.Verdict.Failed(), err)
	}
	response, err := c.HTTP().Get("https://" + s.Address() + "/notes/x")
	if err == nil {
		response.Body.Close()
		t.Error("an HTTP request was sent")
	} else if !errors.As(err, &refused) {
		t.Error(err)
	}
	if s.Requests() != 0 || s.Attests() != 2*attests {
		t.Errorf("%d requests and %d attests", s.Requests(), s.Attests())
	}
}

func TestWhoIsRefused(t *testing.T) {
	old := func([32]byte) [32]byte { return [32]byte{9} }
	t.Run("old nonce in the handshake", func(t *testing.T) {
		s := serve(t)
		s.Nonce = old
		refused(t, s, client(t, s, policy.Challenge, ""), 1, verify.CheckReportData)
	})
	t.Run("old nonce in attest", func(t *testing.T) {
		s := serve(t)
		s.Nonce = old
		refused(t, s, client(t, s, policy.Channel, ""), 1, verify.CheckReportData)
	})
	t.Run("exporter of another connection", func(t *testing.T) {
		s := serve(t)
		s.Exporter = old
		refused(t, s, client(t, s, policy.Channel, ""), 1, verify.CheckReportData)
	})
	t.Run("another image", func(t *testing.T) {
		s := serve(t)
		s.Enclave.Report = func(r *dcap.Report) { r.MRENCLAVE[0] ^= 1 }
		refused(t, s, client(t, s, policy.Channel, ""), 1, verify.CheckMeasurement)
	})
	t.Run("tier below the policy's", func(t *testing.T) {
		s := serve(t)
		refused(t, s, client(t, s, policy.Certificate, ""), 1, verify.CheckTier)
	})
	t.Run("another root, with nothing asked", func(t *testing.T) {
		s := serve(t)
		p := parse(t, fixture.NewEnclave(t, fixture.NewPKI(t, "Other")).Policy(anyTier))
		refused(t, s, client(t, s, policy.Certificate, "", func(c *enclaveos.Config) { c.Policy = p }), 0, verify.CheckRoot)
	})
	t.Run("another image, with collateral at hand and nothing asked", func(t *testing.T) {
		s := serve(t)
		s.Enclave.Report = func(r *dcap.Report) { r.MRENCLAVE[0] ^= 1 }
		collateral := s.PKI.Collateral()
		refused(t, s, client(t, s, policy.Challenge, "", func(c *enclaveos.Config) { c.Collateral = collateral }), 0, verify.CheckMeasurement)
	})
	t.Run("no name", func(t *testing.T) {
		s := serve(t)
		c := client(t, s, policy.Channel, "", func(c *enclaveos.Config) { c.ServerName = "other.example" })
		refused0(t, c, verify.CheckServerName)
	})
	t.Run("clock 25 hours off", func(t *testing.T) {
		s := serve(t)
		s.At = fixture.Now.Add(-25 * time.Hour)
		refused(t, s, client(t, s, policy.Challenge, ""), 1, verify.CheckCertificateTime)
	})
}

// refused0 expects a connection to be refused for these checks.
func refused0(t *testing.T, c *enclaveos.Client, failed ...verify.CheckID) {
	t.Helper()
	_, err := c.Connect(t.Context())
	var refused *enclaveos.VerificationError
	if !errors.As(err, &refused) || !slices.Equal(refused.Verdict.Failed(), failed) {
		t.Error(err)
	}
}

func TestWithoutQuoting(t *testing.T) {
	s := serve(t)
	s.NoQuote = true
	_, err := client(t, s, policy.Channel, "").Connect(t.Context())
	var unverified *enclaveos.VerificationError
	var reason *enclaveos.RefusedError
	if !errors.As(err, &unverified) || !errors.As(err, &reason) || reason.Code != "no-quote" {
		t.Fatal(err)
	}
	if !slices.Equal(unverified.Verdict.Failed(), []verify.CheckID{verify.CheckQuoteFormat}) {
		t.Error(unverified.Verdict.Failed())
	}
}

func TestCollateralIsAskedForOnce(t *testing.T) {
	s := serve(t)
	c := client(t, s, policy.Challenge, "")
	for range 3 {
		conn, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if s.Attests() != 1 {
		t.Errorf("%d attests", s.Attests())
	}
}

func TestExpiredCollateralIsAskedForAgain(t *testing.T) {
	s := serve(t)
	s.PKI.NextUpdate = fixture.Now.Add(time.Hour)
	now := fixture.Now.Add(time.Minute)
	c := client(t, s, policy.Challenge, "", func(c *enclaveos.Config) { c.Now = func() time.Time { return now } })
	for range 2 {
		conn, err := c.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		now = fixture.Now.Add(2 * time.Hour)
		s.PKI.NextUpdate = fixture.Now.Add(20 * time.Hour)
	}
	if s.Attests() != 2 {
		t.Errorf("%d attests", s.Attests())
	}
}

const outOfDate = "[tcb]\nstatuses = [\"UpToDate\", { status = \"OutOfDate\", until = \"2027-01-01T00:00:00Z\" }]\n"

// say has the authority say something from a day on.
func say(s *fixture.Server, status string, day int) {
	s.PKI.TCBStatus, s.PKI.Issued = status, fixture.Now.AddDate(0, 0, day)
}

func status(t *testing.T, c *enclaveos.Client) string {
	t.Helper()
	conn, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.Verdict().TCB.Status
}

func TestOlderCollateralReplacesNone(t *testing.T) {
	s := serve(t)
	c := client(t, s, policy.Channel, outOfDate)
	for _, step := range []struct {
		says string
		day  int
		want string
	}{{"OutOfDate", -5, "OutOfDate"}, {"UpToDate", -6, "OutOfDate"}, {"UpToDate", -5, "UpToDate"}, {"OutOfDate", -4, "OutOfDate"}, {"UpToDate", -5, "OutOfDate"}} {
		say(s, step.says, step.day)
		if got := status(t, c); got != step.want {
			t.Errorf("%+v: %s", step, got)
		}
	}
}

// Not even when what is kept has expired.
func TestOlderCollateralReplacesNoneThatExpired(t *testing.T) {
	s := serve(t)
	now := fixture.Now.Add(time.Minute)
	s.PKI.NextUpdate = fixture.Now.Add(time.Hour)
	c := client(t, s, policy.Challenge, outOfDate, func(c *enclaveos.Config) { c.Now = func() time.Time { return now } })
	say(s, "OutOfDate", -5)
	status(t, c)
	now, s.PKI.NextUpdate = fixture.Now.Add(2*time.Hour), fixture.Now.AddDate(0, 0, 20)
	say(s, "UpToDate", -6)
	refused0(t, c, verify.CheckQuote)
	say(s, "UpToDate", -5)
	if got := status(t, c); got != "UpToDate" {
		t.Error(got)
	}
}

func TestCollateralOfTheCallerIsNeverReplaced(t *testing.T) {
	for _, tier := range []policy.Tier{policy.Challenge, policy.Channel} {
		s := serve(t)
		say(s, "OutOfDate", -5)
		given := s.PKI.Collateral()
		say(s, "UpToDate", -1)
		now := fixture.Now.Add(time.Minute)
		c := client(t, s, tier, outOfDate, func(c *enclaveos.Config) {
			c.Collateral, c.Now = given, func() time.Time { return now }
		})
		for range 2 {
			if got := status(t, c); got != "OutOfDate" {
				t.Error(got)
			}
		}
		// The caller's has expired; the server's has not.
		now, s.PKI.NextUpdate = fixture.Now.AddDate(0, 0, 21), fixture.Now.AddDate(0, 0, 30)
		s.At = now
		refused0(t, c, verify.CheckQuote)
	}
}

func TestSettingsAreFetched(t *testing.T) {
	s := serve(t)
	s.Manifest = `{"version":1,"root":"` + hexOf(fixture.EmptyRoot()) + `","leaves":[]}`
	empty := hexOf([32]byte{})
	wanted := "[configuration.leaves]\n\"core.version\" = [\"" + empty + "\"]\n"
	_, err := client(t, s, policy.Channel, wanted).Connect(t.Context())
	if err == nil || !strings.Contains(err.Error(), "core.version") {
		t.Error(err)
	}
	if !slices.Equal(s.Asked, []string{"/.enclave/v1/proofs/core.version"}) {
		t.Error("of a single leaf only its proof is asked for", s.Asked)
	}
	// The app's tree is in the manifest alone.
	fetched := "[app]\nname = \"notes\"\n[configuration]\napp_root = [\"" + hexOf(fixture.EmptyRoot()) + "\"]\n"
	conn, err := client(t, s, policy.Channel, fetched).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestHTTP(t *testing.T) {
	for _, tier := range []policy.Tier{policy.Challenge, policy.Channel} {
		s := serve(t)
		web := client(t, s, tier, "").HTTP()
		for range 2 {
			response, err := web.Get("https://" + s.Address() + "/notes/list")
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || string(body) != "hello from /notes/list" {
				t.Errorf("%s %v", body, err)
			}
		}
		if s.Requests() != 2 || s.Attests() != 1 {
			t.Errorf("%d requests and %d attests", s.Requests(), s.Attests())
		}
		for _, elsewhere := range []string{"https://other.example/", "http://" + s.Address() + "/"} {
			if response, err := web.Get(elsewhere); err == nil {
				response.Body.Close()
				t.Errorf("a request for %s went to the enclave", elsewhere)
			}
		}
		web.CloseIdleConnections()
	}
}

func TestConfiguration(t *testing.T) {
	if _, err := enclaveos.New(enclaveos.Config{Address: "127.0.0.1:1"}); !errors.Is(err, enclaveos.ErrNoPolicy) {
		t.Error(err)
	}
	var connection *enclaveos.ConnectionError
	for _, address := range []string{"", "host", ":1"} {
		if _, err := enclaveos.New(enclaveos.Config{Address: address, Danger: enclaveos.DangerAnyone}); !errors.As(err, &connection) {
			t.Errorf("%q: %v", address, err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	c, err := enclaveos.New(enclaveos.Config{Address: closed, Danger: enclaveos.DangerAnyone})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Connect(t.Context()); !errors.As(err, &connection) || connection.Op != "connect" {
		t.Error(err)
	}
}

func TestAnyEnclave(t *testing.T) {
	dangerous := func(c *enclaveos.Config) { c.Policy, c.Danger = nil, enclaveos.DangerAnyEnclave }
	s := serve(t)
	conn, err := client(t, s, policy.Channel, "", dangerous).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if conn.Verdict().Accepted {
		t.Error("accepted without a policy")
	}
	conn.Close()
	s.Exporter = func([32]byte) [32]byte { return [32]byte{} }
	refused0(t, client(t, s, policy.Channel, "", dangerous), verify.CheckReportData)
}

// A peer that says nothing does not hold up a caller whose time is over.
func TestAContextEndsWaiting(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c, err := enclaveos.New(enclaveos.Config{Address: listener.Addr().String(), Danger: enclaveos.DangerAnyone})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			defer conn.Close()
		}
		cancel()
		<-t.Context().Done()
	}()
	if _, err := c.Connect(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

var _ http.RoundTripper = (*enclaveos.Client)(nil).Transport()
