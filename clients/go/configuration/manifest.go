package configuration

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sort"
	"strings"

	"enclaveos/client-go/internal/strict"
)

// manifestVersion is the one format this reader knows.
const manifestVersion = 1

// maxName is the longest name of a leaf in bytes.
const maxName = 255

// Leaf is one setting.
type Leaf struct {
	// Name, such as `core.version` or `app.<name>.code_hash`.
	Name string
	// ValueHash is SHA-256 of the value (of salt ‖ value if it is withheld).
	ValueHash Hash
	// Bytes is the value of a raw leaf.
	Bytes []byte
	// JSON is the value of a JSON leaf: nil, bool, string, json.Number, []any, map[string]any.
	JSON any
	// Withheld says that only the hash is told.
	Withheld bool
}

func (l *Leaf) hash() Hash {
	entry := binary.BigEndian.AppendUint16(nil, uint16(len(l.Name)))
	entry = append(entry, l.Name...)
	return leafHash(append(entry, l.ValueHash[:]...))
}

// Manifest is the whole configuration: every leaf, in the order of names. The root it states has been
// recomputed; whether it is the root in a certificate is for the caller to see.
type Manifest struct {
	Leaves []Leaf
	Root   Hash
}

// ParseManifest reads a manifest strictly: known members only, names in order and once, every
// disclosed value with its hash, and the root that follows.
func ParseManifest(text []byte) (*Manifest, error) {
	value, err := strict.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return ManifestOf(value)
}

// ManifestOf reads a manifest from a value of the strict JSON reader.
func ManifestOf(value any) (*Manifest, error) {
	t := strict.NewTable(value, "manifest")
	if version := t.Whole("version", math.MaxUint32); version != manifestVersion {
		t.Fail("manifest: format %d is unknown; this reader knows format %d", version, manifestVersion)
	}
	m := &Manifest{}
	copy(m.Root[:], t.Hex("root", len(m.Root)))
	t.Each("leaves", func(element *strict.Table) {
		leaf, err := leafOf(element)
		if err != nil {
			element.Fail("%w", err)
			return
		}
		if n := len(m.Leaves); n > 0 && m.Leaves[n-1].Name >= leaf.Name {
			element.Fail("manifest: leaf %q is out of order or there twice", leaf.Name)
		}
		m.Leaves = append(m.Leaves, *leaf)
	})
	if err := t.Err(); err != nil {
		return nil, err
	}
	hashes := make([]Hash, len(m.Leaves))
	for i := range m.Leaves {
		hashes[i] = m.Leaves[i].hash()
	}
	if rootOf(hashes) != m.Root {
		return nil, errors.New("manifest: the stated root is not the root of the leaves")
	}
	return m, nil
}

// Leaf finds a leaf by name; nil if there is none.
func (m *Manifest) Leaf(name string) *Leaf {
	at := sort.Search(len(m.Leaves), func(i int) bool { return m.Leaves[i].Name >= name })
	if at < len(m.Leaves) && m.Leaves[at].Name == name {
		return &m.Leaves[at]
	}
	return nil
}

func leafOf(t *strict.Table) (*Leaf, error) {
	leaf := &Leaf{Name: t.Text("name")}
	copy(leaf.ValueHash[:], t.Hex("value_hash", len(leaf.ValueHash)))
	if len(leaf.Name) == 0 || len(leaf.Name) > maxName {
		t.Fail("%s must have 1 to %d characters", t.Where("name"), maxName)
	}
	for _, c := range []byte(leaf.Name) {
		if c < '!' || c > '~' {
			t.Fail("%s must be printable ASCII without spaces", t.Where("name"))
		}
	}
	found := leaf.ValueHash
	switch raw, json := t.Has("bytes"), t.Has("json"); {
	case raw && json:
		t.Fail("leaf %q has bytes and json; a leaf has either", leaf.Name)
	case raw:
		leaf.Bytes = t.Base64("bytes")
		found = sha256.Sum256(leaf.Bytes)
	case json:
		leaf.JSON = t.Value("json")
		canonical, err := Canonical(leaf.JSON)
		if err != nil {
			t.Fail("leaf %q: %w", leaf.Name, err)
		}
		found = sha256.Sum256(canonical)
	default:
		leaf.Withheld = true
	}
	if found != leaf.ValueHash {
		t.Fail("the value of leaf %q does not have the hash %s that stands beside it", leaf.Name, hex.EncodeToString(leaf.ValueHash[:]))
	}
	return leaf, t.Err()
}

// OfApp is the app's own manifest, whose root is extension `.3.1`: its leaves without `app.<name>.`.
func (m *Manifest) OfApp(app string) *Manifest {
	prefix := "app." + app + "."
	own := &Manifest{}
	var hashes []Hash
	for _, leaf := range m.Leaves {
		if name, is := strings.CutPrefix(leaf.Name, prefix); is && name != "" {
			leaf.Name = name
			own.Leaves = append(own.Leaves, leaf)
			hashes = append(hashes, leaf.hash())
		}
	}
	own.Root = rootOf(hashes)
	return own
}
