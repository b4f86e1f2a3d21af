package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/verify"
)

// printer writes answers to stdout and everything else to stderr.
type printer struct {
	stdout, stderr io.Writer
	json           bool
}

// verdict prints what was verified: a report a person reads in ten seconds, or one line of JSON.
func (p *printer) verdict(v *verify.Verdict) {
	if v == nil {
		return
	}
	if p.json {
		text, err := json.Marshal(v)
		if err != nil {
			text, _ = json.Marshal(map[string]string{"status": "error", "message": err.Error()})
		}
		fmt.Fprintln(p.stdout, line(string(text)))
		return
	}
	row := func(what, format string, arguments ...any) {
		fmt.Fprintf(p.stderr, "%-14s %s\n", what, line(fmt.Sprintf(format, arguments...)))
	}
	tier := ""
	if v.Tier != nil {
		tier = ", tier " + v.Tier.String()
	}
	switch {
	case v.Accepted:
		row("Verified", "the policy holds%s", tier)
	case len(v.Failed()) == 0:
		row("Genuine", "the quote holds and was made for this certificate or connection%s; no policy was asked", tier)
	default:
		row("REFUSED", "%d of %d checks failed", len(v.Failed()), len(v.Checks))
	}
	if e := v.Enclave; e != nil {
		row("Enclave", "%s", e.MRENCLAVE)
		row("Signed by", "%s, product %d, version %d", e.MRSIGNER, e.ISVProdID, e.ISVSVN)
		if e.Debug {
			row("Debug", "yes: whoever runs it can read everything")
		}
	}
	if t := v.TCB; t != nil {
		row("Platform", "%s %s", t.Status, strings.Join(t.Advisories, ", "))
		row("Root", "%s", t.Root)
	}
	for _, app := range v.Apps {
		row("App", "%s %s", app.Name, app.CodeHash)
	}
	if v.ConfigurationRoot != nil {
		row("Configuration", "%s", v.ConfigurationRoot)
	}
	if v.NotBefore != nil && v.NotAfter != nil {
		row("Valid", "%s to %s", v.NotBefore.Format("2006-01-02 15:04"), v.NotAfter.Format("2006-01-02 15:04 UTC"))
	}
}

// failure prints why there is no verified connection.
func (p *printer) failure(err error) int {
	if refused := (*enclaveos.VerificationError)(nil); errors.As(err, &refused) {
		p.verdict(refused.Verdict)
		fmt.Fprintln(p.stderr, "error: not verified, no command was sent")
		p.explain(refused.Verdict)
		if refused.Cause != nil {
			fmt.Fprintln(p.stderr, "the server says:", line(refused.Cause.Error()))
		}
		return exitUnverified
	}
	p.error(err)
	return exitConnection
}

// explain prints why a verdict is a refusal, a line for each failed check.
func (p *printer) explain(v *verify.Verdict) {
	for _, check := range v.Checks {
		if !check.Passed {
			fmt.Fprintf(p.stderr, "%s: %s\n", check.ID, line(check.Message))
		}
	}
}

// error prints an error, which may quote the server.
func (p *printer) error(err error) { fmt.Fprintln(p.stderr, "error:", line(err.Error())) }

// answer prints a reply: as it came for programs, indented and escaped for people.
func (p *printer) answer(reply []byte) {
	if p.json {
		fmt.Fprintf(p.stdout, "%s\n", reply)
		return
	}
	var shown bytes.Buffer
	if json.Indent(&shown, reply, "", "  ") != nil {
		fmt.Fprintln(p.stdout, line(string(reply)))
		return
	}
	fmt.Fprintln(p.stdout, lines(shown.String()))
}
