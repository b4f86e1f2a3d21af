package verify_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"
	"time"

	"enclaveos/client-go/configuration"
	"enclaveos/client-go/dcap"
	"enclaveos/client-go/policy"
	"enclaveos/client-go/verify"
)

// vectors is the file that holds every client of this system to the same verdicts.
type vectors struct {
	Format      int
	Vectors     []vector
	Collaterals map[string]json.RawMessage
}

type vector struct {
	Name, What string
	Input      struct {
		Tier          string
		Policy        string
		Now           time.Time
		Chain         []string
		ChainRef      string  `json:"chain_ref"`
		ServerName    *string `json:"server_name"`
		Nonce         *string
		Exporter      *string
		Quote         *string
		AttestQuote   *string `json:"attest_quote"`
		Collateral    json.RawMessage
		CollateralRef string `json:"collateral_ref"`
		Manifest      json.RawMessage
		Proofs        []json.RawMessage
		Evidence      json.RawMessage
	}
	Expect struct {
		Accepted bool
		Failed   []verify.CheckID
	}
}

func read(t *testing.T) *vectors {
	text, err := os.ReadFile("../../vectors/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	all := &vectors{}
	if err := json.Unmarshal(text, all); err != nil {
		t.Fatal(err)
	}
	if all.Format != 1 || len(all.Vectors) < 60 {
		t.Fatalf("format %d with %d vectors", all.Format, len(all.Vectors))
	}
	return all
}

func TestVectors(t *testing.T) {
	all := read(t)
	for _, v := range all.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			verdict := all.judge(t, &v)
			want := append([]verify.CheckID{}, v.Expect.Failed...)
			if verdict.Accepted != v.Expect.Accepted || !slices.Equal(verdict.Failed(), want) {
				t.Errorf("%s\naccepted %v, want %v; failed %v, want %v\n%s", v.What,
					verdict.Accepted, v.Expect.Accepted, verdict.Failed(), want, verdict.Explain())
			}
		})
	}
}

// Were a check left out, the vectors that fail for it alone would be judged otherwise.
func TestNoCheckCanBeLeftOut(t *testing.T) {
	alone := map[verify.CheckID]bool{}
	for _, v := range read(t).Vectors {
		if len(v.Expect.Failed) == 1 {
			alone[v.Expect.Failed[0]] = true
		}
	}
	for _, id := range []verify.CheckID{
		verify.CheckPolicy, verify.CheckEvidenceFormat, verify.CheckCertificateFormat, verify.CheckCertificateChain,
		verify.CheckCertificateTime, verify.CheckServerName, verify.CheckQuoteFormat, verify.CheckRoot, verify.CheckQuote,
		verify.CheckReportData, verify.CheckDebug, verify.CheckMeasurement, verify.CheckTCBStatus, verify.CheckAdvisories,
		verify.CheckTier, verify.CheckAge, verify.CheckApp, verify.CheckCodeHash, verify.CheckKeySource,
		verify.CheckConfiguration, verify.CheckPlatform, verify.CheckOperatorCA,
	} {
		if !alone[id] {
			t.Errorf("no vector fails for %s alone", id)
		}
	}
}

// judge resolves what a vector refers to and judges it.
func (all *vectors) judge(t *testing.T, v *vector) *verify.Verdict {
	p, err := policy.Parse(v.Input.Policy)
	if err != nil {
		return verify.Unreadable(err)
	}
	var context verify.Context
	if text := all.collateral(v); text != nil {
		if context.Collateral, err = dcap.ParseCollateral(text); err != nil {
			t.Fatal(err)
		}
	}
	if given(v.Input.Manifest) {
		if context.Manifest, err = configuration.ParseManifest(v.Input.Manifest); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range v.Input.Proofs {
		proof, err := configuration.ParseProof(text)
		if err != nil {
			t.Fatal(err)
		}
		context.Proofs = append(context.Proofs, proof)
	}
	in := &v.Input
	certificate := verify.Certificate{Chain: chain(t, v.Input.Chain)}
	if in.ServerName != nil {
		certificate.ServerName = *in.ServerName
	}
	nonce := fixed(t, in.Nonce, base64.RawURLEncoding.DecodeString)
	switch in.Tier {
	case "certificate":
		return verify.Judge(p, certificate, context, in.Now)
	case "challenge":
		return verify.Judge(p, verify.Challenge{Certificate: certificate, Nonce: nonce}, context, in.Now)
	case "channel":
		exporter := fixed(t, in.Exporter, hex.DecodeString)
		presented := verify.Channel{Certificate: certificate, Nonce: nonce, Exporter: exporter, Quote: decode(t, in.AttestQuote)}
		return verify.Judge(p, presented, context, in.Now)
	case "quote":
		return verify.Judge(p, verify.Quote(decode(t, in.Quote)), context, in.Now)
	case "evidence":
		return verify.JudgeDocument(p, in.Evidence, context, in.Now)
	}
	t.Fatalf("there is no tier %q", in.Tier)
	return nil
}

func given(text json.RawMessage) bool { return len(text) > 0 && string(text) != "null" }

func (all *vectors) collateral(v *vector) json.RawMessage {
	if v.Input.CollateralRef != "" {
		return all.Collaterals[v.Input.CollateralRef]
	}
	if given(v.Input.Collateral) {
		return v.Input.Collateral
	}
	return nil
}

func chain(t *testing.T, texts []string) (ders [][]byte) {
	for _, text := range texts {
		ders = append(ders, decode(t, &text))
	}
	return ders
}

func decode(t *testing.T, text *string) []byte {
	if text == nil {
		return nil
	}
	bytes, err := base64.StdEncoding.DecodeString(*text)
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func fixed(t *testing.T, text *string, read func(string) ([]byte, error)) (value [32]byte) {
	if text == nil {
		return value
	}
	bytes, err := read(*text)
	if err != nil || len(bytes) != len(value) {
		t.Fatal(*text, err)
	}
	return [32]byte(bytes)
}
