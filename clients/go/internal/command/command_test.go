package command

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/internal/fixture"
	"enclaveos/client-go/verify"
)

// run runs the command against a server whose certificates are of now.
func run(t *testing.T, s *fixture.Server, policy, stdin string, more ...string) (code int, stdout, stderr string) {
	t.Helper()
	host, port, err := net.SplitHostPort(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	typed := append([]string{"--host", host, "--port", port}, more...)
	if policy != "" {
		file := filepath.Join(t.TempDir(), "policy.toml")
		if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
			t.Fatal(err)
		}
		typed = append(typed, "--policy", file)
	}
	var out, errors bytes.Buffer
	code = Run(typed, strings.NewReader(stdin), &out, &errors)
	return code, out.String(), errors.String()
}

func serve(t *testing.T) *fixture.Server {
	saved := fixture.Now
	fixture.Now = time.Now()
	t.Cleanup(func() { fixture.Now = saved })
	return fixture.Serve(t, fixture.NewEnclave(t, fixture.NewPKI(t, "DEVELOPMENT Root")))
}

func TestVerifiesAndThenTakesCommands(t *testing.T) {
	s := serve(t)
	code, out, told := run(t, s, s.Policy(""), "\"Ping\"\n\nhelp\nverdict\nexit\n\"Ping\"\n")
	if code != exitDone || out != "\"Pong\"\n" || strings.Count(told, "the policy holds, tier channel") != 2 || strings.Contains(told, "WARNING") {
		t.Errorf("%d\n%s\n%s", code, out, told)
	}
}

func TestSaysEachTimeThatThereWasNoPolicy(t *testing.T) {
	s := serve(t)
	for _, more := range [][]string{nil, {"--danger-accept-unverified"}} {
		code, out, told := run(t, s, "", "\"Ping\"\n", more...)
		if code != exitDone || out != "\"Pong\"\n" || !strings.Contains(told, "not verified against a policy") {
			t.Errorf("%d\n%s\n%s", code, out, told)
		}
	}
}

func TestRefusesWhatThePolicyDoesNotName(t *testing.T) {
	s := serve(t)
	policy := strings.Replace(s.Policy(""), "mrenclave = [\"", "mrenclave = [\""+strings.Repeat("0", 64)+"\"]#", 1)
	code, out, told := run(t, s, policy, "\"Ping\"\n")
	if code != exitUnverified || out != "" || !strings.Contains(told, "measurement: ") || s.Requests() != 0 {
		t.Errorf("%d\n%s\n%s", code, out, told)
	}
	s.NoQuote = true
	code, out, told = run(t, s, "", "\"Ping\"\n")
	if code != exitUnverified || out != "" || !strings.Contains(told, "there is no quoting here") {
		t.Errorf("%d\n%s\n%s", code, out, told)
	}
}

func TestJSON(t *testing.T) {
	s := serve(t)
	code, out, _ := run(t, s, s.Policy(""), "\"Ping\"\n", "--json", "--tier", "challenge")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var verdict struct {
		Accepted bool
		Tier     string
	}
	if code != exitDone || len(lines) != 2 || json.Unmarshal([]byte(lines[0]), &verdict) != nil || !verdict.Accepted || verdict.Tier != "challenge" || lines[1] != `"Pong"` {
		t.Errorf("%d\n%s", code, out)
	}
}

func TestAScriptFailsWithItsFirstFailure(t *testing.T) {
	s := serve(t)
	s.Reply = func([]byte) []byte { return []byte(`{"status":"error","code":"unknown-app","message":"no"}`) }
	code, out, _ := run(t, s, s.Policy(""), "{\"wasm_list\":{}}\nnot json\n\"Ping\"\n")
	if code != exitRefused || !strings.HasSuffix(out, "\"Pong\"\n") {
		t.Errorf("%d\n%s", code, out)
	}
	if code, _, _ := run(t, s, s.Policy(""), "not json\n"); code != exitUsage {
		t.Error(code)
	}
}

// A server says what it likes, and a terminal does what it is told.
func TestATerminalIsToldNothingByTheServer(t *testing.T) {
	bad := "\x1b[2K\x7f\u009b\u202e\u2066"
	s := serve(t)
	reply := "{\"message\":\"" + bad[len("\x1b"):] + "\"}"
	s.Reply = func(request []byte) []byte {
		if string(request) == "1" {
			return []byte("\rVerified\n" + bad + "\xff")
		}
		return []byte(reply)
	}
	code, out, told := run(t, s, s.Policy(""), "1\n2\n")
	for _, want := range []string{"\\u000dVerified\\u000a\\u001b[2K\\u007f\\u009b\\u202e\\u2066\\xff\n", "{\n  \"message\": \"[2K\\u007f\\u009b\\u202e\\u2066\"\n}\n"} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("%d\n%q\n%s", code, out, told)
		}
	}
	if _, out, _ = run(t, s, s.Policy(""), "2\n", "--json"); !strings.HasSuffix(out, reply+"\n") {
		t.Errorf("%q", out)
	}
	var written bytes.Buffer
	p := &printer{stdout: &written, stderr: &written}
	v := &verify.Verdict{
		TCB:    &verify.TCB{Advisories: []string{bad}},
		Checks: []verify.Check{{ID: verify.CheckRoot, Message: "of\nVerified " + bad}},
	}
	p.failure(&enclaveos.VerificationError{Verdict: v, Cause: &enclaveos.RefusedError{Code: "x", Message: "no\nVerified " + bad}})
	p.failure(&enclaveos.ConnectionError{Err: &enclaveos.RefusedError{Message: "no\nVerified " + bad}})
	if text := written.String(); strings.ContainsAny(text, bad[:1]+"\x7f\u009b\u202e\u2066") || strings.Contains(text, "\nVerified") || !strings.Contains(text, "root: of\\u000aVerified \\u001b") {
		t.Errorf("%q", text)
	}
}

func TestUsage(t *testing.T) {
	for _, typed := range [][]string{
		{}, {"--host", "h", "--port", "0"}, {"--host", "h", "--tier", "best"}, {"--host", "h", "more"}, {"--nonsense"},
		{"--host", "h", "--policy", "/does/not/exist"}, {"--evidence", "x"}, {"--host", "h", "--policy", "x", "--danger-accept-unverified"},
	} {
		var out, told bytes.Buffer
		if code := Run(typed, strings.NewReader(""), &out, &told); code != exitUsage || told.Len() == 0 || out.Len() > 0 {
			t.Errorf("%v: %d %s", typed, code, told.String())
		}
	}
	var told bytes.Buffer
	if code := Run([]string{"--help"}, strings.NewReader(""), &told, &told); code != exitDone || !strings.Contains(told.String(), "go run .") {
		t.Error(code, told.String())
	}
}
