package verify_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"slices"
	"strings"
	"testing"

	"enclaveos/client-go/internal/fixture"
	"enclaveos/client-go/verify"
)

// subnet is an address range as a certificate has it: IPv4 ranges of 4 bytes.
func subnet(t *testing.T, text string) []*net.IPNet {
	_, network, err := net.ParseCIDR(text)
	if err != nil {
		t.Fatal(err)
	}
	return []*net.IPNet{network}
}

// The leaf is for localhost and 127.0.0.1.
func TestNameConstraints(t *testing.T) {
	cases := map[string]struct {
		change func(operator, ca *x509.Certificate)
		says   string
	}{
		"permitted":             {func(o, _ *x509.Certificate) { o.PermittedDNSDomains = []string{"example", "LOCALHOST"} }, ""},
		"permitted addresses":   {func(o, _ *x509.Certificate) { o.PermittedIPRanges = subnet(t, "127.0.0.0/8") }, ""},
		"excluded others":       {func(o, _ *x509.Certificate) { o.ExcludedDNSDomains = []string{"example", "host", ".localhost"} }, ""},
		"another domain":        {func(o, _ *x509.Certificate) { o.PermittedDNSDomains = []string{"example"} }, `"localhost"`},
		"another domain, by CA": {func(_, c *x509.Certificate) { c.PermittedDNSDomains = []string{"example"} }, `"localhost"`},
		"a part of a label":     {func(o, _ *x509.Certificate) { o.PermittedDNSDomains = []string{"host"} }, `"localhost"`},
		"below only":            {func(o, _ *x509.Certificate) { o.PermittedDNSDomains = []string{".localhost"} }, `"localhost"`},
		"excluded":              {func(o, _ *x509.Certificate) { o.ExcludedDNSDomains = []string{"Localhost"} }, `"localhost"`},
		"another range":         {func(o, _ *x509.Certificate) { o.PermittedIPRanges = subnet(t, "10.0.0.0/8") }, "127.0.0.1"},
		"a range of IPv6":       {func(o, _ *x509.Certificate) { o.PermittedIPRanges = subnet(t, "fd00::/8") }, "127.0.0.1"},
		"excluded range":        {func(_, c *x509.Certificate) { c.ExcludedIPRanges = subnet(t, "127.0.0.0/30") }, "127.0.0.1"},
		"other kinds, critical": {func(o, _ *x509.Certificate) {
			o.PermittedDNSDomainsCritical, o.PermittedEmailAddresses = true, []string{"example"}
		}, "other names"},
		"other kinds": {func(o, _ *x509.Certificate) { o.ExcludedURIDomains = []string{"example"} }, "other names"},
		"directory names": {func(o, _ *x509.Certificate) {
			// SEQUENCE { [0] { SEQUENCE { [4] { SEQUENCE {} } } } }
			value := []byte{0x30, 0x08, 0xa0, 0x06, 0x30, 0x04, 0xa4, 0x02, 0x30, 0x00}
			o.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Value: value}}
		}, "other names"},
		"a name of the authority": {func(o, c *x509.Certificate) {
			o.PermittedDNSDomains, c.DNSNames = []string{"localhost"}, []string{"ca.example"}
		}, `"ca.example"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { held(t, func(s *stage) { s.enclave.Authorities(c.change) }, c.says) })
	}
}

// What a leaf is for may be spelled in many ways, and may be much.
func TestNamesUnderConstraints(t *testing.T) {
	many := make([]string, 501)
	for i := range many {
		many[i] = "example"
	}
	cases := map[string]struct {
		excluded []string
		change   func(*x509.Certificate)
		says     string
	}{
		"below":             {[]string{"example"}, func(c *x509.Certificate) { c.DNSNames = []string{"a.EXAMPLE"} }, `"a.EXAMPLE"`},
		"wildcard":          {[]string{"a.example"}, func(c *x509.Certificate) { c.DNSNames = []string{"*.example"} }, `"*.example"`},
		"wildcard beside":   {[]string{"a.example"}, func(c *x509.Certificate) { c.DNSNames = []string{"*.b.example"} }, ""},
		"space":             {[]string{"example"}, func(c *x509.Certificate) { c.DNSNames = []string{"a.example "} }, `"a.example "`},
		"the leaf's own":    {nil, func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"localhost"} }, "only an authority"},
		"too many":          {many, func(c *x509.Certificate) { c.DNSNames = slices.Repeat([]string{"localhost"}, 500) }, "than anybody needs"},
		"as many as can be": {many[:500], func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = slices.Repeat([]string{"localhost"}, 500), nil }, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			held(t, func(s *stage) {
				s.enclave.Authorities(func(operator, _ *x509.Certificate) { operator.ExcludedDNSDomains = c.excluded })
				s.change = func(l *fixture.Leaf) *fixture.Leaf { return s.enclave.Reissue(l, c.change) }
			}, c.says)
		})
	}
}

func TestPurposesOfAuthorities(t *testing.T) {
	server, anything, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageAny, x509.ExtKeyUsageClientAuth
	cases := map[string]struct {
		change func(operator, ca *x509.Certificate)
		says   string
	}{
		"servers": {func(o, c *x509.Certificate) {
			o.ExtKeyUsage, c.ExtKeyUsage = []x509.ExtKeyUsage{client, server}, []x509.ExtKeyUsage{server}
		}, ""},
		"anything":             {func(_, c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{anything} }, ""},
		"clients, by CA":       {func(_, c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{client} }, "vouch for servers"},
		"clients":              {func(o, _ *x509.Certificate) { o.ExtKeyUsage = []x509.ExtKeyUsage{client} }, "vouch for servers"},
		"something unheard of": {func(o, _ *x509.Certificate) { o.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, "vouch for servers"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { held(t, func(s *stage) { s.enclave.Authorities(c.change) }, c.says) })
	}
}

// held expects a chain to be accepted, or to be refused for a reason.
func held(t *testing.T, turn func(*stage), says string) {
	t.Helper()
	s := newStage(t)
	turn(s)
	verdict := s.judge()
	wanted := []verify.CheckID{}
	if says != "" {
		wanted = append(wanted, verify.CheckCertificateChain)
	}
	if !slices.Equal(verdict.Failed(), wanted) || !strings.Contains(verdict.Explain(), says) {
		t.Errorf("failed %v\n%s", verdict.Failed(), verdict.Explain())
	}
}
