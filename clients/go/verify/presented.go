package verify

import (
	"enclaveos/client-go/leaf"
	"enclaveos/client-go/policy"
)

// Presented is what an enclave shows: one of Certificate, Challenge, Channel, Document and Quote.
type Presented interface {
	// tier is how fresh it is at best.
	tier() policy.Tier
	// certificates is the chain, leaf first; nil if there is none.
	certificates() [][]byte
	// name is the server name to expect; empty for any.
	name() string
	// quote picks the one quote that is judged; nil if it is missing.
	quote(c *leaf.Certificate) []byte
	// reportData is what that quote must be made over; false if nothing is expected.
	reportData(c *leaf.Certificate) (leaf.ReportData, bool)
}

// Certificate is a certificate as it was served.
type Certificate struct {
	Chain      [][]byte
	ServerName string
}

// Challenge is a certificate made for a nonce.
type Challenge struct {
	Certificate
	Nonce [32]byte
}

// Channel is a quote made for a nonce and a connection, beside the connection's certificate.
type Channel struct {
	Certificate
	Nonce    [32]byte
	Exporter [32]byte
	Quote    []byte
}

// Quote is a quote alone: nothing binds it to a certificate, an app or a moment.
type Quote []byte

func (Certificate) tier() policy.Tier                { return policy.Certificate }
func (c Certificate) certificates() [][]byte         { return c.Chain }
func (c Certificate) name() string                   { return c.ServerName }
func (Certificate) quote(l *leaf.Certificate) []byte { return l.Quote }
func (Certificate) reportData(l *leaf.Certificate) (leaf.ReportData, bool) {
	return leaf.OfCertificate(l.X509), true
}

func (Challenge) tier() policy.Tier { return policy.Challenge }
func (c Challenge) reportData(l *leaf.Certificate) (leaf.ReportData, bool) {
	return leaf.OfChallenge(l.X509, c.Nonce), true
}

func (Channel) tier() policy.Tier                { return policy.Channel }
func (c Channel) quote(*leaf.Certificate) []byte { return c.Quote }
func (c Channel) reportData(l *leaf.Certificate) (leaf.ReportData, bool) {
	return leaf.OfChannel(l.X509, c.Nonce, c.Exporter), true
}

func (d *Document) tier() policy.Tier              { return policy.Certificate }
func (d *Document) certificates() [][]byte         { return d.Chain }
func (d *Document) name() string                   { return "" }
func (d *Document) quote(*leaf.Certificate) []byte { return d.EvidenceQuote }
func (d *Document) reportData(l *leaf.Certificate) (leaf.ReportData, bool) {
	return leaf.OfEvidence(l.X509, d.Manifest.Root), true
}

func (Quote) tier() policy.Tier                { return policy.Certificate }
func (Quote) certificates() [][]byte           { return nil }
func (Quote) name() string                     { return "" }
func (q Quote) quote(*leaf.Certificate) []byte { return q }
func (Quote) reportData(*leaf.Certificate) (leaf.ReportData, bool) {
	return leaf.ReportData{}, false
}
