package verify

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"enclaveos/client-go/configuration"
	"enclaveos/client-go/dcap"
	"enclaveos/client-go/leaf"
	"enclaveos/client-go/policy"
)

// Context is what a verifier knows beside what is presented. The zero value knows nothing.
type Context struct {
	// Collateral about the platform. An evidence document may bring its own.
	Collateral *dcap.Collateral
	// Manifest or Proofs show single settings, where the policy asks for them.
	Manifest *configuration.Manifest
	Proofs   []*configuration.Proof
}

// judgement is a judgement under way.
type judgement struct {
	*Verdict
	policy    *policy.Policy
	presented Presented
	context   Context
	now       time.Time

	leaf     *leaf.Certificate
	chain    []*x509.Certificate
	quote    *dcap.Quote
	rootHash [32]byte
	verified *dcap.Verified
}

// Judge judges what is presented under a policy at a time.
func Judge(p *policy.Policy, presented Presented, context Context, now time.Time) *Verdict {
	v := &Verdict{Tier: tierOf(presented), Apps: []App{}}
	v.pass(CheckPolicy, "format 1", "")
	j := &judgement{Verdict: v, policy: p, presented: presented, context: context, now: now}
	switch presented := presented.(type) {
	case *Document:
		v.pass(CheckEvidenceFormat, "format 1", "")
		j.context.Manifest = presented.Manifest
		if j.context.Collateral == nil {
			j.context.Collateral = presented.Collateral
		}
	case Quote:
		complete := j.genuine()
		if complete {
			j.enclave()
			j.platform()
		}
		return v.conclude(complete)
	}
	complete := j.certificate() && j.genuine()
	if complete {
		j.bound()
		j.enclave()
		j.fresh()
		j.app()
		j.configuration()
		j.platform()
		j.operator()
	}
	return v.conclude(complete)
}

// Examine judges what can be judged without a policy: that a chain holds, that a quote is genuine under
// whatever root it names, and that it was made for this certificate or connection. It never accepts:
// which code on whose machine that is, only a policy can say.
func Examine(presented Presented, context Context, now time.Time) *Verdict {
	v := &Verdict{Tier: tierOf(presented), Apps: []App{}}
	j := &judgement{Verdict: v, presented: presented, context: context, now: now}
	if j.certificate() && j.form() {
		// The root that the quote names, for want of a policy.
		j.rootHash = sha256.Sum256(j.quote.Root())
		if j.signatures() {
			j.bound()
		}
	}
	return v.conclude(false)
}

// JudgeDocument judges the text of an evidence document.
func JudgeDocument(p *policy.Policy, text []byte, context Context, now time.Time) *Verdict {
	document, err := ParseDocument(text)
	if err != nil {
		return unreadableDocument(err)
	}
	return Judge(p, document, context, now)
}

func unreadableDocument(reason error) *Verdict {
	v := &Verdict{Apps: []App{}}
	v.pass(CheckPolicy, "format 1", "")
	v.fail(CheckEvidenceFormat, "not readable", "format 1", reason.Error())
	return v.conclude(false)
}

// genuine judges the quote itself: form, root, signatures.
func (j *judgement) genuine() bool {
	return j.form() && j.root() && j.signatures()
}

func (j *judgement) form() bool {
	raw := j.presented.quote(j.leaf)
	if len(raw) == 0 {
		return j.fail(CheckQuoteFormat, "no quote", "", "There is no quote: the enclave's host could not have one made, and `ready` of the enclave says why.")
	}
	var err error
	if j.quote, err = dcap.Parse(raw); err != nil {
		return j.fail(CheckQuoteFormat, fmt.Sprintf("%d bytes", len(raw)), "an SGX quote of version 3", "This is no SGX quote of version 3: "+err.Error()+". Have the enclave make another one.")
	}
	return j.pass(CheckQuoteFormat, "version 3", "")
}

func (j *judgement) root() bool {
	wanted := "Intel's"
	if !j.policy.Roots.Intel {
		wanted = list(j.policy.Roots.Development)
	}
	root := j.quote.Root()
	j.rootHash = sha256.Sum256(root)
	found := hex.EncodeToString(j.rootHash[:])
	if j.policy.Roots.Accepts(j.rootHash) {
		return j.pass(CheckRoot, found, wanted)
	}
	message := "The quote's certificates end in a root that the policy does not name."
	if certificate, err := x509.ParseCertificate(root); err == nil {
		subject := certificate.Subject.String()
		message = fmt.Sprintf("Nobody the policy trusts vouches for this platform: its certificates end in %q. Compare that with the root you meant; hardware leads to Intel's (`intel = true`).", subject)
		switch {
		case j.rootHash == policy.IntelRoot:
			message = "This is genuine hardware under Intel's root, and the policy accepts development roots only: use `intel = true`."
		case strings.Contains(subject, "DEVELOPMENT"):
			message = "This root says DEVELOPMENT: its keys are in a file on some machine and it protects nothing. To accept it while developing, name its fingerprint in `roots.development`."
		}
	}
	return j.fail(CheckRoot, found, wanted, message)
}

func (j *judgement) signatures() bool {
	if j.context.Collateral == nil {
		return j.fail(CheckQuote, "no collateral", "", "There is no collateral (revocation lists, TCB info, QE identity) to verify the quote with: give some, or let the enclave's host fetch it (--pccs-url).")
	}
	verified, err := j.quote.Verify(j.context.Collateral, j.now)
	if err != nil {
		return j.fail(CheckQuote, "not genuine", "", "The quote does not verify: "+err.Error()+".")
	}
	report := &verified.Report
	j.verified = verified
	j.Enclave = &Enclave{
		MRENCLAVE: report.MRENCLAVE[:], MRSIGNER: report.MRSIGNER[:], ISVProdID: report.ISVProdID,
		ISVSVN: report.ISVSVN, Debug: report.Debug(), CPUSVN: report.CPUSVN[:],
	}
	j.TCB = &TCB{
		Status: string(verified.Status), Advisories: append([]string{}, verified.Advisories...),
		FMSPC: verified.PCK.FMSPC[:], PPID: verified.PCK.PPID[:], Root: j.rootHash[:],
	}
	return j.pass(CheckQuote, "genuine", "")
}

// bound judges what the quote was made over.
func (j *judgement) bound() {
	wanted, expected := j.presented.reportData(j.leaf)
	if !expected {
		return
	}
	found := j.verified.Report.ReportData
	message := map[policy.Tier]string{
		policy.Certificate: "The quote was not made for this certificate's key and start of validity: somebody else's quote was put into it. Do not use this server.",
		policy.Challenge:   "The quote was not made for this certificate's key and this client's nonce: it is an old one, or one of another connection. Connect anew; if it stays so, something between here and the enclave answers in its place.",
		policy.Channel:     "The quote was not made for this certificate's key, this client's nonce and this TLS connection: somebody relays evidence of another connection. Connect anew, without a proxy that ends TLS; if it stays so, do not use this server.",
	}[*j.Tier]
	if _, offline := j.presented.(*Document); offline {
		message = "The evidence quote was not made for this certificate and this manifest: one of them was changed or exchanged. Ask the enclave for another document (/.enclave/v1/evidence)."
	}
	j.note(CheckReportData, found == wanted, hex.EncodeToString(found[:]), hex.EncodeToString(wanted[:]), message)
}

// tierOf is nil for a quote alone, which is bound to nothing.
func tierOf(presented Presented) *policy.Tier {
	if _, alone := presented.(Quote); alone {
		return nil
	}
	tier := presented.tier()
	return &tier
}

func list[T ~[32]byte | ~[16]byte](hashes []T) string {
	texts := make([]string, len(hashes))
	for i, hash := range hashes {
		texts[i] = fmt.Sprintf("%x", hash)
	}
	return strings.Join(texts, " or ")
}
