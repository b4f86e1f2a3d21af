package verify

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"enclaveos/client-go/leaf"
)

// maxChain is the most certificates: a leaf, the enclave's authority, and what an operator may install
// above it.
const maxChain = 9

// certificate judges the certificate chain: form, links, time, name.
func (j *judgement) certificate() bool {
	ders := j.presented.certificates()
	if len(ders) == 0 {
		return j.fail(CheckCertificateFormat, "no certificate", "", "No certificate was sent: this is not the TLS port of an enclave.")
	}
	var err error
	if j.leaf, err = leaf.Parse(ders[0]); err != nil {
		return j.fail(CheckCertificateFormat, "not readable", "", "The certificate is not one of an enclave of this system: "+err.Error()+".")
	}
	if document, is := j.presented.(*Document); is && !bytes.Equal(document.CertificateQuote, j.leaf.Quote) {
		return j.fail(CheckCertificateFormat, "two quotes", "", "`certificate_quote` of the document is not the quote in its certificate: it was changed. Ask the enclave for another (/.enclave/v1/evidence).")
	}
	c := j.leaf.X509
	j.ConfigurationRoot = j.leaf.ConfigurationRoot[:]
	j.NotBefore, j.NotAfter = utc(c.NotBefore), utc(c.NotAfter)
	for i := range j.leaf.Apps {
		app := &j.leaf.Apps[i]
		told := App{Name: app.Name, RoutePrefix: app.RoutePrefix, CodeHash: app.CodeHash[:]}
		if own := j.leaf.App; own != nil {
			root := Hex(own.ConfigurationRoot[:])
			told.ConfigurationRoot, told.KeySource = &root, own.KeySource
		}
		j.Apps = append(j.Apps, told)
	}
	j.pass(CheckCertificateFormat, c.Subject.String(), "")

	if err := j.links(ders); err != nil {
		return j.fail(CheckCertificateChain, fmt.Sprintf("%d certificates", len(ders)), "", "The certificate chain does not hold: "+err.Error()+".")
	}
	j.pass(CheckCertificateChain, fmt.Sprintf("%d certificates", len(ders)), "")

	inTime := !j.now.Before(c.NotBefore.Add(-leaf.Skew)) && !j.now.After(c.NotAfter.Add(leaf.Skew))
	j.note(CheckCertificateTime, inTime, span(c), stamp(j.now),
		clockMessage(j.now, c))
	if name := j.presented.name(); name != "" {
		j.note(CheckServerName, named(c, name), names(c), name, "The certificate is not for "+name+": another enclave answered, or an app of another name. Connect with a name it has, or add the name to the image's served_names.")
	}
	return true
}

func clockMessage(now time.Time, c *x509.Certificate) string {
	if now.Before(c.NotBefore) {
		return "The certificate is not valid yet: this clock is slow, or that of the enclave's host is fast. Set both by NTP."
	}
	return "The certificate has expired: it was kept from an earlier day, or this clock is fast. Connect anew, and set the clock by NTP."
}

// links verifies every certificate against the one after it.
func (j *judgement) links(ders [][]byte) error {
	if len(ders) < 2 {
		return errors.New("the enclave's CA certificate is missing; a chain has at least two certificates, and something between here and the enclave may have dropped it")
	}
	if len(ders) > maxChain {
		return fmt.Errorf("it has more than %d certificates; install fewer above the enclave's CA (enclave-os ca install)", maxChain)
	}
	if err := signsData(j.leaf.X509); err != nil {
		return err
	}
	j.chain = []*x509.Certificate{j.leaf.X509}
	for _, der := range ders[1:] {
		issuer, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		below := j.chain[len(j.chain)-1]
		if err := j.issued(below, issuer); err != nil {
			return fmt.Errorf("%s: %w", below.Subject, err)
		}
		if (issuer.MaxPathLen > 0 || issuer.MaxPathLenZero) && len(j.chain)-1 > issuer.MaxPathLen {
			return fmt.Errorf("%s: may have only %d authorities below it (pathLenConstraint); the operator has to issue it with a larger one, or sign the enclave's request with it directly", issuer.Subject, issuer.MaxPathLen)
		}
		j.chain = append(j.chain, issuer)
	}
	last := j.chain[len(j.chain)-1]
	if bytes.Equal(last.RawIssuer, last.RawSubject) {
		if err := last.CheckSignatureFrom(last); err != nil {
			return fmt.Errorf("%s: it names itself as its issuer, and did not sign itself, so it is not the one that its operator made: %w", last.Subject, err)
		}
	}
	return constrained(j.chain)
}

// signsData says whether a leaf is one that a TLS server may use.
func signsData(c *x509.Certificate) error {
	switch {
	case c.IsCA:
		return errors.New("the first certificate is one of an authority, not a leaf; the leaf comes first")
	case !serves(c, x509.ExtKeyUsageServerAuth):
		return errors.New("the first certificate is not one of a server (extendedKeyUsage)")
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("the first certificate has the unknown critical extension %s", c.UnhandledCriticalExtensions[0])
	}
	return nil
}

// serves says whether one of these is among the purposes of a certificate, which may leave them open (RFC
// 5280 §4.2.1.12). Those of an authority bind what it issues.
func serves(c *x509.Certificate, purposes ...x509.ExtKeyUsage) bool {
	return extension(c, oidPurposes) == nil ||
		slices.ContainsFunc(purposes, func(one x509.ExtKeyUsage) bool { return slices.Contains(c.ExtKeyUsage, one) })
}

func (j *judgement) issued(below, issuer *x509.Certificate) error {
	switch {
	case !issuer.BasicConstraintsValid || !issuer.IsCA || issuer.KeyUsage&x509.KeyUsageCertSign == 0:
		return fmt.Errorf("%s is not a certificate authority; it has to be issued with CA:TRUE and keyCertSign", issuer.Subject)
	case !bytes.Equal(below.RawIssuer, issuer.RawSubject):
		return fmt.Errorf("it was not issued by %s, which stands above it; certificates of two enclaves or operators were mixed", issuer.Subject)
	case j.now.Before(issuer.NotBefore) || j.now.After(issuer.NotAfter):
		return fmt.Errorf("its issuer %s is valid %s, and it is %s; have it issued anew (enclave-os ca csr, ca install), or mend the clock", issuer.Subject, span(issuer), stamp(j.now))
	case !serves(issuer, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageAny):
		return fmt.Errorf("its issuer %s may not vouch for servers (extendedKeyUsage)", issuer.Subject)
	case len(issuer.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("its issuer %s has the unknown critical extension %s", issuer.Subject, issuer.UnhandledCriticalExtensions[0])
	}
	return below.CheckSignatureFrom(issuer)
}

// named says whether the certificate lists exactly this name or address; there are no wildcards here.
// An IPv4 address and the IPv6 address it maps to are two addresses.
func named(c *x509.Certificate, name string) bool {
	if address, err := netip.ParseAddr(name); err == nil && address.Zone() == "" {
		return slices.ContainsFunc(c.IPAddresses, func(listed net.IP) bool { return bytes.Equal(listed, address.AsSlice()) })
	}
	return slices.ContainsFunc(c.DNSNames, func(listed string) bool { return strings.EqualFold(listed, name) })
}

func names(c *x509.Certificate) string {
	all := append([]string{}, c.DNSNames...)
	for _, ip := range c.IPAddresses {
		// Not net.IP's own text, which is one for both.
		address, _ := netip.AddrFromSlice(ip)
		all = append(all, address.String())
	}
	return fmt.Sprint(all)
}

func span(c *x509.Certificate) string {
	return "from " + stamp(c.NotBefore) + " to " + stamp(c.NotAfter)
}

func stamp(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func utc(at time.Time) *time.Time {
	at = at.UTC()
	return &at
}
