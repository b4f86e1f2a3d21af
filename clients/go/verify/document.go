package verify

import (
	"fmt"
	"math"
	"time"

	"enclaveos/client-go/configuration"
	"enclaveos/client-go/dcap"
	"enclaveos/client-go/internal/strict"
)

// MaxDocument bounds an evidence document.
const MaxDocument = 8 << 20

// maxGenerations is how many states of the configuration a document tells of at most.
const maxGenerations = 64

// CALeaf is the leaf of the configuration that is the certificate of the enclave's CA (DER).
const CALeaf = "core.ca_cert"

// documentVersion is the one format this reader knows.
const documentVersion = 1

// Document is an evidence document: what an enclave hands out for verification offline.
type Document struct {
	// Chain is the certificate chain, DER, leaf first.
	Chain [][]byte
	// CertificateQuote is the quote in the leaf, EvidenceQuote the one made over leaf and manifest. The
	// second is nil if none could be had.
	CertificateQuote, EvidenceQuote []byte
	// Collateral is nil if the enclave had none.
	Collateral *dcap.Collateral
	Manifest   *configuration.Manifest
	// CAProof shows that CALeaf is under the root of the enclave's tree (`.1.1`).
	CAProof *configuration.Proof
	// Generations are the changes of the configuration since the enclave's start, oldest first.
	Generations []Generation
	Issued      time.Time
}

// Generation is one state of the configuration.
type Generation struct {
	Generation        uint64
	ConfigurationRoot configuration.Hash
	Since             time.Time
	// Changed is `core`, or `app.<name>`.
	Changed []string
}

// ParseDocument reads an evidence document strictly.
func ParseDocument(text []byte) (*Document, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("evidence: longer than %d bytes", MaxDocument)
	}
	value, err := strict.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return documentOf(value)
}

func documentOf(value any) (*Document, error) {
	t := strict.NewTable(value, "evidence")
	if format := t.Whole("format", math.MaxUint32); format != documentVersion {
		t.Fail("evidence: format %d is unknown; this reader knows format %d", format, documentVersion)
	}
	d := &Document{
		Chain:            t.Base64List("certificate_chain"),
		CertificateQuote: nullable(t, "certificate_quote"),
		EvidenceQuote:    nullable(t, "evidence_quote"),
		Issued:           moment(t, "issued"),
	}
	var err error
	if collateral := t.Required("collateral"); collateral != nil {
		if d.Collateral, err = dcap.CollateralOf(collateral); err != nil {
			t.Fail("evidence: %w", err)
		}
	}
	if d.Manifest, err = configuration.ManifestOf(t.Required("manifest")); err != nil {
		t.Fail("evidence: %w", err)
	}
	if d.CAProof, err = configuration.ProofOf(t.Required("ca_proof")); err != nil {
		t.Fail("evidence: %w", err)
	}
	t.Each("generations", func(g *strict.Table) {
		generation := Generation{Generation: g.Whole("generation", math.MaxUint64), Since: moment(g, "since")}
		copy(generation.ConfigurationRoot[:], g.Hex("configuration_root", len(generation.ConfigurationRoot)))
		for _, item := range g.List("changed") {
			name, ok := item.(string)
			if !ok {
				g.Fail("%s must be a list of names", g.Where("changed"))
			}
			generation.Changed = append(generation.Changed, name)
		}
		if n := len(d.Generations); n > 0 && d.Generations[n-1].Generation >= generation.Generation {
			g.Fail("evidence.generations must be oldest first")
		}
		d.Generations = append(d.Generations, generation)
	})
	if len(d.Generations) > maxGenerations {
		t.Fail("evidence.generations must be at most %d", maxGenerations)
	}
	if len(d.Chain) == 0 {
		t.Fail("evidence.certificate_chain must not be empty")
	}
	// Evidence in the form of other systems, for their verifiers; nothing here rests on it.
	if interop := t.Table("interop"); interop != nil {
		interop.Base64("quote")
		interop.Base64("claims")
		if err := interop.Err(); err != nil {
			t.Fail("%w", err)
		}
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	return d, nil
}

func nullable(t *strict.Table, name string) []byte {
	if t.Has(name) && t.Value(name) == nil {
		return nil
	}
	return t.Base64(name)
}

// moment reads a time in its one spelling: UTC and whole seconds.
func moment(t *strict.Table, name string) time.Time {
	text := t.Text(name)
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || at.UTC().Format("2006-01-02T15:04:05Z") != text {
		t.Fail("%s must be a time written like 2026-11-21T17:00:00Z", t.Where(name))
	}
	return at
}
