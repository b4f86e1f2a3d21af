package configuration

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"enclaveos/client-go/internal/strict"
)

// The test vectors of the Certificate Transparency reference implementation.
func TestKnownRoots(t *testing.T) {
	inputs := []string{"", "\x00", "\x10", "\x20\x21", "\x30\x31", "\x40\x41\x42\x43",
		"\x50\x51\x52\x53\x54\x55\x56\x57", "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f"}
	roots := []string{
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
		"fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
		"d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
		"76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
		"5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
	}
	var leaves []Hash
	for size, want := range roots {
		if got := rootOf(leaves); hex.EncodeToString(got[:]) != want {
			t.Errorf("%d leaves: %x", size, got)
		}
		if size < len(inputs) {
			leaves = append(leaves, leafHash([]byte(inputs[size])))
		}
	}
}

// pathOf is PATH(index, leaves) of RFC 9162 §2.1.3.1.
func pathOf(leaves []Hash, index int) []Hash {
	if len(leaves) <= 1 {
		return nil
	}
	split := 1
	for split*2 < len(leaves) {
		split *= 2
	}
	if index < split {
		return append(pathOf(leaves[:split], index), rootOf(leaves[split:]))
	}
	return append(pathOf(leaves[split:], index-split), rootOf(leaves[:split]))
}

func TestEveryLeafOfEverySmallTree(t *testing.T) {
	for size := 1; size <= 40; size++ {
		var leaves []Hash
		for i := range size {
			leaves = append(leaves, leafHash(fmt.Append(nil, "leaf ", i)))
		}
		root := rootOf(leaves)
		for i := range size {
			path := pathOf(leaves, i)
			at, n := uint64(i), uint64(size)
			if got, fits := rootFromPath(leaves[i], at, n, path); !fits || got != root {
				t.Fatalf("leaf %d of %d is not proved", i, size)
			}
			bad := leaves[i]
			bad[3] ^= 4
			wrong := func(leaf Hash, index, size uint64, path []Hash) {
				if got, fits := rootFromPath(leaf, index, size, path); fits && got == root {
					t.Fatalf("a wrong proof of leaf %d of %d holds", i, size)
				}
			}
			wrong(bad, at, n, path)
			wrong(leaves[i], n, n, path)
			wrong(leaves[i], at, n, append(path, bad))
			if len(path) > 0 {
				wrong(leaves[i], at, n, path[1:])
				wrong(leaves[i], (at+1)%n, n, path)
			}
		}
	}
}

func TestCanonicalJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"b":1,"a":[true,null,"x"]}`:                                         `{"a":[true,null,"x"],"b":1}`,
		`"\u20ac$\u000F\nA'B\"\\\"/"`:                                         `"€$\u000f\nA'B\"\\\"/"`,
		`[1e3,1.50,-0,0.000001,1e-7,1e21,333333333.33333329,4.50,2e-3,1e-27]`: `[1000,1.5,0,0.000001,1e-7,1e+21,333333333.3333333,4.5,0.002,1e-27]`,
		`9007199254740991`:                                                    `9007199254740991`,
		"{\"\U0001F600\":2,\"\uFB33\":1,\"\\u0080\":0}":                       "{\"\u0080\":0,\"\U0001F600\":2,\"\uFB33\":1}",
	} {
		value, err := strict.Parse([]byte(in))
		if err != nil {
			t.Fatal(in, err)
		}
		if got, err := Canonical(value); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"9007199254740992", "-9007199254740992", "18446744073709551615", "[1e400]"} {
		value, err := strict.Parse([]byte(in))
		if err != nil {
			t.Fatal(in, err)
		}
		if got, err := Canonical(value); err == nil {
			t.Errorf("%s is taken as %s", in, got)
		}
	}
}

// manifest writes a manifest of two settings.
func manifest(t *testing.T) (text string, leaves []Hash) {
	raw, number := sha256.Sum256([]byte{1, 2}), sha256.Sum256([]byte(`{"a":1}`))
	list := []Leaf{{Name: "app.notes.limits", ValueHash: number}, {Name: "core.ca_key", ValueHash: raw}}
	for i := range list {
		leaves = append(leaves, list[i].hash())
	}
	root := rootOf(leaves)
	return fmt.Sprintf(`{"version":1,"root":"%x","leaves":[`+
		`{"name":"app.notes.limits","value_hash":"%x","json":{"a":1}},`+
		`{"name":"core.ca_key","value_hash":"%x","bytes":"AQI="}]}`, root, number, raw), leaves
}

func TestManifest(t *testing.T) {
	text, leaves := manifest(t)
	m, err := ParseManifest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if m.Root != rootOf(leaves) || len(m.Leaf("core.ca_key").Bytes) != 2 || m.Leaf("core.ca") != nil {
		t.Errorf("%+v", m)
	}
	raw := m.Leaf("core.ca_key").ValueHash
	own := m.OfApp("notes")
	if len(own.Leaves) != 1 || own.Leaves[0].Name != "limits" || own.Root != own.Leaves[0].hash() {
		t.Errorf("%+v", own)
	}
	for name, edit := range map[string][2]string{
		"format":       {`"version":1`, `"version":2`},
		"unknown":      {`"version":1`, `"version":1,"more":1`},
		"other case":   {`"leaves"`, `"Leaves"`},
		"value":        {`"AQI="`, `"AQM="`},
		"JSON value":   {`{"a":1}`, `{"a":2}`},
		"twice":        {`{"a":1}`, `{"a":1,"a":1}`},
		"two values":   {`"bytes":"AQI="`, `"bytes":"AQI=","json":1`},
		"root":         {`"root":"`, `"root":"00`},
		"order":        {`app.notes.limits`, `d.notes.limits`},
		"name":         {`core.ca_key`, `core.ca key`},
		"upper case":   {hex.EncodeToString(raw[:]), strings.ToUpper(hex.EncodeToString(raw[:]))},
		"not padded":   {`"AQI="`, `"AQI"`},
		"not the root": {`core.ca_key`, `core.ca_kez`},
	} {
		bad := strings.Replace(text, edit[0], edit[1], 1)
		if bad == text {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := ParseManifest([]byte(bad)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestProof(t *testing.T) {
	_, leaves := manifest(t)
	raw := sha256.Sum256([]byte{1, 2})
	text := fmt.Sprintf(`{"leaf":{"name":"core.ca_key","value_hash":"%x","bytes":"AQI="},"index":1,"tree_size":2,"path":["%x"],"root":"%x"}`,
		raw, leaves[0], rootOf(leaves))
	p, err := ParseProof([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(rootOf(leaves)); err != nil {
		t.Error(err)
	}
	if err := p.Verify(Hash{1}); !errors.Is(err, ErrProof) {
		t.Error("it holds for another root")
	}
	for _, edit := range [][2]string{{`"index":1`, `"index":-1`}, {`"index":1`, `"index":1.0`}, {`"leaf":{`, `"leaf":{"x":1,`}, {`AQI=`, `AQM=`}} {
		if _, err := ParseProof([]byte(strings.Replace(text, edit[0], edit[1], 1))); err == nil {
			t.Errorf("%v: taken", edit)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"root":"","leaves":[]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err == nil && !json.Valid(text) {
			t.Errorf("%+v from what is not JSON", m)
		}
	})
}
