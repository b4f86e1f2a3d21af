package enclaveos

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"enclaveos/client-go/verify"
)

// codeStale is the server's word for: what was verified has changed since the handshake. It hangs up.
const codeStale = "attestation-stale"

// Conn is a verified connection that speaks framed JSON. It is safe for concurrent use; requests are
// answered one after the other.
type Conn struct {
	client  *Client
	tls     *tls.Conn
	verdict *verify.Verdict

	mutex   sync.Mutex
	broken  error
	schemas map[string]schema
	token   string
}

// Connect opens a connection for framed JSON and verifies it.
func (c *Client) Connect(ctx context.Context) (*Conn, error) {
	conn, verdict, err := c.dial(ctx, protocol{alpn: "enclave-os/1", attest: attestFramed})
	if err != nil {
		return nil, err
	}
	return &Conn{client: c, tls: conn, verdict: verdict, schemas: map[string]schema{}}, nil
}

// Verdict is what was verified; nil with DangerAnyone.
func (c *Conn) Verdict() *verify.Verdict { return c.verdict }

// Certificates are those the server showed, DER, leaf first.
func (c *Conn) Certificates() [][]byte {
	var chain [][]byte
	for _, one := range c.tls.ConnectionState().PeerCertificates {
		chain = append(chain, one.Raw)
	}
	return chain
}

// SetToken sends this operator token beside every command from now on.
func (c *Conn) SetToken(token string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.token = token
}

// Close ends the connection.
func (c *Conn) Close() error { return c.tls.Close() }

// Exchange sends one JSON text and returns the JSON text of its answer, as it came: refusals included.
// If the context ends before the answer is there, the connection is not usable any more.
func (c *Conn) Exchange(ctx context.Context, request []byte) ([]byte, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.exchange(ctx, request)
}

func (c *Conn) exchange(ctx context.Context, request []byte) ([]byte, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(request) > maxFrame {
		return nil, errTooLarge
	}
	defer interrupt(ctx, c.tls)()
	op := "send"
	err := writeFrame(c.tls, request)
	var reply []byte
	if err == nil {
		op = "receive"
		reply, err = readFrame(c.tls, maxFrame)
	}
	if err == nil {
		if refused := (*RefusedError)(nil); errors.As(refusalIn(reply), &refused) && refused.Code == codeStale {
			c.tls.Close()
			c.broken = &ConnectionError{Op: "call", Address: c.client.config.Address, Err: refused}
		}
		return reply, nil
	}
	// The answer to this request must not be taken for the answer to the next.
	c.tls.Close()
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if errors.Is(err, io.EOF) {
		err = errors.New("the server closed the connection before it answered")
	}
	c.broken = &ConnectionError{Op: op, Address: c.client.config.Address, Err: err}
	return nil, c.broken
}

// Command sends a command of framed JSON, such as Command(ctx, "wasm_list", struct{}{}, &reply), and
// reads its reply. A refusal is a *RefusedError.
func (c *Conn) Command(ctx context.Context, name string, content, reply any) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.command(ctx, name, content, reply)
}

func (c *Conn) command(ctx context.Context, name string, content, reply any) error {
	envelope := map[string]any{name: content}
	if c.token != "" {
		envelope["auth"] = c.token
	}
	request, err := json.Marshal(envelope)
	if err != nil {
		return err
	}
	text, err := c.exchange(ctx, request)
	if err != nil {
		return err
	}
	if err := refusalIn(text); err != nil {
		return err
	}
	if err := json.Unmarshal(text, reply); err != nil {
		return &ProtocolError{Reason: name + ": " + err.Error()}
	}
	return nil
}

// Ping asks whether the server answers.
func (c *Conn) Ping(ctx context.Context) error {
	reply, err := c.Exchange(ctx, []byte(`"Ping"`))
	if err != nil {
		return err
	}
	if string(reply) != `"Pong"` {
		return &ProtocolError{Reason: "no Pong"}
	}
	return nil
}
