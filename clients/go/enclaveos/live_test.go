package enclaveos_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"enclaveos/client-go/configuration"
	"enclaveos/client-go/dcap"
	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/policy"
	"enclaveos/client-go/verify"
)

// The tests in this file run against a server:
//
//	ENCLAVE_OS_ADDRESS   host:port of a development server
//	ENCLAVE_OS_POLICY    the text of a policy: roots and enclave, without other tables
//	ENCLAVE_OS_COMPONENT a file with examples/wasm-example, compiled for it

// server is the server of the environment, with the example loaded as `go-client` and as `go-other`.
type server struct {
	t       *testing.T
	address string
	policy  string
}

const (
	appName   = "go-client"
	otherName = "go-other"
	hostname  = "go-client.example"
)

func live(t *testing.T) *server {
	address := os.Getenv("ENCLAVE_OS_ADDRESS")
	if address == "" {
		t.Skip("ENCLAVE_OS_ADDRESS names no server")
	}
	s := &server{t: t, address: address, policy: os.Getenv("ENCLAVE_OS_POLICY") + "\n"}
	component, err := os.ReadFile(os.Getenv("ENCLAVE_OS_COMPONENT"))
	if err != nil {
		t.Fatal(err)
	}
	conn := s.connect(policy.Channel, "")
	defer conn.Close()
	there, err := conn.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, host := range map[string]string{appName: hostname, otherName: "go-other.example"} {
		if slices.ContainsFunc(there, func(app enclaveos.AppInfo) bool { return app.Name == name }) {
			continue
		}
		app, err := conn.Load(t.Context(), enclaveos.Load{Name: name, Hostname: host, Component: component})
		if err != nil {
			t.Fatal(err)
		}
		if code := sha256.Sum256(component); app.CodeHash != hexOf(code) {
			t.Errorf("%s runs %s", name, app.CodeHash)
		}
	}
	return s
}

func (s *server) client(tier policy.Tier, more string, edit ...func(*enclaveos.Config)) *enclaveos.Client {
	s.t.Helper()
	config := enclaveos.Config{Address: s.address, Policy: parse(s.t, s.policy+more), Tier: &tier}
	for _, change := range edit {
		change(&config)
	}
	made, err := enclaveos.New(config)
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

func (s *server) connect(tier policy.Tier, more string, edit ...func(*enclaveos.Config)) *enclaveos.Conn {
	s.t.Helper()
	conn, err := s.client(tier, more, edit...).Connect(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

func toApp(c *enclaveos.Config) { c.ServerName = hostname }

// collateral is what the enclave sends along.
func (s *server) collateral() *dcap.Collateral {
	return s.evidence().Collateral
}

func (s *server) get(path string, edit ...func(*enclaveos.Config)) []byte {
	s.t.Helper()
	host := s.address
	if len(edit) > 0 {
		host = hostname
	}
	response, err := s.client(policy.Channel, "", edit...).HTTP().Get("https://" + host + "/.enclave/v1/" + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatal(path, response.Status, err, string(body))
	}
	return body
}

func (s *server) evidence() *verify.Document {
	document, err := verify.ParseDocument(s.get("evidence"))
	if err != nil {
		s.t.Fatal(err)
	}
	return document
}

func TestLiveCallsAtEveryTier(t *testing.T) {
	s := live(t)
	for _, tier := range []policy.Tier{policy.Certificate, policy.Challenge, policy.Channel} {
		conn := s.connect(tier, anyTier)
		if v := conn.Verdict(); !v.Accepted || *v.Tier != tier {
			t.Errorf("%+v", v)
		}
		app := conn.App(appName)
		for _, call := range []struct {
			function   string
			parameters []any
			want       any
		}{
			{"hello", nil, "Hello, World!"},
			{"kv-store", []any{"greeting", "hi"}, "stored: greeting"},
			{"kv-read", []any{"greeting"}, "hi"},
		} {
			got, err := app.Call(t.Context(), call.function, call.parameters...)
			if err != nil || got != call.want {
				t.Errorf("%s %s: %v, %v", tier, call.function, got, err)
			}
		}
		var refused *enclaveos.RefusedError
		if _, err := app.Call(t.Context(), "hello", 1); !errors.As(err, &refused) || refused.Code != "bad-params" {
			t.Error(err)
		}
		if _, err := conn.App("no-such-app").Call(t.Context(), "hello"); !errors.As(err, &refused) || refused.Code != "unknown-app" {
			t.Error(err)
		}
		if err := conn.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
}

func TestLiveHTTP(t *testing.T) {
	s := live(t)
	for _, tier := range []policy.Tier{policy.Certificate, policy.Challenge, policy.Channel} {
		web := s.client(tier, anyTier).HTTP()
		for range 2 {
			response, err := web.Post("https://"+s.address+"/.enclave/v1/apps/"+appName+"/call/hello", "application/json", strings.NewReader("[]"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			response.Body.Close()
			if err != nil || !bytes.Contains(body, []byte("Hello, World!")) {
				t.Errorf("%s: %s %v", tier, body, err)
			}
		}
		web.CloseIdleConnections()
	}
}

func TestLiveApp(t *testing.T) {
	s := live(t)
	own := anyTier + "[app]\nname = \"" + appName + "\"\nkey_source = \"generated\"\n"
	conn := s.connect(policy.Challenge, own, toApp)
	if apps := conn.Verdict().Apps; len(apps) != 1 || apps[0].KeySource != "generated" {
		t.Errorf("%+v", apps)
	}
	if got, err := conn.App(appName).Call(t.Context(), "hello"); err != nil || got != "Hello, World!" {
		t.Error(got, err)
	}
	var refused *enclaveos.RefusedError
	if _, err := conn.App(otherName).Call(t.Context(), "hello"); !errors.As(err, &refused) {
		t.Error(err)
	}
	conn.Close()
	// One app's certificate under another app's name, and where nobody has the name.
	other := anyTier + "[app]\nname = \"" + otherName + "\"\n"
	refused0(t, s.client(policy.Challenge, other, toApp), verify.CheckApp)
	nobody := func(c *enclaveos.Config) { c.ServerName = "nobody.example" }
	refused0(t, s.client(policy.Challenge, anyTier, nobody), verify.CheckServerName)
	hash := anyTier + "[app]\nname = \"" + appName + "\"\ncode_hashes = [\"" + hexOf([32]byte{}) + "\"]\n"
	refused0(t, s.client(policy.Challenge, hash), verify.CheckCodeHash)
}

func TestLiveSettings(t *testing.T) {
	s := live(t)
	manifest, err := configuration.ParseManifest(s.get("manifest"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := func(name string, hash [32]byte) string {
		return fmt.Sprintf("[configuration.leaves]\n%q = [\"%x\"]\n", name, hash)
	}
	policyHash := manifest.Leaf("core.operator_policy").ValueHash
	s.connect(policy.Channel, wanted("core.operator_policy", policyHash)).Close()
	refused0(t, s.client(policy.Channel, wanted("core.operator_policy", [32]byte{})), verify.CheckConfiguration)
	refused0(t, s.client(policy.Channel, wanted("core.nothing", [32]byte{})), verify.CheckConfiguration)
	// Settings come as proofs, beside an app's own certificate too.
	limits := manifest.Leaf("app." + appName + ".limits").ValueHash
	s.connect(policy.Channel, wanted("app."+appName+".limits", limits), toApp).Close()
	s.connect(policy.Channel, wanted("core.operator_policy", policyHash), toApp).Close()
	root := manifest.OfApp(appName).Root
	s.connect(policy.Channel, fmt.Sprintf("[app]\nname = %q\n[configuration]\napp_root = [\"%x\"]\n", appName, root)).Close()

	proof, err := configuration.ParseProof(s.get("proofs/core.version"))
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.Verify(manifest.Root); err != nil {
		t.Error(err)
	}
}

func TestLiveEvidence(t *testing.T) {
	s := live(t)
	text := s.get("evidence")
	p := parse(t, s.policy+anyTier)
	if v := verify.JudgeDocument(p, text, verify.Context{}, time.Now()); !v.Accepted {
		t.Error(v.Explain())
	}
	if v := verify.JudgeDocument(p, text, verify.Context{}, time.Now().Add(25*time.Hour)); v.Accepted {
		t.Error("accepted a day later")
	}
	own := s.get("evidence", toApp)
	ofApp := parse(t, s.policy+anyTier+"[app]\nname = \""+appName+"\"\nkey_source = \"generated\"\n")
	if v := verify.JudgeDocument(ofApp, own, verify.Context{}, time.Now()); !v.Accepted || len(v.Apps) != 1 {
		t.Error(v.Explain())
	}
	if bytes.Contains(own, []byte(otherName)) {
		t.Error("an app's evidence tells of another app")
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	members["evidence_quote"] = members["certificate_quote"]
	swapped, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	if v := verify.JudgeDocument(p, swapped, verify.Context{}, time.Now()); !slices.Equal(v.Failed(), []verify.CheckID{verify.CheckReportData}) {
		t.Error(v.Failed())
	}
}

// Verify one thing and then talk to another: not possible.
func TestLiveAChangedAppIsNotCalled(t *testing.T) {
	s := live(t)
	component, err := os.ReadFile(os.Getenv("ENCLAVE_OS_COMPONENT"))
	if err != nil {
		t.Fatal(err)
	}
	before, operator := s.connect(policy.Channel, ""), s.connect(policy.Channel, "")
	defer before.Close()
	defer operator.Close()
	if _, err := operator.Load(t.Context(), enclaveos.Load{Name: "go-changing", Component: component}); err != nil {
		t.Fatal(err)
	}
	if got, err := operator.App("go-changing").Call(t.Context(), "hello"); err != nil || got != "Hello, World!" {
		t.Error("over the connection that made the change:", got, err)
	}
	var refused *enclaveos.RefusedError
	if _, err := before.App("go-changing").Call(t.Context(), "hello"); !errors.As(err, &refused) || refused.Code != "attestation-stale" {
		t.Error(err)
	}
	if there, err := operator.Unload(t.Context(), "go-changing"); err != nil || !there {
		t.Error(there, err)
	}
	if there, err := operator.Unload(t.Context(), "go-changing"); err != nil || there {
		t.Error(there, err)
	}
}

func TestLiveConnectionsAreUsedBySeveral(t *testing.T) {
	s := live(t)
	conn := s.connect(policy.Channel, "")
	defer conn.Close()
	results := make(chan error)
	for i := range 8 {
		go func() {
			key := fmt.Sprint("key-", i)
			got, err := conn.App(appName).Call(context.Background(), "kv-store", key, "v")
			if err == nil && got != "stored: "+key {
				err = fmt.Errorf("%v", got)
			}
			results <- err
		}()
	}
	for range 8 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}
