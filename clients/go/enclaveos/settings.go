package enclaveos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"enclaveos/client-go/configuration"
	"enclaveos/client-go/leaf"
	"enclaveos/client-go/verify"
)

// maxManifest bounds a manifest that is fetched, or a proof with its leaf's value.
const maxManifest = 8 << 20

// lacksSettings says whether a verdict fails for nothing but settings that were not shown yet, and whether
// the certificate is one app's.
func (c *Client) lacksSettings(v *verify.Verdict, chain [][]byte) (lacks, ofApp bool) {
	failed := v.Failed()
	for _, id := range failed {
		if id != verify.CheckConfiguration {
			return false, false
		}
	}
	if len(failed) == 0 || c.config.Policy == nil || c.config.Manifest != nil {
		return false, false
	}
	certificate, err := leaf.Parse(chain[0])
	if err != nil {
		return false, false
	}
	wanted := c.config.Policy.Configuration
	return wanted.Leaves != nil || wanted.AppRoot != nil && certificate.App == nil, certificate.App != nil
}

// settings fetches what the policy needs to know of the configuration beyond the certificate: a proof of each
// leaf that it names, which shows nothing of the others, or the manifest where an app's root has to follow
// from it. It comes over a connection of its own that nobody verified, because what leads to the root in a
// verified certificate is as good from there; and where no name is asked for, because an app's hostname
// tells that app's settings alone.
func (c *Client) settings(ctx context.Context, ofApp bool, known *verify.Context) error {
	conn, err := c.handshake(ctx, "", []string{"http/1.1"})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer interrupt(ctx, conn)()
	get := func(path string) ([]byte, error) {
		return exchange(conn, c.config.Address, http.MethodGet, path, nil, maxManifest)
	}
	wanted := c.config.Policy.Configuration
	if wanted.AppRoot != nil && !ofApp {
		text, err := get("/.enclave/v1/manifest")
		if err != nil {
			return c.broken(err)
		}
		if known.Manifest, err = configuration.ParseManifest(text); err != nil {
			return &ProtocolError{Reason: err.Error()}
		}
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Leaves)) {
		text, err := get("/.enclave/v1/proofs/" + url.PathEscape(name))
		if refused := (*RefusedError)(nil); errors.As(err, &refused) {
			// Not shown: the verdict says so.
			continue
		}
		if err != nil {
			return c.broken(err)
		}
		proof, err := configuration.ParseProof(text)
		if err != nil {
			return &ProtocolError{Reason: err.Error()}
		}
		known.Proofs = append(known.Proofs, proof)
	}
	return nil
}

// problem is an error of the HTTP interface (RFC 9457).
type problem struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

func refusalOf(status int, body []byte) error {
	var p problem
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return &ProtocolError{Reason: fmt.Sprintf("HTTP status %d without a problem document", status)}
	}
	if p.Detail == "" {
		p.Detail = p.Title
	}
	return &RefusedError{Code: p.Code, Message: p.Detail}
}
