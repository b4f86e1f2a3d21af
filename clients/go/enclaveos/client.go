// Package enclaveos talks to enclaves: it connects, verifies before the first application byte, and
// then calls apps over framed JSON or HTTP.
//
//	p, err := policy.Parse(text)
//	client, err := enclaveos.New(enclaveos.Config{Address: "enclave.example:443", Policy: p})
//	conn, err := client.Connect(ctx)
//	value, err := conn.App("my-app").Call(ctx, "kv-read", "greeting")
//
// # Why certificates are not verified by crypto/tls
//
// An enclave's certificate is vouched for by the quote in it or bound to it, not by a public
// authority, so the TLS configuration says InsecureSkipVerify. That skips the chain and the name, and
// nothing else: the handshake still proves that the server holds the key of the certificate it shows.
// Whose key that is, package verify then judges, before a connection is handed to a caller. No
// function of this package returns a connection that was not judged, unless a field called Danger
// asks for it.
package enclaveos

import (
	"context"
	"net"
	"time"

	"enclaveos/client-go/configuration"
	"enclaveos/client-go/dcap"
	"enclaveos/client-go/policy"
)

// Config says whom to talk to and what to demand of it.
type Config struct {
	// Address is host:port.
	Address string
	// ServerName is the name to ask for (SNI) and to find in the certificate. An app's hostname gets the
	// app's own certificate. If it is empty, the host of the address is asked for and no name is demanded:
	// the policy says who may answer.
	ServerName string
	// Policy is what the enclave must be. Required.
	Policy *policy.Policy
	// Tier is how fresh the evidence shall be; the strongest, policy.Channel, if nil.
	Tier *policy.Tier
	// Collateral about the platform. If nil, what an earlier connection of this client was given, or else
	// what the enclave sends along. All of it is signed, so its way here does not matter.
	Collateral *dcap.Collateral
	// Manifest shows the settings that the policy names. Without it, these alone are asked for.
	Manifest *configuration.Manifest
	// DialContext opens the TCP connection; a net.Dialer with Timeout if nil.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout for connecting and verifying; 30 seconds if zero. A context can shorten it.
	Timeout time.Duration
	// Now is the verifier's clock; time.Now if nil.
	Now func() time.Time
	// Danger weakens verification. Leave it zero.
	Danger Danger
}

// Danger is how verification is weakened.
type Danger int

const (
	// DangerNone weakens nothing.
	DangerNone Danger = iota
	// DangerAnyEnclave talks to any enclave without a policy: its quote must be genuine under whatever root
	// it names and bound to the connection. That may be any code on anybody's machine.
	DangerAnyEnclave
	// DangerAnyone talks to whoever answers.
	DangerAnyone
)

// Client makes verified connections to one enclave. It is safe for concurrent use.
type Client struct {
	config Config
	host   string
	tier   policy.Tier
	cache  cache
}

// New checks the configuration. It opens no connection.
func New(config Config) (*Client, error) {
	host, _, err := net.SplitHostPort(config.Address)
	if err != nil || host == "" {
		return nil, &ConnectionError{Op: "connect", Address: config.Address, Err: &net.AddrError{
			Err: "write host:port, for example 127.0.0.1:8443", Addr: config.Address,
		}}
	}
	if config.Policy == nil && config.Danger == DangerNone {
		return nil, ErrNoPolicy
	}
	if config.Timeout == 0 {
		config.Timeout = 30 * time.Second
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.DialContext == nil {
		config.DialContext = (&net.Dialer{}).DialContext
	}
	client := &Client{config: config, host: host, tier: policy.Channel}
	if config.Tier != nil {
		client.tier = *config.Tier
	}
	return client, nil
}

// serverName is the name for SNI.
func (c *Client) serverName() string {
	if c.config.ServerName != "" {
		return c.config.ServerName
	}
	return c.host
}
