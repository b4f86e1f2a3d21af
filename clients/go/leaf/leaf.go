// Package leaf reads the certificates of enclaves: strictly what the format allows, nothing beside it.
//
// Reading is not verifying. The quote binds the key of a certificate; the signature of the enclave's
// authority covers the rest.
package leaf

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// maxAppName is the longest name of an app in bytes.
const maxAppName = 63

// Hash is SHA-256 of something.
type Hash = [sha256.Size]byte

// App is one app as a certificate names it.
type App struct {
	Name        string
	RoutePrefix string
	// CodeHash is the SHA-256 of the bytes that were loaded.
	CodeHash Hash
}

// AppLeaf is what a certificate of one app says beyond App.
type AppLeaf struct {
	// ConfigurationRoot is the root of the app's own configuration tree.
	ConfigurationRoot Hash
	// KeySource is `generated`, or `byok:` and 16 hexadecimal digits.
	KeySource string
}

// Certificate is what a leaf certificate claims.
type Certificate struct {
	X509 *x509.Certificate
	// Quote is the quote in the certificate; nil if there is none.
	Quote []byte
	// ConfigurationRoot is the root of the enclave's configuration tree.
	ConfigurationRoot Hash
	// WorkloadsHash names every app of the enclave and its code.
	WorkloadsHash Hash
	// Apps are those the certificate is for: all, or the one whose hostname was asked for.
	Apps []App
	// App is there only in a certificate of one app.
	App *AppLeaf
}

var (
	oidQuote     = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1, 0}
	oidArc       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 65230}
	oidRoot      = ours(1, 1)
	oidNames     = ours(2, 1)
	oidPrefixes  = ours(2, 2)
	oidHashes    = ours(2, 3)
	oidWorkloads = ours(2, 5)
	oidAppRoot   = ours(3, 1)
	oidAppHash   = ours(3, 2)
	oidKeySource = ours(3, 4)

	known = []asn1.ObjectIdentifier{
		oidQuote, oidRoot, oidNames, oidPrefixes, oidHashes, oidWorkloads, oidAppRoot, oidAppHash, oidKeySource,
	}
)

func ours(arcs ...int) asn1.ObjectIdentifier {
	return append(append(asn1.ObjectIdentifier{}, oidArc...), arcs...)
}

// Parse reads a leaf (DER).
func Parse(der []byte) (*Certificate, error) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("not a certificate: %w", err)
	}
	e, err := extensionsOf(certificate)
	if err != nil {
		return nil, err
	}
	c := &Certificate{X509: certificate, Quote: e.found[oidQuote.String()]}
	c.ConfigurationRoot = e.hash(oidRoot)
	c.WorkloadsHash = e.hash(oidWorkloads)
	c.Apps = e.apps()
	c.App = e.app()
	if e.err != nil {
		return nil, e.err
	}
	if c.App != nil {
		if len(c.Apps) != 1 {
			return nil, malformed(oidNames, "one app in a certificate of one app")
		}
		if c.Apps[0].CodeHash != e.hash(oidAppHash) {
			return nil, malformed(oidAppHash, "the same code hash as in .2.3")
		}
	} else if workloadsHash(c.Apps) != c.WorkloadsHash {
		return nil, malformed(oidWorkloads, "the hash over the apps of this certificate")
	}
	return c, nil
}

// Named finds an app of the certificate; nil if it is not for that app.
func (c *Certificate) Named(name string) *App {
	for i := range c.Apps {
		if c.Apps[i].Name == name {
			return &c.Apps[i]
		}
	}
	return nil
}

// Age is how long ago the certificate says it was made.
func (c *Certificate) Age(now time.Time) time.Duration { return now.Sub(c.X509.NotBefore) }

// extensions are the values of the known extensions; the first error is kept.
type extensions struct {
	found map[string][]byte
	err   error
}

func extensionsOf(certificate *x509.Certificate) (*extensions, error) {
	e := &extensions{found: map[string][]byte{}}
	for _, extension := range certificate.Extensions {
		id := extension.Id
		isKnown := false
		for _, oid := range known {
			isKnown = isKnown || id.Equal(oid)
		}
		if !isKnown {
			if len(id) >= len(oidArc) && id[:len(oidArc)].Equal(oidArc) {
				return nil, fmt.Errorf("extension %s is unknown to this version", id)
			}
			continue
		}
		if _, twice := e.found[id.String()]; twice {
			return nil, fmt.Errorf("extension %s occurs twice", id)
		}
		e.found[id.String()] = extension.Value
	}
	return e, nil
}

func (e *extensions) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

func (e *extensions) has(oid asn1.ObjectIdentifier) bool {
	_, there := e.found[oid.String()]
	return there
}

func (e *extensions) required(oid asn1.ObjectIdentifier) []byte {
	if !e.has(oid) {
		e.fail(fmt.Errorf("no extension %s: this is not a certificate of an enclave of this system", oid))
	}
	return e.found[oid.String()]
}

func (e *extensions) hash(oid asn1.ObjectIdentifier) (hash Hash) {
	value := e.required(oid)
	if len(value) != len(hash) {
		e.fail(malformed(oid, "32 bytes"))
		return hash
	}
	return Hash(value)
}

func (e *extensions) text(oid asn1.ObjectIdentifier) string {
	value := e.required(oid)
	for _, c := range value {
		if c != '\n' && (c < '!' || c > '~') {
			e.fail(malformed(oid, "printable ASCII"))
		}
	}
	return string(value)
}

func (e *extensions) apps() []App {
	if !e.has(oidNames) && !e.has(oidPrefixes) && !e.has(oidHashes) {
		return nil
	}
	names := strings.Split(e.text(oidNames), "\n")
	prefixes := strings.Split(e.text(oidPrefixes), "\n")
	hashes := e.required(oidHashes)
	switch {
	case e.err != nil:
		return nil
	case len(hashes) != len(names)*len(Hash{}):
		e.fail(malformed(oidHashes, "32 bytes for each app"))
		return nil
	case len(prefixes) != len(names):
		e.fail(malformed(oidPrefixes, "one line for each app"))
		return nil
	}
	apps := make([]App, len(names))
	for i, name := range names {
		if name == "" || i > 0 && names[i-1] >= name {
			e.fail(malformed(oidNames, "names in order, each once"))
		}
		if len(name) > maxAppName {
			e.fail(malformed(oidNames, fmt.Sprintf("names of at most %d bytes", maxAppName)))
		}
		apps[i] = App{Name: name, RoutePrefix: prefixes[i], CodeHash: Hash(hashes[32*i:])}
	}
	return apps
}

func (e *extensions) app() *AppLeaf {
	if !e.has(oidAppRoot) && !e.has(oidAppHash) && !e.has(oidKeySource) {
		return nil
	}
	app := &AppLeaf{KeySource: e.text(oidKeySource), ConfigurationRoot: e.hash(oidAppRoot)}
	e.hash(oidAppHash)
	if !isKeySource(app.KeySource) {
		e.fail(malformed(oidKeySource, "`generated`, or `byok:` and 16 hexadecimal digits"))
	}
	return app
}

func isKeySource(text string) bool {
	id, own := strings.CutPrefix(text, "byok:")
	if !own {
		return text == "generated"
	}
	return len(id) == 16 && strings.Trim(id, "0123456789abcdef") == ""
}

// workloadsHash is SHA-256 over `u16 BE name length ‖ name ‖ code hash` of every app, in name order. The
// length fits: no name is longer than maxAppName.
func workloadsHash(apps []App) Hash {
	var text bytes.Buffer
	for _, app := range apps {
		text.Write(binary.BigEndian.AppendUint16(nil, uint16(len(app.Name))))
		text.WriteString(app.Name)
		text.Write(app.CodeHash[:])
	}
	return sha256.Sum256(text.Bytes())
}

func malformed(oid asn1.ObjectIdentifier, rule string) error {
	return fmt.Errorf("extension %s is malformed: it must be %s", oid, rule)
}
