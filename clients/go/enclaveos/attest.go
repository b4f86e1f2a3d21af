package enclaveos

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"enclaveos/client-go/dcap"
	"enclaveos/client-go/internal/strict"
)

// attested is an enclave's answer to `attest`.
type attested struct {
	quote      []byte
	collateral *dcap.Collateral
}

// maxAttested bounds the answer to `attest`: a quote and collateral in base64 and JSON.
const maxAttested = 256 << 10

// maxHead bounds what comes with the body of an HTTP answer: the head, and what frames the chunks.
const maxHead = 64 << 10

// attestFramed asks over framed JSON.
func attestFramed(conn *tls.Conn, nonce [32]byte) (*attested, error) {
	request, err := json.Marshal(map[string]any{"attest": attestRequest(nonce)})
	if err != nil {
		return nil, err
	}
	if err := writeFrame(conn, request); err != nil {
		return nil, err
	}
	reply, err := readFrame(conn, maxAttested)
	if err != nil {
		return nil, err
	}
	return parseAttested(reply)
}

// attestHTTP asks over HTTP/1.1.
func (c *Client) attestHTTP(conn *tls.Conn, nonce [32]byte) (*attested, error) {
	request, err := json.Marshal(attestRequest(nonce))
	if err != nil {
		return nil, err
	}
	reply, err := exchange(conn, c.hostHeader(), http.MethodPost, "/.enclave/v1/attest", request, maxAttested)
	if err != nil {
		return nil, err
	}
	return parseAttested(reply)
}

func attestRequest(nonce [32]byte) map[string]string {
	return map[string]string{"nonce": base64.RawURLEncoding.EncodeToString(nonce[:])}
}

func parseAttested(text []byte) (*attested, error) {
	if err := refusalIn(text); err != nil {
		return nil, err
	}
	value, err := strict.Parse(text)
	if err != nil {
		return nil, &ProtocolError{Reason: "attest: " + err.Error()}
	}
	t := strict.NewTable(value, "attest")
	if t.Has("status") && t.Text("status") != "attested" {
		t.Fail("attest: the status is not `attested`")
	}
	t.Text("issued")
	answer := &attested{quote: t.Base64("quote")}
	if collateral := t.Value("collateral"); collateral != nil {
		if answer.collateral, err = dcap.CollateralOf(collateral); err != nil {
			t.Fail("%w", err)
		}
	}
	if err := t.Err(); err != nil {
		return nil, &ProtocolError{Reason: err.Error()}
	}
	return answer, nil
}

// refusalIn is the refusal that a reply is, or nil.
func refusalIn(reply []byte) error {
	var refusal struct{ Status, Code, Message string }
	if json.Unmarshal(reply, &refusal) == nil && refusal.Status == "error" {
		return &RefusedError{Code: refusal.Code, Message: refusal.Message}
	}
	return nil
}

// exchange is one request and its whole answer on an open connection, which is left clean for the next.
func exchange(conn net.Conn, host, method, path string, body []byte, limit int64) ([]byte, error) {
	request, err := http.NewRequest(method, "https://"+host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	tooLong := &ProtocolError{Reason: fmt.Sprintf("an answer of more than %d bytes", limit)}
	bounded := &io.LimitedReader{R: conn, N: limit + maxHead}
	reader := bufio.NewReader(bounded)
	response, err := http.ReadResponse(reader, request)
	if err != nil && bounded.N == 0 {
		return nil, tooLong
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if int64(len(answer)) > limit || err != nil && bounded.N == 0 {
		return nil, tooLong
	}
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, refusalOf(response.StatusCode, answer)
	}
	if reader.Buffered() > 0 || response.Close {
		return nil, &ProtocolError{Reason: "the connection does not go on after the answer"}
	}
	return answer, nil
}

// hostHeader is the Host of requests on this client's connections.
func (c *Client) hostHeader() string {
	if c.config.ServerName != "" {
		return c.config.ServerName
	}
	return c.config.Address
}
