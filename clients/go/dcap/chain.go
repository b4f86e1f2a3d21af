package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// authority is the root everything is judged under, with the lists of what was revoked.
type authority struct {
	root    *x509.Certificate
	rootCRL *x509.RevocationList
	now     time.Time
}

// parseChain reads certificates that end in exactly the root.
func (a *authority) parseChain(ders [][]byte) ([]*x509.Certificate, error) {
	last := len(ders) - 1
	if !bytes.Equal(ders[last], a.root.Raw) {
		return nil, errors.New("the chain does not end in the root of this quote")
	}
	chain := make([]*x509.Certificate, 0, len(ders))
	for _, der := range ders[:last] {
		certificate, err := parseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, certificate)
	}
	return append(chain, a.root), nil
}

// signer verifies the chain of whoever signs TCB info or QE identity: issued directly by the root.
func (a *authority) signer(pemText string) (*x509.Certificate, error) {
	ders, err := certificatesOf([]byte(pemText), 2)
	if err != nil {
		return nil, err
	}
	chain, err := a.parseChain(ders)
	if err != nil {
		return nil, err
	}
	return chain[0], a.endEntity(chain[0], a.root, a.rootCRL)
}

// endEntity verifies a certificate that signs data, not certificates.
func (a *authority) endEntity(c, issuer *x509.Certificate, crl *x509.RevocationList) error {
	if c.IsCA {
		return fmt.Errorf("%s: a certificate authority where a signer of data belongs", name(c))
	}
	if c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return fmt.Errorf("%s: may not sign data (key usage)", name(c))
	}
	return a.link(c, issuer, crl)
}

// intermediate verifies a certificate authority below the root.
func (a *authority) intermediate(c *x509.Certificate) error {
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%s: not a certificate authority", name(c))
	}
	return a.link(c, a.root, a.rootCRL)
}

// link verifies one certificate against the one above it: signature, names, validity, revocation.
func (a *authority) link(c, issuer *x509.Certificate, crl *x509.RevocationList) error {
	if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%s: was not issued by %s", name(c), name(issuer))
	}
	if err := issued(c, issuer); err != nil {
		return err
	}
	if err := a.valid(c); err != nil {
		return err
	}
	for _, revoked := range crl.RevokedCertificateEntries {
		if revoked.SerialNumber.Cmp(c.SerialNumber) == 0 {
			return fmt.Errorf("%s: was revoked on %s, so nothing it signs is worth anything; fetch the collateral anew, and if it stays so, move the enclave to another machine", name(c), revoked.RevocationTime.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

func (a *authority) valid(c *x509.Certificate) error {
	if a.now.Before(c.NotBefore) || a.now.After(c.NotAfter) {
		return fmt.Errorf("%s: is valid from %s to %s, and it is %s", name(c),
			c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), a.now.UTC().Format(time.RFC3339))
	}
	return nil
}

// issued verifies a signature on a certificate with ECDSA P-256 and SHA-256, the only algorithm of
// this hierarchy.
func issued(c, issuer *x509.Certificate) error {
	if err := p256(issuer); err != nil {
		return err
	}
	if c.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return fmt.Errorf("%s: is signed with %s, not with ECDSA and SHA-256", name(c), c.SignatureAlgorithm)
	}
	if err := c.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("%s: %w", name(c), err)
	}
	return nil
}

func parseCertificate(der []byte) (*x509.Certificate, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("not a certificate: %w", err)
	}
	if len(c.UnhandledCriticalExtensions) > 0 {
		return nil, fmt.Errorf("%s: unknown critical extension %s", name(c), c.UnhandledCriticalExtensions[0])
	}
	return c, p256(c)
}

func p256(c *x509.Certificate) error {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return fmt.Errorf("%s: its key is not on P-256", name(c))
	}
	return nil
}

func name(c *x509.Certificate) string {
	if c.Subject.CommonName != "" {
		return c.Subject.CommonName
	}
	return c.Subject.String()
}

// revocations reads a revocation list, signed by issuer and of now (RFC 5280 §6.3.3).
func (a *authority) revocations(der []byte, issuer *x509.Certificate) (*x509.RevocationList, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("not a revocation list: %w", err)
	}
	if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) {
		return nil, fmt.Errorf("is not of %s", name(issuer))
	}
	if crl.SignatureAlgorithm != x509.ECDSAWithSHA256 {
		return nil, fmt.Errorf("is signed with %s, not with ECDSA and SHA-256", crl.SignatureAlgorithm)
	}
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		return nil, err
	}
	for _, extension := range crl.Extensions {
		if extension.Critical {
			return nil, fmt.Errorf("has an unknown critical extension %s", extension.Id)
		}
	}
	for _, entry := range crl.RevokedCertificateEntries {
		for _, extension := range entry.Extensions {
			if extension.Critical {
				return nil, fmt.Errorf("has an entry with an unknown critical extension %s", extension.Id)
			}
		}
	}
	if a.now.Before(crl.ThisUpdate) || !a.now.Before(crl.NextUpdate) {
		return nil, fmt.Errorf("is of %s to %s, and it is %s; fetch the collateral anew, or mend the clock", crl.ThisUpdate.UTC().Format(time.RFC3339),
			crl.NextUpdate.UTC().Format(time.RFC3339), a.now.UTC().Format(time.RFC3339))
	}
	return crl, nil
}
