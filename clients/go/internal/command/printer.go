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
		line, err := json.Marshal(v)
		if err != nil {
			line, _ = json.Marshal(map[string]string{"status": "error", "message": err.Error()})
		}
		fmt.Fprintf(p.stdout, "%s\n", line)
		return
	}
	row := func(what, format string, arguments ...any) {
		fmt.Fprintf(p.stderr, "%-14s %s\n", what, fmt.Sprintf(format, arguments...))
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
		fmt.Fprintf(p.stderr, "error: not verified, no command was sent\n%s\n", refused.Verdict.Explain())
		if refused.Cause != nil {
			fmt.Fprintf(p.stderr, "the server says: %s\n", refused.Cause)
		}
		return exitUnverified
	}
	fmt.Fprintln(p.stderr, "error:", err)
	return exitConnection
}

// answer prints a reply: as it came for programs, indented for people.
func (p *printer) answer(reply []byte) {
	var shown bytes.Buffer
	if p.json || json.Indent(&shown, reply, "", "  ") != nil {
		shown.Reset()
		shown.Write(reply)
	}
	fmt.Fprintf(p.stdout, "%s\n", shown.Bytes())
}
