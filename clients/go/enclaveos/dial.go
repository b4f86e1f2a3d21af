package enclaveos

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"time"

	"enclaveos/client-go/leaf"
	"enclaveos/client-go/policy"
	"enclaveos/client-go/verify"
)

// nonceALPN is what the name of the challenge tier starts with.
const nonceALPN = "enclave-os-nonce/"

// protocol is what is spoken on a connection.
type protocol struct {
	alpn string
	// attest asks for a quote over the nonce, bound to this connection.
	attest func(*tls.Conn, [32]byte) (*attested, error)
}

// dial opens a connection and verifies it. What it returns has carried no application byte.
func (c *Client) dial(ctx context.Context, p protocol) (*tls.Conn, *verify.Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var nonce [32]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, nil, err
	}
	names := []string{p.alpn}
	if c.tier == policy.Challenge {
		names = []string{nonceALPN + base64.RawURLEncoding.EncodeToString(nonce[:]), p.alpn}
	}
	conn, err := c.handshake(ctx, c.serverName(), names)
	if err != nil {
		return nil, nil, err
	}
	verdict, err := c.verified(ctx, conn, p, nonce)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, verdict, nil
}

// handshake asks for a name, or for none if that is empty.
func (c *Client) handshake(ctx context.Context, name string, alpn []string) (*tls.Conn, error) {
	raw, err := c.config.DialContext(ctx, "tcp", c.config.Address)
	if err != nil {
		return nil, &ConnectionError{Op: "connect", Address: c.config.Address, Err: err}
	}
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: name,
		NextProtos: alpn,
		// The package documentation says why this is sound.
		InsecureSkipVerify: true,
		// A resumed session would skip the certificate.
		SessionTicketsDisabled: true,
		ClientSessionCache:     nil,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &ConnectionError{Op: "handshake", Address: c.config.Address, Err: err}
	}
	return conn, nil
}

// verified judges an open connection.
func (c *Client) verified(ctx context.Context, conn *tls.Conn, p protocol, nonce [32]byte) (*verify.Verdict, error) {
	if c.config.Danger == DangerAnyone {
		return nil, nil
	}
	defer interrupt(ctx, conn)()
	s := &showing{client: c, state: conn.ConnectionState(), nonce: nonce}
	s.certificate.ServerName = c.config.ServerName
	for _, one := range s.state.PeerCertificates {
		s.certificate.Chain = append(s.certificate.Chain, one.Raw)
	}
	if c.tier == policy.Channel {
		if err := s.ask(conn, p); err != nil {
			return nil, c.broken(err)
		}
	}
	s.collect()
	verdict := s.judge()
	if s.lacksCollateral(verdict) {
		if err := s.ask(conn, p); err != nil {
			return nil, c.broken(err)
		}
		s.collect()
		verdict = s.judge()
	}
	if lacks, ofApp := c.lacksSettings(verdict, s.certificate.Chain); lacks {
		if err := c.settings(ctx, ofApp, &s.known); err != nil {
			return nil, err
		}
		verdict = s.judge()
	}
	if !holds(verdict) {
		return nil, &VerificationError{Verdict: verdict, Cause: s.refusal}
	}
	if c.config.Collateral == nil {
		c.cache.put(s.quote(), s.known.Collateral)
	}
	return verdict, nil
}

// showing is what an enclave shows on one connection, as it comes.
type showing struct {
	client      *Client
	state       tls.ConnectionState
	nonce       [32]byte
	certificate verify.Certificate
	answer      *attested
	refusal     error
	known       verify.Context
}

// ask sends `attest`. A refusal is not an error: the verdict says what is missing for it.
func (s *showing) ask(conn *tls.Conn, p protocol) error {
	answer, err := p.attest(conn, s.nonce)
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		s.answer, s.refusal = &attested{}, refused
		return nil
	}
	s.answer = answer
	return err
}

// collect takes collateral from the caller, else from the enclave's answer or an earlier connection,
// whichever was issued later.
func (s *showing) collect() {
	c := s.client
	s.known = verify.Context{Collateral: c.config.Collateral, Manifest: c.config.Manifest}
	if s.known.Collateral != nil {
		return
	}
	s.known.Collateral = c.cache.get(s.quote())
	if s.answer != nil {
		s.known.Collateral = newer(s.known.Collateral, s.answer.collateral)
	}
}

// lacksCollateral says whether the enclave should be asked for collateral: there is none, or what was
// kept has expired.
func (s *showing) lacksCollateral(v *verify.Verdict) bool {
	last := v.Checks[len(v.Checks)-1]
	return last.ID == verify.CheckQuote && !last.Passed && s.answer == nil && s.client.config.Collateral == nil
}

// quote is the one that is judged.
func (s *showing) quote() []byte {
	if s.client.tier == policy.Channel {
		return s.answer.quote
	}
	if certificate, err := leaf.Parse(s.certificate.Chain[0]); err == nil {
		return certificate.Quote
	}
	return nil
}

func (s *showing) judge() *verify.Verdict {
	if s.client.config.Policy == nil {
		return verify.Examine(s.presented(), s.known, s.client.config.Now())
	}
	return verify.Judge(s.client.config.Policy, s.presented(), s.known, s.client.config.Now())
}

// presented is what the enclave shows at the tier of this client.
func (s *showing) presented() verify.Presented {
	switch s.client.tier {
	case policy.Challenge:
		return verify.Challenge{Certificate: s.certificate, Nonce: s.nonce}
	case policy.Channel:
		exporter, err := s.state.ExportKeyingMaterial(leaf.ExporterLabel, s.nonce[:], 32)
		if err != nil {
			// TLS 1.3 always has one. Without it no quote can be for this connection.
			return verify.Channel{Certificate: s.certificate}
		}
		return verify.Channel{Certificate: s.certificate, Nonce: s.nonce, Exporter: [32]byte(exporter), Quote: s.answer.quote}
	}
	return s.certificate
}

// holds says whether a verdict lets the connection be used. Without a policy a verdict accepts nothing,
// but all that could be judged must have passed, down to the binding of the quote.
func holds(v *verify.Verdict) bool {
	if v.Accepted {
		return true
	}
	last := v.Checks[len(v.Checks)-1]
	examined := v.Checks[0].ID != verify.CheckPolicy
	return examined && last.ID == verify.CheckReportData && len(v.Failed()) == 0
}

func (c *Client) broken(err error) error {
	if protocol := (*ProtocolError)(nil); errors.As(err, &protocol) {
		return err
	}
	return &ConnectionError{Op: "attest", Address: c.config.Address, Err: err}
}

// interrupt ends waiting on a connection when the context ends. The returned function ends that; it
// leaves the connection without a deadline.
func interrupt(ctx context.Context, conn net.Conn) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		conn.SetDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !cancel() {
			<-done
			conn.SetDeadline(time.Time{})
		}
	}
}
