package configuration

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"enclaveos/client-go/internal/strict"
)

// Proof shows that one leaf is part of a configuration, without the others.
type Proof struct {
	// Leaf is what is proved. A value it discloses has its hash.
	Leaf Leaf

	index, size uint64
	path        []Hash
	claimed     Hash
}

// ParseProof reads an inclusion proof. It proves nothing before Verify.
func ParseProof(text []byte) (*Proof, error) {
	value, err := strict.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("proof: %w", err)
	}
	return ProofOf(value)
}

// ProofOf reads an inclusion proof that is part of a document. It proves nothing before Verify.
func ProofOf(value any) (*Proof, error) {
	t := strict.NewTable(value, "proof")
	p := &Proof{index: t.Whole("index", math.MaxUint64), size: t.Whole("tree_size", math.MaxUint64)}
	copy(p.claimed[:], t.Hex("root", len(p.claimed)))
	for i, item := range t.List("path") {
		text, _ := item.(string)
		bytes, err := strict.Hex(text, len(Hash{}))
		if err != nil {
			t.Fail("proof.path[%d] %w", i, err)
			break
		}
		p.path = append(p.path, Hash(bytes))
	}
	if element := t.Table("leaf"); element == nil {
		t.Fail("proof.leaf is missing")
	} else if leaf, err := leafOf(element); err == nil {
		p.Leaf = *leaf
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// ErrProof says that a proof does not lead to the root.
var ErrProof = errors.New("the proof does not lead to this root: the leaf is not part of that configuration")

// Verify checks the path against a root, which must come from a verified certificate. The root that
// the proof itself states is not looked at.
func (p *Proof) Verify(root Hash) error {
	found, fits := rootFromPath(p.Leaf.hash(), p.index, p.size, p.path)
	if !fits || found != root {
		return fmt.Errorf("%w (%s)", ErrProof, hex.EncodeToString(root[:]))
	}
	return nil
}
