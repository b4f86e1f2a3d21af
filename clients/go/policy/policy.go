// Package policy reads verification policies: which enclaves a verifier accepts.
//
// The format is TOML and the same for every client of this system. Unknown keys are errors, so that a
// misspelt demand is never a demand that is not made, and an empty policy accepts nothing.
package policy

import (
	"crypto/sha256"
	"slices"
	"time"

	"enclaveos/client-go/dcap"
)

// Hash is a measurement or SHA-256 of something.
type Hash = [sha256.Size]byte

// Tier is how fresh evidence is and what it is bound to.
type Tier int

// The tiers, weakest first.
const (
	// Certificate: the quote in the certificate, bound to the time at which it was made.
	Certificate Tier = iota
	// Challenge: a certificate made for this client's nonce.
	Challenge
	// Channel: a quote bound to a nonce and to the connection itself.
	Channel
)

var tierNames = []string{"certificate", "challenge", "channel"}

// String is the name that policies and verdicts use.
func (t Tier) String() string { return tierNames[t] }

// MarshalText writes the name.
func (t Tier) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// ParseTier reads a name; false if there is no such tier.
func ParseTier(name string) (Tier, bool) {
	at := slices.Index(tierNames, name)
	return Tier(max(at, 0)), at >= 0
}

// Policy is what a verifier demands.
type Policy struct {
	Roots         Roots
	Enclave       Enclave
	TCB           TCB
	Freshness     Freshness
	App           *App
	Configuration *Configuration
	// PPIDs are the platform instances that are accepted; nil accepts any.
	PPIDs [][16]byte
	// OperatorCAs are fingerprints, one of which must stand above the enclave's authority; nil asks for none.
	OperatorCAs []Hash
}

// Roots are the certificates that quotes may end in: Intel's, or development roots, never both.
type Roots struct {
	Intel       bool
	Development []Hash
}

// IntelRoot is SHA-256 of the certificate `CN=Intel SGX Root CA` (DER).
var IntelRoot = Hash{
	0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35,
	0x0e, 0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
}

// Accepts says whether a root with this fingerprint is accepted. Intel's is never a development root, not
// even when a policy lists it as one.
func (r Roots) Accepts(fingerprint Hash) bool {
	if r.Intel || fingerprint == IntelRoot {
		return r.Intel && fingerprint == IntelRoot
	}
	return slices.Contains(r.Development, fingerprint)
}

// Enclave is which code is accepted: by measurement, by signer, or both.
type Enclave struct {
	MRENCLAVE  []Hash
	MRSIGNER   []Hash
	ISVProdID  uint16
	MinISVSVN  uint16
	AllowDebug bool
}

// Until is something accepted, forever or for a time of grace.
type Until struct {
	Name string
	// Until is the moment from which on it is no longer accepted; zero for never.
	Until time.Time
}

// TCB is which states of the platform are accepted.
type TCB struct {
	Statuses   []Until
	Advisories []Until
}

// Accepts says whether the list has the name and its grace is not over.
func Accepts(list []Until, name string, now time.Time) bool {
	return slices.ContainsFunc(list, func(u Until) bool {
		return u.Name == name && (u.Until.IsZero() || now.Before(u.Until))
	})
}

// Freshness is how fresh evidence must be.
type Freshness struct {
	MinTier Tier
	MaxAge  time.Duration
}

// App is what the connection must be for.
type App struct {
	Name       string
	CodeHashes []Hash
	// KeySource is `generated`, `byok` or a whole text; empty accepts any.
	KeySource string
}

// Configuration is what the settings must be.
type Configuration struct {
	Root    []Hash
	AppRoot []Hash
	// Leaves are the accepted value hashes of a leaf.
	Leaves map[string][]Hash
}

// defaults are what a policy says where it is silent.
func defaults() Policy {
	return Policy{
		TCB:       TCB{Statuses: []Until{{Name: string(dcap.UpToDate)}}},
		Freshness: Freshness{MinTier: Challenge, MaxAge: 24 * time.Hour},
	}
}
