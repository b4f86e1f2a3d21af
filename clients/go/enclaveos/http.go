package enclaveos

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// DialTLSContext opens a verified connection for HTTP/1.1, for use as http.Transport.DialTLSContext. It
// always connects to this client's enclave; network and address are only there for the signature.
func (c *Client) DialTLSContext(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, _, err := c.dial(ctx, protocol{alpn: "http/1.1", attest: c.attestHTTP})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// HTTP is an HTTP client whose every connection is verified before a request is sent on it. URLs name the
// enclave by the address or the server name of the configuration; any other host is an error, redirects
// included.
func (c *Client) HTTP() *http.Client {
	return &http.Client{Transport: c.Transport()}
}

// Transport is what HTTP uses.
func (c *Client) Transport() http.RoundTripper {
	return &transport{client: c, inner: &http.Transport{
		DialTLSContext:  c.DialTLSContext,
		IdleConnTimeout: 4 * time.Minute,
	}}
}

type transport struct {
	client *Client
	inner  *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := t.client.own(request); err != nil {
		if request.Body != nil {
			request.Body.Close()
		}
		return nil, err
	}
	return t.inner.RoundTrip(request)
}

// CloseIdleConnections implements what http.Client.CloseIdleConnections looks for.
func (t *transport) CloseIdleConnections() { t.inner.CloseIdleConnections() }

// own refuses requests that are meant for somebody else.
func (c *Client) own(request *http.Request) error {
	if request.URL.Scheme != "https" {
		return fmt.Errorf("%s: an enclave is only reached over https", request.URL)
	}
	host := request.URL.Host
	for _, mine := range []string{c.config.Address, c.host, c.config.ServerName} {
		if mine != "" && (strings.EqualFold(host, mine) || strings.EqualFold(request.URL.Hostname(), mine)) {
			return nil
		}
	}
	return fmt.Errorf("%s: this client is for %s only", request.URL, c.config.Address)
}
