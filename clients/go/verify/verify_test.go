package verify_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"enclaveos/client-go/configuration"
	"enclaveos/client-go/dcap"
	"enclaveos/client-go/internal/fixture"
	"enclaveos/client-go/leaf"
	"enclaveos/client-go/policy"
	"enclaveos/client-go/verify"
)

// stage is an enclave, what it shows, and the policy it is judged by. A case changes one thing.
type stage struct {
	t       *testing.T
	pki     *fixture.PKI
	enclave *fixture.Enclave
	more    string
	name    string
	app     string
	made    time.Time
	now     time.Time
	bind    func(*x509.Certificate) [64]byte
	present func(verify.Certificate) verify.Presented
	context verify.Context
	change  func(*fixture.Leaf) *fixture.Leaf
}

func newStage(t *testing.T) *stage {
	pki := fixture.NewPKI(t, "Test Root")
	return &stage{
		t: t, pki: pki, enclave: fixture.NewEnclave(t, pki), more: "[freshness]\nmin_tier = \"certificate\"\n",
		made: fixture.Now, now: fixture.Now.Add(time.Minute), bind: fixture.AtCertificate,
		present: func(c verify.Certificate) verify.Presented { return c },
	}
}

func (s *stage) judge() *verify.Verdict {
	p, err := policy.Parse(s.enclave.Policy(s.more))
	if err != nil {
		s.t.Fatal(err)
	}
	shown := s.enclave.Certificate(s.app, s.made, s.bind)
	if s.change != nil {
		shown = s.change(shown)
	}
	if s.context.Collateral == nil {
		s.context.Collateral = s.pki.Collateral()
	}
	return verify.Judge(p, s.present(verify.Certificate{Chain: shown.Chain, ServerName: s.name}), s.context, s.now)
}

func hexes(hash [32]byte) string { return fmt.Sprintf("[\"%x\"]", hash) }

func TestChecks(t *testing.T) {
	nonce, exporter := [32]byte{1}, [32]byte{2}
	cases := map[string]struct {
		turn   func(*stage)
		failed []verify.CheckID
	}{
		"certificate":             {func(s *stage) {}, nil},
		"certificate and name":    {func(s *stage) { s.name = "LOCALHOST" }, nil},
		"certificate and address": {func(s *stage) { s.name = "127.0.0.1" }, nil},
		"challenge": {func(s *stage) {
			s.more, s.bind = "", fixture.AtChallenge(nonce)
			s.present = func(c verify.Certificate) verify.Presented { return verify.Challenge{Certificate: c, Nonce: nonce} }
		}, nil},
		"old nonce": {func(s *stage) {
			s.more, s.bind = "", fixture.AtChallenge(exporter)
			s.present = func(c verify.Certificate) verify.Presented { return verify.Challenge{Certificate: c, Nonce: nonce} }
		}, []verify.CheckID{"report-data"}},
		"channel":                       {func(s *stage) { s.more = "[freshness]\nmin_tier = \"channel\"\n"; s.channel(nonce, exporter, exporter) }, nil},
		"channel of another connection": {func(s *stage) { s.more = ""; s.channel(nonce, exporter, nonce) }, []verify.CheckID{"report-data"}},
		"channel without quote": {func(s *stage) {
			s.present = func(c verify.Certificate) verify.Presented { return verify.Channel{Certificate: c, Nonce: nonce} }
		}, []verify.CheckID{"quote-format"}},
		"tier too weak":                   {func(s *stage) { s.more = "" }, []verify.CheckID{"tier"}},
		"no certificate":                  {func(s *stage) { s.change = func(l *fixture.Leaf) *fixture.Leaf { return &fixture.Leaf{} } }, []verify.CheckID{"certificate-format"}},
		"no authority":                    {func(s *stage) { s.cut(0, 1) }, []verify.CheckID{"certificate-chain"}},
		"another authority":               {func(s *stage) { s.swap(1, fixture.NewEnclave(s.t, s.pki).Certificate("", fixture.Now, nil).Chain[1]) }, []verify.CheckID{"certificate-chain"}},
		"another operator":                {func(s *stage) { s.swap(2, fixture.NewEnclave(s.t, s.pki).Certificate("", fixture.Now, nil).Chain[2]) }, []verify.CheckID{"certificate-chain"}},
		"leaf as authority":               {func(s *stage) { s.swap(1, s.enclave.Certificate("", fixture.Now, nil).Chain[0]) }, []verify.CheckID{"certificate-chain"}},
		"25 hours later":                  {func(s *stage) { s.now = s.made.Add(25 * time.Hour) }, []verify.CheckID{"certificate-time", "age"}},
		"from the future":                 {func(s *stage) { s.now = s.made.Add(-6 * time.Minute) }, []verify.CheckID{"certificate-time", "age"}},
		"clocks differ":                   {func(s *stage) { s.now = s.made.Add(-4 * time.Minute) }, nil},
		"another name":                    {func(s *stage) { s.name = "other.example" }, []verify.CheckID{"server-name"}},
		"mapped address":                  {func(s *stage) { s.name = "::ffff:127.0.0.1" }, []verify.CheckID{"server-name"}},
		"another address":                 {func(s *stage) { s.name = "127.0.0.2" }, []verify.CheckID{"server-name"}},
		"no quote":                        {func(s *stage) { s.bind = nil }, []verify.CheckID{"quote-format"}},
		"another root":                    {func(s *stage) { s.enclave.PKI = fixture.NewPKI(s.t, "Other Root"); s.another() }, []verify.CheckID{"root"}},
		"collateral of another authority": {func(s *stage) { s.context.Collateral = fixture.NewPKI(s.t, "Test Root").Collateral() }, []verify.CheckID{"quote"}},
		"revoked":                         {func(s *stage) { s.pki.RevokePCK = true }, []verify.CheckID{"quote"}},
		"quote of another key": {func(s *stage) {
			other := s.enclave.Certificate("", fixture.Now, nil).X509
			s.bind = func(*x509.Certificate) [64]byte { return leaf.OfCertificate(other) }
		}, []verify.CheckID{"report-data"}},
		"quote of another minute": {func(s *stage) {
			s.bind = func(c *x509.Certificate) [64]byte {
				other := *c
				other.NotBefore = other.NotBefore.Add(time.Minute)
				return leaf.OfCertificate(&other)
			}
		}, []verify.CheckID{"report-data"}},
		"debug":               {func(s *stage) { s.enclave.Report = func(r *dcap.Report) { r.Attributes[0] |= 2 } }, []verify.CheckID{"debug"}},
		"another image":       {func(s *stage) { s.enclave.Report = func(r *dcap.Report) { r.MRENCLAVE[0] ^= 1 } }, []verify.CheckID{"measurement"}},
		"out of date":         {func(s *stage) { s.pki.TCBStatus = "OutOfDate" }, []verify.CheckID{"tcb-status"}},
		"grace":               {func(s *stage) { s.pki.TCBStatus = "OutOfDate"; s.grace("2026-11-22") }, nil},
		"grace is over":       {func(s *stage) { s.pki.TCBStatus = "OutOfDate"; s.grace("2026-11-21") }, []verify.CheckID{"tcb-status"}},
		"advisory":            {func(s *stage) { s.pki.Advisories = []string{"INTEL-SA-00334"} }, []verify.CheckID{"advisories"}},
		"known advisory":      {func(s *stage) { s.pki.Advisories = []string{"A"}; s.more += "[tcb]\nadvisories = [\"A\"]\n" }, nil},
		"too old":             {func(s *stage) { s.more += "max_age_seconds = 60\n"; s.now = s.made.Add(7 * time.Minute) }, []verify.CheckID{"age"}},
		"app":                 {func(s *stage) { s.more += "[app]\nname = \"notes\"\ncode_hashes = " + hexes(fixture.CodeHash("notes")) }, nil},
		"app not there":       {func(s *stage) { s.more += "[app]\nname = \"mail\"\ncode_hashes = " + hexes([32]byte{}) }, []verify.CheckID{"app"}},
		"another app's":       {func(s *stage) { s.app = "payments"; s.more += "[app]\nname = \"notes\"\n" }, []verify.CheckID{"app"}},
		"other code":          {func(s *stage) { s.more += "[app]\nname = \"notes\"\ncode_hashes = " + hexes([32]byte{}) }, []verify.CheckID{"code-hash"}},
		"key source":          {func(s *stage) { s.app = "notes"; s.more += "[app]\nname = \"notes\"\nkey_source = \"byok\"\n" }, nil},
		"other key source":    {func(s *stage) { s.app = "notes"; s.more += "[app]\nname = \"notes\"\nkey_source = \"generated\"\n" }, []verify.CheckID{"key-source"}},
		"key source not told": {func(s *stage) { s.more += "[app]\nname = \"notes\"\nkey_source = \"byok\"\n" }, []verify.CheckID{"key-source"}},
		"configuration":       {func(s *stage) { s.more += "[configuration]\nroot = " + hexes(fixture.EmptyRoot()) }, nil},
		"other configuration": {func(s *stage) { s.more += "[configuration]\nroot = " + hexes([32]byte{}) }, []verify.CheckID{"configuration"}},
		"app root":            {func(s *stage) { s.app = "notes"; s.more += "[configuration]\napp_root = " + hexes(fixture.EmptyRoot()) }, nil},
		"app root not told":   {func(s *stage) { s.more += "[configuration]\napp_root = " + hexes(fixture.EmptyRoot()) }, []verify.CheckID{"configuration"}},
		"setting not shown":   {func(s *stage) { s.more += "[configuration.leaves]\n\"core.version\" = " + hexes([32]byte{}) }, []verify.CheckID{"configuration"}},
		"machine":             {func(s *stage) { s.more += fmt.Sprintf("[platform]\nppids = [\"%x\"]\n", fixture.PPID) }, nil},
		"another machine":     {func(s *stage) { s.more += fmt.Sprintf("[platform]\nppids = [\"%x\"]\n", [16]byte{}) }, []verify.CheckID{"platform"}},
		"operator":            {func(s *stage) { s.more += "[authority]\noperator_ca = " + hexes(s.enclave.Operator()) }, nil},
		"unknown operator":    {func(s *stage) { s.more += "[authority]\noperator_ca = " + hexes([32]byte{}) }, []verify.CheckID{"operator-ca"}},
		"no operator":         {func(s *stage) { s.more += "[authority]\noperator_ca = " + hexes(s.enclave.Operator()); s.cut(0, 2) }, []verify.CheckID{"operator-ca"}},
		"much at once": {func(s *stage) {
			s.pki.TCBStatus, s.more = "OutOfDate", "[app]\nname = \"mail\"\n"
			s.enclave.Report = func(r *dcap.Report) { r.MRENCLAVE[0] ^= 1; r.Attributes[0] |= 2 }
		}, []verify.CheckID{"debug", "measurement", "tcb-status", "tier", "app"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			c.turn(s)
			verdict := s.judge()
			if verdict.Accepted != (len(c.failed) == 0) || !slices.Equal(verdict.Failed(), append([]verify.CheckID{}, c.failed...)) {
				t.Errorf("accepted %v, failed %v\n%s", verdict.Accepted, verdict.Failed(), verdict.Explain())
			}
			for _, check := range verdict.Checks {
				if check.Passed == (check.Message != "") {
					t.Errorf("%s: passed %v with the message %q", check.ID, check.Passed, check.Message)
				}
			}
		})
	}
}

func (s *stage) channel(nonce, exporter, seen [32]byte) {
	s.present = func(c verify.Certificate) verify.Presented {
		l, err := x509.ParseCertificate(c.Chain[0])
		if err != nil {
			s.t.Fatal(err)
		}
		quote := s.pki.Quote(fixture.Report(leaf.OfChannel(l, nonce, exporter)))
		return verify.Channel{Certificate: c, Nonce: nonce, Exporter: seen, Quote: quote}
	}
}

// another makes the policy keep to the first authority while another one quotes.
func (s *stage) another() {
	other := s.enclave.PKI
	s.enclave.PKI = s.pki
	s.change = func(*fixture.Leaf) *fixture.Leaf {
		s.enclave.PKI = other
		return s.enclave.Certificate("", s.made, s.bind)
	}
}

func (s *stage) cut(from, to int) {
	s.change = func(l *fixture.Leaf) *fixture.Leaf { l.Chain = l.Chain[from:to]; return l }
}

func (s *stage) swap(at int, der []byte) {
	s.change = func(l *fixture.Leaf) *fixture.Leaf { l.Chain[at] = der; return l }
}

func (s *stage) grace(until string) {
	s.more += "[tcb]\nstatuses = [{ status = \"OutOfDate\", until = \"" + until + "T00:00:00Z\" }]\n"
}

func TestAdvisoryOfMissingFencesIsExplained(t *testing.T) {
	s := newStage(t)
	s.pki.Advisories = []string{"INTEL-SA-00334"}
	if text := s.judge().Explain(); !strings.Contains(text, "LVI fences") {
		t.Error(text)
	}
}

func TestVerdictIsMachineReadable(t *testing.T) {
	s := newStage(t)
	s.bind = nil
	text, err := json.Marshal(s.judge())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"accepted":false`, `"tier":"certificate"`, `"enclave":null`, `{"check":"quote-format","passed":false`, `"not_before":"2026-11-21T17:00:00Z"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

// document is an evidence document with the parts given.
func document(s *stage, l *fixture.Leaf, quote []byte) map[string]any {
	list := func(ders [][]byte) (texts []string) {
		for _, der := range ders {
			texts = append(texts, base64.StdEncoding.EncodeToString(der))
		}
		return texts
	}
	parsed, err := leaf.Parse(l.X509.Raw)
	if err != nil {
		s.t.Fatal(err)
	}
	root, named := s.enclave.Configuration()
	hash := hex.EncodeToString(root[:])
	return map[string]any{
		"format": 1, "certificate_chain": list(l.Chain), "certificate_quote": base64.StdEncoding.EncodeToString(parsed.Quote),
		"evidence_quote": base64.StdEncoding.EncodeToString(quote), "collateral": s.pki.Collateral(),
		"manifest":    map[string]any{"version": 1, "root": hash, "leaves": []any{named}},
		"ca_proof":    map[string]any{"leaf": named, "index": 0, "tree_size": 1, "path": []string{}, "root": hash},
		"generations": []any{map[string]any{"generation": 1, "configuration_root": hash, "since": "2026-11-21T17:00:00Z", "changed": []string{"core"}}},
		"issued":      "2026-11-21T17:00:00Z",
	}
}

func TestEvidenceDocument(t *testing.T) {
	cases := map[string]struct {
		turn   func(s *stage, d map[string]any)
		failed []verify.CheckID
	}{
		"accepted":        {func(*stage, map[string]any) {}, nil},
		"unknown member":  {func(_ *stage, d map[string]any) { d["more"] = 1 }, []verify.CheckID{"evidence-format"}},
		"missing member":  {func(_ *stage, d map[string]any) { delete(d, "generations") }, []verify.CheckID{"evidence-format"}},
		"another format":  {func(_ *stage, d map[string]any) { d["format"] = 2 }, []verify.CheckID{"evidence-format"}},
		"another time":    {func(_ *stage, d map[string]any) { d["issued"] = "2026-11-21T18:00:00+01:00" }, []verify.CheckID{"evidence-format"}},
		"false manifest":  {func(_ *stage, d map[string]any) { d["manifest"].(map[string]any)["root"] = strings.Repeat("00", 32) }, []verify.CheckID{"evidence-format"}},
		"two quotes":      {func(_ *stage, d map[string]any) { d["certificate_quote"] = nil }, []verify.CheckID{"certificate-format"}},
		"no quote":        {func(_ *stage, d map[string]any) { d["evidence_quote"] = nil }, []verify.CheckID{"quote-format"}},
		"its other quote": {func(_ *stage, d map[string]any) { d["evidence_quote"] = d["certificate_quote"] }, []verify.CheckID{"report-data"}},
		"no collateral":   {func(_ *stage, d map[string]any) { d["collateral"] = nil }, []verify.CheckID{"quote"}},
		// A quote binds the key of a leaf, not what else it says: an authority of one's own can sign other apps.
		"forged extensions": {func(s *stage, d map[string]any) {
			forger := fixture.NewEnclave(s.t, s.pki)
			genuine, err := base64.StdEncoding.DecodeString(d["certificate_chain"].([]string)[0])
			if err != nil {
				s.t.Fatal(err)
			}
			original, err := x509.ParseCertificate(genuine)
			if err != nil {
				s.t.Fatal(err)
			}
			forged := forger.Certificate("", fixture.Now, nil)
			forged = forger.Reissue(forged, func(c *x509.Certificate) {
				for _, e := range original.Extensions {
					if e.Id.String() == "1.2.840.113741.1.13.1.0" {
						c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: e.Id, Value: e.Value})
					}
				}
			})
			d["certificate_chain"] = document(s, forged, nil)["certificate_chain"]
		}, []verify.CheckID{"report-data", "configuration"}},
		"another issuer of the CA": {func(s *stage, d map[string]any) {
			s.enclave.Authorities(func(*x509.Certificate, *x509.Certificate) {})
			for i, der := range s.enclave.Certificate("", s.made, nil).Chain[1:] {
				d["certificate_chain"].([]string)[i+1] = base64.StdEncoding.EncodeToString(der)
			}
		}, []verify.CheckID{"configuration"}},
		"a proof of another leaf": {func(_ *stage, d map[string]any) {
			leaf := maps.Clone(d["ca_proof"].(map[string]any)["leaf"].(map[string]any))
			leaf["name"] = "core.ca_key"
			d["ca_proof"].(map[string]any)["leaf"] = leaf
		}, []verify.CheckID{"configuration"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			s.enclave.Root, _ = s.enclave.Configuration()
			l := s.enclave.Certificate("", s.made, fixture.AtCertificate)
			quote := s.pki.Quote(fixture.Report(leaf.OfEvidence(l.X509, s.enclave.Root)))
			d := document(s, l, quote)
			c.turn(s, d)
			text, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			p, err := policy.Parse(s.enclave.Policy(s.more))
			if err != nil {
				t.Fatal(err)
			}
			verdict := verify.JudgeDocument(p, text, verify.Context{}, s.now)
			if !slices.Equal(verdict.Failed(), append([]verify.CheckID{}, c.failed...)) || verdict.Accepted != (c.failed == nil) {
				t.Errorf("failed %v\n%s", verdict.Failed(), verdict.Explain())
			}
		})
	}
}

func TestManifestOfAnotherConfiguration(t *testing.T) {
	s := newStage(t)
	s.enclave.Root = [32]byte{9}
	l := s.enclave.Certificate("", s.made, fixture.AtCertificate)
	root, _ := s.enclave.Configuration()
	quote := s.pki.Quote(fixture.Report(leaf.OfEvidence(l.X509, root)))
	text, err := json.Marshal(document(s, l, quote))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Parse(s.enclave.Policy(s.more))
	if err != nil {
		t.Fatal(err)
	}
	if failed := verify.JudgeDocument(p, text, verify.Context{}, s.now).Failed(); !slices.Equal(failed, []verify.CheckID{"configuration"}) {
		t.Error(failed)
	}
}

// A certificate without apps is a common one, and anybody can hand over a manifest.
func TestManifestOfAnotherConfigurationAndNoApps(t *testing.T) {
	s := newStage(t)
	s.enclave.Apps, s.enclave.Root = nil, [32]byte{9}
	s.context.Manifest = &configuration.Manifest{Root: fixture.EmptyRoot()}
	s.more += "[configuration.leaves]\n\"core.version\" = " + hexes([32]byte{})
	if failed := s.judge().Failed(); !slices.Equal(failed, []verify.CheckID{"configuration"}) {
		t.Error(failed)
	}
}

// Without a policy all that can be judged is judged, and nothing is accepted.
func TestExamine(t *testing.T) {
	s := newStage(t)
	l := s.enclave.Certificate("", s.made, fixture.AtCertificate)
	context := verify.Context{Collateral: s.pki.Collateral()}
	verdict := verify.Examine(verify.Certificate{Chain: l.Chain}, context, s.now)
	if verdict.Accepted || len(verdict.Failed()) > 0 || verdict.Enclave == nil {
		t.Errorf("%+v", verdict)
	}
	l = s.enclave.Certificate("", s.made, fixture.AtChallenge([32]byte{}))
	verdict = verify.Examine(verify.Certificate{Chain: l.Chain}, context, s.now)
	if !slices.Equal(verdict.Failed(), []verify.CheckID{"report-data"}) {
		t.Error(verdict.Failed())
	}
}

// What one verification costs, without the network.
func BenchmarkJudge(b *testing.B) {
	pki := fixture.NewPKI(b, "Test Root")
	enclave := fixture.NewEnclave(b, pki)
	nonce := [32]byte{1}
	shown := enclave.Certificate("", fixture.Now, fixture.AtChallenge(nonce))
	p, err := policy.Parse(enclave.Policy(""))
	if err != nil {
		b.Fatal(err)
	}
	presented := verify.Challenge{Certificate: verify.Certificate{Chain: shown.Chain}, Nonce: nonce}
	context := verify.Context{Collateral: pki.Collateral()}
	for b.Loop() {
		if v := verify.Judge(p, presented, context, fixture.Now); !v.Accepted {
			b.Fatal(v.Explain())
		}
	}
}
