package enclaveos_test

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/internal/fixture"
	"enclaveos/client-go/leaf"
	"enclaveos/client-go/policy"
	"enclaveos/client-go/verify"
)

// anotherImage is the policy with another measurement.
func (s *server) anotherImage() *policy.Policy {
	p := parse(s.t, s.policy+anyTier)
	p.Enclave.MRENCLAVE = [][32]byte{{1}}
	return p
}

func TestLiveNothingIsSentUnderAWrongPolicy(t *testing.T) {
	s := live(t)
	collateral, wrong := s.collateral(), s.anotherImage()
	for _, tier := range []policy.Tier{policy.Certificate, policy.Challenge} {
		r := relayTo(t, s.address)
		c := s.client(tier, "", func(c *enclaveos.Config) {
			c.Policy, c.Collateral, c.Address = wrong, collateral, r.listener.Addr().String()
		})
		refused0(t, c, verify.CheckMeasurement)
		if n := applicationRecords(t, <-r.sent); n != 2 {
			t.Errorf("%s: %d encrypted records instead of Finished and the closing alert", tier, n)
		}
	}
	refused0(t, s.client(policy.Channel, "", func(c *enclaveos.Config) { c.Policy = wrong }), verify.CheckMeasurement)
	intel := parse(t, strings.Replace(s.policy, "development", "intel = true\n#", 1)+anyTier)
	refused0(t, s.client(policy.Channel, "", func(c *enclaveos.Config) { c.Policy = intel }), verify.CheckRoot)
}

// shown is a connection made by hand, to misuse what an enclave shows on it.
type shown struct {
	conn  *tls.Conn
	chain [][]byte
}

func (s *server) handshake(alpn ...string) (*shown, error) {
	conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, NextProtos: append(alpn, "enclave-os/1")})
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { conn.Close() })
	made := &shown{conn: conn}
	for _, certificate := range conn.ConnectionState().PeerCertificates {
		made.chain = append(made.chain, certificate.Raw)
	}
	return made, nil
}

func (s *server) open(alpn ...string) *shown {
	s.t.Helper()
	made, err := s.handshake(alpn...)
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// attest asks for a quote by hand.
func (o *shown) attest(t *testing.T, nonce [32]byte) []byte {
	t.Helper()
	request := fmt.Appendf(nil, `{"attest":{"nonce":%q}}`, base64.RawURLEncoding.EncodeToString(nonce[:]))
	if _, err := o.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
		t.Fatal(err)
	}
	var prefix [4]byte
	if _, err := io.ReadFull(o.conn, prefix[:]); err != nil {
		t.Fatal(err)
	}
	reply := make([]byte, binary.BigEndian.Uint32(prefix[:]))
	if _, err := io.ReadFull(o.conn, reply); err != nil {
		t.Fatal(err)
	}
	var answer struct{ Quote []byte }
	if err := json.Unmarshal(reply, &answer); err != nil || len(answer.Quote) == 0 {
		t.Fatal(err, string(reply))
	}
	return answer.Quote
}

func (o *shown) exporter(t *testing.T, nonce [32]byte) [32]byte {
	state := o.conn.ConnectionState()
	exporter, err := state.ExportKeyingMaterial(leaf.ExporterLabel, nonce[:], 32)
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(exporter)
}

func TestLiveEvidenceOfAnotherConnectionIsRefused(t *testing.T) {
	s := live(t)
	p, known := parse(t, s.policy), verify.Context{Collateral: s.collateral()}
	failed := func(presented verify.Presented) []verify.CheckID {
		return verify.Judge(p, presented, known, time.Now()).Failed()
	}
	reportData := []verify.CheckID{verify.CheckReportData}
	var nonces [2][32]byte
	rand.Read(nonces[0][:])
	rand.Read(nonces[1][:])

	challenged := s.open("enclave-os-nonce/" + base64.RawURLEncoding.EncodeToString(nonces[0][:]))
	chain := verify.Certificate{Chain: challenged.chain}
	if got := failed(verify.Challenge{Certificate: chain, Nonce: nonces[0]}); len(got) > 0 {
		t.Error(got)
	}
	if got := failed(verify.Challenge{Certificate: chain, Nonce: nonces[1]}); !slices.Equal(got, reportData) {
		t.Error("an old nonce:", got)
	}

	first, second := s.open(), s.open()
	quote := first.attest(t, nonces[0])
	channel := func(o *shown, nonce [32]byte) verify.Presented {
		return verify.Channel{Certificate: verify.Certificate{Chain: o.chain}, Nonce: nonce, Exporter: o.exporter(t, nonce), Quote: quote}
	}
	if got := failed(channel(first, nonces[0])); len(got) > 0 {
		t.Error(got)
	}
	if got := failed(channel(second, nonces[0])); !slices.Equal(got, reportData) {
		t.Error("evidence of another connection:", got)
	}
	if got := failed(channel(first, nonces[1])); !slices.Equal(got, reportData) {
		t.Error("an old nonce:", got)
	}
}

func TestLiveMalformedNonceEndsTheHandshake(t *testing.T) {
	s := live(t)
	long := base64.RawURLEncoding.EncodeToString(make([]byte, 33))
	good := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for _, names := range [][]string{{"enclave-os-nonce/short"}, {"enclave-os-nonce/" + long}, {"enclave-os-nonce/" + good, "enclave-os-nonce/" + good[1:] + "B"}} {
		if _, err := s.handshake(names...); err == nil {
			t.Errorf("%v: the handshake went through", names)
		}
	}
}

// A relay of one's own in front of the enclave has another key, so nothing the enclave shows is for it.
func TestLiveRelayIsRefused(t *testing.T) {
	s := live(t)
	genuine := s.open()
	saved := fixture.Now
	fixture.Now = time.Now()
	defer func() { fixture.Now = saved }()
	forged := serve(t)
	collateral := s.collateral()
	c := s.client(policy.Certificate, "", func(c *enclaveos.Config) {
		c.Collateral, c.Address = collateral, forged.Address()
		c.Policy = parse(t, s.policy+anyTier)
	})
	refused0(t, c, verify.CheckRoot)
	own := forged.Certificate("", time.Now(), nil)
	chain := append([][]byte{own.Chain[0]}, genuine.chain[1:]...)
	verdict := verify.Judge(parse(t, s.policy+anyTier), verify.Certificate{Chain: chain}, verify.Context{Collateral: collateral}, time.Now())
	if !slices.Equal(verdict.Failed(), []verify.CheckID{verify.CheckCertificateChain}) {
		t.Error(verdict.Failed())
	}
}
