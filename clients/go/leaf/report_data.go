package leaf

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"time"
)

// ExporterLabel is the label of the TLS exporter of the channel tier.
const ExporterLabel = "EXPORTER-enclave-os-attest-v1"

// ReportData is what a quote is made over. A verifier computes it and never takes it from the peer.
type ReportData = [sha512.Size]byte

// OfCertificate binds a quote to the start of validity, in whole minutes.
func OfCertificate(c *x509.Certificate) ReportData {
	return bind(c, []byte(c.NotBefore.UTC().Format("2006-01-02T15:04Z")))
}

// OfChallenge binds a quote to the client's nonce.
func OfChallenge(c *x509.Certificate, nonce [32]byte) ReportData {
	return bind(c, nonce[:])
}

// OfChannel binds a quote to the client's nonce and to the connection that asked for it.
func OfChannel(c *x509.Certificate, nonce, exporter [32]byte) ReportData {
	return bind(c, nonce[:], exporter[:])
}

// OfEvidence binds the quote of an evidence document to the whole certificate and the manifest.
func OfEvidence(c *x509.Certificate, manifestRoot Hash) ReportData {
	hash := sha512.New()
	hash.Write([]byte("enclave-os evidence v1"))
	certificate := sha256.Sum256(c.Raw)
	hash.Write(certificate[:])
	hash.Write(manifestRoot[:])
	return ReportData(hash.Sum(nil))
}

func bind(c *x509.Certificate, binding ...[]byte) ReportData {
	hash := sha512.New()
	key := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	hash.Write(key[:])
	for _, part := range binding {
		hash.Write(part)
	}
	return ReportData(hash.Sum(nil))
}

// Skew is how far two honest clocks may be apart.
const Skew = 300 * time.Second
