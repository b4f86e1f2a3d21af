package leaf_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"enclaveos/client-go/internal/fixture"
	"enclaveos/client-go/leaf"
)

func TestWhatALeafClaims(t *testing.T) {
	enclave := fixture.NewEnclave(t, fixture.NewPKI(t, "Test Root"))
	whole, err := leaf.Parse(enclave.Certificate("", fixture.Now, fixture.AtCertificate).X509.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(whole.Apps) != 2 || whole.App != nil || whole.Quote == nil || whole.Named("notes").CodeHash != fixture.CodeHash("notes") {
		t.Errorf("%+v", whole)
	}
	own, err := leaf.Parse(enclave.Certificate("payments", fixture.Now, nil).X509.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if own.App == nil || own.Named("notes") != nil || own.Quote != nil || own.Apps[0].RoutePrefix != "/payments" {
		t.Errorf("%+v", own)
	}
	enclave.Apps = nil
	empty, err := leaf.Parse(enclave.Certificate("", fixture.Now, nil).X509.Raw)
	if err != nil || len(empty.Apps) != 0 {
		t.Error(empty, err)
	}
}

// One rule is broken in each.
func TestWhatIsRefused(t *testing.T) {
	enclave := fixture.NewEnclave(t, fixture.NewPKI(t, "Test Root"))
	arc := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 65230}
	set := func(value string, arcs ...int) func(*x509.Certificate) {
		id := append(slices.Clone(arc), arcs...)
		return func(c *x509.Certificate) {
			c.ExtraExtensions = slices.DeleteFunc(c.ExtraExtensions, func(e pkix.Extension) bool { return e.Id.Equal(id) })
			if value != "" {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: []byte(value)})
			}
		}
	}
	whole, own := enclave.Certificate("", fixture.Now, nil), enclave.Certificate("notes", fixture.Now, nil)
	cases := map[string]struct {
		from *fixture.Leaf
		edit func(*x509.Certificate)
		says string
	}{
		"no root":            {whole, set("", 1, 1), "1.1"},
		"short root":         {whole, set("short", 1, 1), "32 bytes"},
		"no workloads":       {whole, set("", 2, 5), "2.5"},
		"other workloads":    {whole, set(strings.Repeat("x", 32), 2, 5), "hash over the apps"},
		"unknown in our arc": {whole, set("x", 5, 1), "unknown to this version"},
		"names only":         {whole, set("", 2, 2), "2.2"},
		"a hash too few":     {whole, set(strings.Repeat("x", 32), 2, 3), "32 bytes for each app"},
		"a prefix too few":   {whole, set("/notes", 2, 2), "one line for each app"},
		"names out of order": {whole, set("payments\nnotes", 2, 1), "in order"},
		"name twice":         {whole, set("notes\nnotes", 2, 1), "in order"},
		"control characters": {whole, set("no\x01es\npayments", 2, 1), "printable"},
		"app leaf of two apps": {whole, func(c *x509.Certificate) {
			set(strings.Repeat("r", 32), 3, 1)(c)
			set(strings.Repeat("h", 32), 3, 2)(c)
			set("generated", 3, 4)(c)
		}, "one app"},
		"other code hash":  {own, set(strings.Repeat("h", 32), 3, 2), "same code hash"},
		"no app root":      {own, set("", 3, 1), "3.1"},
		"no app hash":      {own, set("", 3, 2), "3.2"},
		"no key source":    {own, set("", 3, 4), "3.4"},
		"bad key source":   {own, set("byok:0123456789ABCDEF", 3, 4), "16 hexadecimal"},
		"short key source": {own, set("byok:01234567", 3, 4), "16 hexadecimal"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := leaf.Parse(enclave.Reissue(c.from, c.edit).X509.Raw)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("wanted %q, got %v", c.says, err)
			}
		})
	}
	for _, der := range [][]byte{nil, {0x30}, append(slices.Clone(whole.X509.Raw), 0)} {
		if _, err := leaf.Parse(der); err == nil {
			t.Errorf("%d bytes are taken for a certificate", len(der))
		}
	}
}

// The length of a name is hashed in 16 bits, so two lists of apps could have one hash if names were longer.
func TestNamesHaveALimit(t *testing.T) {
	enclave := fixture.NewEnclave(t, fixture.NewPKI(t, "Test Root"))
	for length, accepted := range map[int]bool{63: true, 64: false, 65536: false} {
		enclave.Apps = []string{strings.Repeat("a", length)}
		_, err := leaf.Parse(enclave.Certificate("", fixture.Now, nil).X509.Raw)
		if (err == nil) != accepted || err != nil && !strings.Contains(err.Error(), "at most 63 bytes") {
			t.Errorf("%d: %v", length, err)
		}
	}
}

// python: h=lambda b: hashlib.sha512(hashlib.sha256(b"spki").digest()+b).hexdigest()
func TestReportData(t *testing.T) {
	c := &x509.Certificate{RawSubjectPublicKeyInfo: []byte("spki"), NotBefore: time.Unix(1795180440, 0).In(time.FixedZone("east", 3600))}
	var nonce, exporter [32]byte
	for i := range nonce {
		nonce[i], exporter[i] = 1, 2
	}
	for want, got := range map[string]leaf.ReportData{
		"5c30ca2b08e4c0eccf6ec7ccbd05ad660133cbea1acc61cf0e43db618312a3ef18068f83821c305f9891a4b8136ce9b558120780222a2b33afff306b0a7e20e5": leaf.OfCertificate(c),
		"43ba17f29e513dd9185f9b8a74d8a8e82a2da8bb7597e891dd83c6b8979642775fa6a93840793b7ec627acba0d7de057ea35855227fd0126f35c81330b4bd19a": leaf.OfChallenge(c, nonce),
		"a7ddf3af798e3c1a12f9a458510b2afc21465d7c05d686ccd9d4ced8dd70ac02ba7a5c1e3ee04f8f101cb4f0157a8ca5dc5da4d0be51ec1bb43102337724b8ac": leaf.OfChannel(c, nonce, exporter),
	} {
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("%x, want %s", got, want)
		}
	}
}
