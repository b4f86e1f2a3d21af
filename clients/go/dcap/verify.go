package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Verified is what a genuine quote says.
type Verified struct {
	// Report of the enclave.
	Report Report
	// PCK is the platform.
	PCK PCK
	// Status of the platform and its quoting enclave together. Never Revoked.
	Status Status
	// Advisories that concern the level of either.
	Advisories []string
}

// Verify judges the quote at a time, with collateral, under the root its own chain ends in.
// The caller decides first whether that root is trusted.
func (q *Quote) Verify(collateral *Collateral, now time.Time) (*Verified, error) {
	if !bytes.Equal(q.signed[12:28], intelQE[:]) {
		return nil, errors.New("the quote is not of a quoting enclave of Intel's design")
	}
	trust, err := newAuthority(q.Root(), collateral, now)
	if err != nil {
		return nil, err
	}
	pckCertificate, err := trust.pck(q.Chain, collateral)
	if err != nil {
		return nil, err
	}
	platform, err := platformOf(pckCertificate)
	if err != nil {
		return nil, err
	}
	info, err := trust.tcbInfo(collateral)
	if err != nil {
		return nil, err
	}
	identity, err := trust.qeIdentity(collateral)
	if err != nil {
		return nil, err
	}
	qeReport, err := q.verifySignatures(pckCertificate.PublicKey.(*ecdsa.PublicKey))
	if err != nil {
		return nil, err
	}
	qeLevel, err := identity.level(qeReport)
	if err != nil {
		return nil, err
	}
	level, err := info.level(platform)
	if err != nil {
		return nil, fmt.Errorf("the TCB info %w", err)
	}
	status := level.Status.converge(qeLevel.Status)
	if status == Revoked {
		return nil, errors.New("the platform's TCB level is revoked, Intel no longer trusts such platforms: update firmware and microcode and register the platform anew, or move the enclave to another machine")
	}
	verified := &Verified{Report: q.Report, PCK: *platform, Status: status}
	for _, advisory := range slices.Concat(level.Advisories, qeLevel.Advisories) {
		if !slices.Contains(verified.Advisories, advisory) {
			verified.Advisories = append(verified.Advisories, advisory)
		}
	}
	return verified, nil
}

// newAuthority takes the root as given, and its own list of revocations.
func newAuthority(root []byte, collateral *Collateral, now time.Time) (*authority, error) {
	certificate, err := parseCertificate(root)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	a := &authority{root: certificate, now: now}
	if !certificate.BasicConstraintsValid || !certificate.IsCA {
		return nil, errors.New("root: not a certificate authority")
	}
	if a.rootCRL, err = a.revocations(collateral.RootCACRL, certificate); err != nil {
		return nil, fmt.Errorf("the root's revocation list %w", err)
	}
	return a, a.link(certificate, certificate, a.rootCRL)
}

// pck verifies PCK, PCK authority and root, and both lists of revocations.
func (a *authority) pck(ders [][]byte, collateral *Collateral) (*x509.Certificate, error) {
	chain, err := a.parseChain(ders)
	if err != nil {
		return nil, err
	}
	pck, ca := chain[0], chain[1]
	if err := a.intermediate(ca); err != nil {
		return nil, err
	}
	if err := a.crlIssuer(collateral.PCKCRLIssuerChain, ca); err != nil {
		return nil, fmt.Errorf("the issuer chain of the PCK revocation list %w", err)
	}
	crl, err := a.revocations(collateral.PCKCRL, ca)
	if err != nil {
		return nil, fmt.Errorf("the PCK revocation list %w", err)
	}
	return pck, a.endEntity(pck, ca, crl)
}

// crlIssuer verifies that the chain sent with the PCK revocation list is that of the PCK authority.
func (a *authority) crlIssuer(pemText string, ca *x509.Certificate) error {
	ders, err := certificatesOf([]byte(pemText), 2)
	if err != nil {
		return err
	}
	if !bytes.Equal(ders[0], ca.Raw) || !bytes.Equal(ders[1], a.root.Raw) {
		return fmt.Errorf("is not %s and the root", name(ca))
	}
	return nil
}

func (a *authority) tcbInfo(c *Collateral) (*tcbInfo, error) {
	signer, err := a.signer(c.TCBInfoIssuerChain)
	if err != nil {
		return nil, fmt.Errorf("the signer of the TCB info: %w", err)
	}
	if !signed(signer.PublicKey.(*ecdsa.PublicKey), []byte(c.TCBInfo), c.TCBInfoSignature) {
		return nil, errors.New("the TCB info's signature is wrong")
	}
	info, err := parseTCBInfo(c.TCBInfo, a.now)
	if err != nil {
		return nil, fmt.Errorf("the TCB info %w", err)
	}
	return info, nil
}

func (a *authority) qeIdentity(c *Collateral) (*qeIdentity, error) {
	signer, err := a.signer(c.QEIdentityIssuerChain)
	if err != nil {
		return nil, fmt.Errorf("the signer of the QE identity: %w", err)
	}
	if !signed(signer.PublicKey.(*ecdsa.PublicKey), []byte(c.QEIdentity), c.QEIdentitySignature) {
		return nil, errors.New("the QE identity's signature is wrong")
	}
	identity, err := parseQEIdentity(c.QEIdentity, a.now)
	if err != nil {
		return nil, fmt.Errorf("the QE identity %w", err)
	}
	return identity, nil
}

// verifySignatures goes from the PCK key over the quoting enclave's report and the attestation key
// in it to the enclave's report.
func (q *Quote) verifySignatures(pck *ecdsa.PublicKey) (*Report, error) {
	if !signed(pck, q.qeReport, q.qeSignature) {
		return nil, errors.New("the signature on the quoting enclave's report is wrong")
	}
	if len(q.authData) != 32 {
		return nil, fmt.Errorf("the quoting enclave's authentication data has %d bytes, not 32", len(q.authData))
	}
	qeReport := parseReport(q.qeReport)
	binding := sha256.Sum256(slices.Concat(q.attestationKey, q.authData))
	if !bytes.Equal(binding[:], qeReport.ReportData[:32]) {
		return nil, errors.New("the quoting enclave vouches for another attestation key")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, q.attestationKey...))
	if err != nil {
		return nil, errors.New("the attestation key is not a point of P-256")
	}
	if !signed(key, q.signed, q.signature) {
		return nil, errors.New("the quote's signature is wrong")
	}
	return &qeReport, nil
}

// signed verifies ECDSA with SHA-256 over exactly these bytes; the signature is raw r‖s.
func signed(key *ecdsa.PublicKey, data, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	digest := sha256.Sum256(data)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(key, digest[:], r, s)
}
