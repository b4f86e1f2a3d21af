package dcap_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"enclaveos/client-go/dcap"
	"enclaveos/client-go/internal/fixture"
)

func verify(t *testing.T, quote []byte, c *dcap.Collateral) (*dcap.Verified, error) {
	t.Helper()
	parsed, err := dcap.Parse(quote)
	if err != nil {
		return nil, err
	}
	return parsed.Verify(c, fixture.Now)
}

func TestGenuineQuote(t *testing.T) {
	pki := fixture.NewPKI(t, "Test Root")
	pki.Advisories, pki.QEAdvisories = []string{"INTEL-SA-1"}, []string{"INTEL-SA-2", "INTEL-SA-1"}
	verified, err := verify(t, pki.Quote(fixture.Report([64]byte{7})), pki.Collateral())
	if err != nil {
		t.Fatal(err)
	}
	if verified.Report.ReportData[0] != 7 || verified.PCK.PPID != fixture.PPID || verified.Status != dcap.UpToDate {
		t.Errorf("%+v", verified)
	}
	if !slices.Equal(verified.Advisories, []string{"INTEL-SA-1", "INTEL-SA-2"}) {
		t.Error(verified.Advisories)
	}
}

func TestCollateralSurvivesARoundTrip(t *testing.T) {
	pki := fixture.NewPKI(t, "Test Root")
	text, err := json.Marshal(pki.Collateral())
	if err != nil {
		t.Fatal(err)
	}
	again, err := dcap.ParseCollateral(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, pki.Quote(fixture.Report([64]byte{})), again); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{
		strings.Replace(string(text), `"pck_crl"`, `"PCK_CRL"`, 1),
		strings.Replace(string(text), `{`, `{"more":"",`, 1),
		strings.Replace(string(text), `{`, `{"pck_crl":"00",`, 1),
		string(text) + "x",
	} {
		if _, err := dcap.ParseCollateral([]byte(bad)); err == nil {
			t.Errorf("taken: %.60s", bad)
		}
	}
}

// Each knob makes one thing wrong, and the error must name it.
func TestWhatIsRefused(t *testing.T) {
	cases := map[string]struct {
		turn func(*fixture.PKI)
		says string
	}{
		"revoked PCK":              {func(p *fixture.PKI) { p.RevokePCK = true }, "was revoked"},
		"revoked PCK authority":    {func(p *fixture.PKI) { p.RevokeCA = true }, "was revoked"},
		"revoked signer":           {func(p *fixture.PKI) { p.RevokeSigner = true }, "was revoked"},
		"expired":                  {func(p *fixture.PKI) { p.NextUpdate = fixture.Now.AddDate(0, 0, -1) }, "and it is"},
		"revoked level":            {func(p *fixture.PKI) { p.TCBStatus = "Revoked" }, "revoked"},
		"revoked quoting enclave":  {func(p *fixture.PKI) { p.QEStatus = "Revoked" }, "revoked"},
		"unknown status":           {func(p *fixture.PKI) { p.TCBStatus = "Fine" }, "unknown status"},
		"status not of a QE":       {func(p *fixture.PKI) { p.QEStatus = "SWHardeningNeeded" }, "unknown status"},
		"below every level":        {func(p *fixture.PKI) { p.LevelSVN = 6 }, "no level"},
		"PCE below every level":    {func(p *fixture.PKI) { p.LevelPCESVN = 12 }, "no level"},
		"another FMSPC":            {func(p *fixture.PKI) { p.FMSPC = "00906ED50001" }, "FMSPC"},
		"another PCE":              {func(p *fixture.PKI) { p.PCEID = "0001" }, "PCE"},
		"debug quoting enclave":    {func(p *fixture.PKI) { p.QEDebug = true }, "debug"},
		"another QE product":       {func(p *fixture.PKI) { p.QEProduct = 2 }, "product 2"},
		"QE below every level":     {func(p *fixture.PKI) { p.QEVersion = 7 }, "no level for version 7"},
		"identity of another kind": {func(p *fixture.PKI) { p.QEIdentityID = "QVE" }, `"QVE"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pki := fixture.NewPKI(t, "Test Root")
			c.turn(pki)
			_, err := verify(t, pki.Quote(fixture.Report([64]byte{})), pki.Collateral())
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("wanted %q, got %v", c.says, err)
			}
		})
	}
}

func TestStatusesConverge(t *testing.T) {
	for _, c := range [][3]string{
		{"UpToDate", "OutOfDate", "OutOfDate"},
		{"SWHardeningNeeded", "OutOfDate", "OutOfDate"},
		{"ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"},
		{"ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"},
		{"OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"},
		{"UpToDate", "ConfigurationNeeded", "UpToDate"},
		{"SWHardeningNeeded", "UpToDate", "SWHardeningNeeded"},
	} {
		pki := fixture.NewPKI(t, "Test Root")
		pki.TCBStatus, pki.QEStatus = c[0], c[1]
		verified, err := verify(t, pki.Quote(fixture.Report([64]byte{})), pki.Collateral())
		if err != nil || string(verified.Status) != c[2] {
			t.Errorf("%v: %v, %v", c, verified, err)
		}
	}
}

func TestCollateralOfAnotherAuthority(t *testing.T) {
	pki, other := fixture.NewPKI(t, "Test Root"), fixture.NewPKI(t, "Test Root")
	quote := pki.Quote(fixture.Report([64]byte{}))
	swaps := map[string]func(mine, theirs *dcap.Collateral){
		"root CRL":    func(m, o *dcap.Collateral) { m.RootCACRL = o.RootCACRL },
		"PCK CRL":     func(m, o *dcap.Collateral) { m.PCKCRL = o.PCKCRL },
		"CRL issuer":  func(m, o *dcap.Collateral) { m.PCKCRLIssuerChain = o.PCKCRLIssuerChain },
		"TCB signer":  func(m, o *dcap.Collateral) { m.TCBInfoIssuerChain = o.TCBInfoIssuerChain },
		"TCB info":    func(m, o *dcap.Collateral) { m.TCBInfoSignature = o.TCBInfoSignature },
		"QE signer":   func(m, o *dcap.Collateral) { m.QEIdentityIssuerChain = o.QEIdentityIssuerChain },
		"QE identity": func(m, o *dcap.Collateral) { m.QEIdentitySignature = o.QEIdentitySignature },
		"everything":  func(m, o *dcap.Collateral) { *m = *o },
	}
	for name, swap := range swaps {
		c := pki.Collateral()
		swap(c, other.Collateral())
		if _, err := verify(t, quote, c); err == nil {
			t.Errorf("%s of another authority is taken", name)
		}
	}
}

// No signature covers a quote's lengths, so every byte counts: one flipped bit anywhere is refused, by
// the parser, the fingerprint of the root or a signature.
func TestAnyFlippedBitOfAQuoteIsRefused(t *testing.T) {
	pki := fixture.NewPKI(t, "Test Root")
	quote, c := pki.Quote(fixture.Report([64]byte{})), pki.Collateral()
	original, err := dcap.Parse(quote)
	if err != nil {
		t.Fatal(err)
	}
	root := original.Root()
	for at := range quote {
		bad := slices.Clone(quote)
		bad[at] ^= 1 << (at % 8)
		parsed, err := dcap.Parse(bad)
		if err != nil {
			continue
		}
		if !slices.Equal(parsed.Root(), root) {
			continue
		}
		if _, err := parsed.Verify(c, fixture.Now); err == nil {
			t.Errorf("a flipped bit in byte %d is not noticed", at)
		}
	}
}

func TestAnyFlippedBitOfCollateralIsRefused(t *testing.T) {
	pki := fixture.NewPKI(t, "Test Root")
	quote := pki.Quote(fixture.Report([64]byte{}))
	flip := func(name string, length int, change func(*dcap.Collateral, int)) {
		for at := 0; at < length; at += 3 {
			c := pki.Collateral()
			change(c, at)
			if _, err := verify(t, quote, c); err == nil {
				t.Errorf("a flipped bit in byte %d of the %s is not noticed", at, name)
			}
		}
	}
	c := pki.Collateral()
	text := func(s *string, at int) {
		b := []byte(*s)
		b[at] ^= 1 << (at % 7)
		*s = string(b)
	}
	flip("root CRL", len(c.RootCACRL)-2, func(c *dcap.Collateral, at int) { c.RootCACRL[at] ^= 1 << (at % 8) })
	flip("PCK CRL", len(c.PCKCRL)-2, func(c *dcap.Collateral, at int) { c.PCKCRL[at] ^= 1 << (at % 8) })
	flip("TCB info", len(c.TCBInfo), func(c *dcap.Collateral, at int) { text(&c.TCBInfo, at) })
	flip("QE identity", len(c.QEIdentity), func(c *dcap.Collateral, at int) { text(&c.QEIdentity, at) })
	flip("TCB info signature", 64, func(c *dcap.Collateral, at int) { c.TCBInfoSignature[at] ^= 1 })
	flip("QE identity signature", 64, func(c *dcap.Collateral, at int) { c.QEIdentitySignature[at] ^= 1 })
}

func FuzzParse(f *testing.F) {
	f.Add(make([]byte, 436))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if quote, err := dcap.Parse(raw); err == nil {
			quote.Root()
		}
	})
}
