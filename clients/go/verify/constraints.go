package verify

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// maxComparisons bounds the work that the name constraints of one chain may ask for.
const maxComparisons = 250_000

var (
	oidAlternativeNames = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidNameConstraints  = asn1.ObjectIdentifier{2, 5, 29, 30}
	oidPurposes         = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// The kinds of GeneralName (RFC 5280 §4.2.1.6) that a certificate here may be for.
const (
	kindDNS     = 2
	kindAddress = 7
)

// nameConstraints are what the certificates below an authority may be for (RFC 5280 §4.2.1.10). A
// subtree with anything beside its base is refused: the profile has no minimum and no maximum.
type nameConstraints struct {
	Permitted [][]asn1.RawValue `asn1:"optional,tag:0"`
	Excluded  [][]asn1.RawValue `asn1:"optional,tag:1"`
}

// constrained holds every name of a chain, leaf first, against the constraints of all that stands above
// it. A leaf has none: only an authority may (RFC 5280 §4.2.1.10).
func constrained(chain []*x509.Certificate) error {
	if extension(chain[0], oidNameConstraints) != nil {
		return fmt.Errorf("%s: it has name constraints, which only an authority may have", chain[0].Subject)
	}
	left := maxComparisons
	for at, authority := range chain[1:] {
		constraints, err := constraintsOf(authority)
		if err != nil {
			return fmt.Errorf("%s: %w", authority.Subject, err)
		}
		if constraints == nil {
			continue
		}
		for _, below := range chain[:at+1] {
			names, err := alternativeNames(below)
			if err != nil {
				return fmt.Errorf("%s: %w", below.Subject, err)
			}
			if left -= len(names) * (len(constraints.Permitted) + len(constraints.Excluded)); left < 0 {
				return errors.New("it has more names and name constraints than anybody needs")
			}
			for _, name := range names {
				if err := constraints.allow(name); err != nil {
					return fmt.Errorf("%s: %w of %s", below.Subject, err, authority.Subject)
				}
			}
		}
	}
	return nil
}

// constraintsOf are those of a certificate; nil if it has none. Only DNS names and addresses can be
// judged, so constraints on anything else are refused, critical or not.
func constraintsOf(c *x509.Certificate) (*nameConstraints, error) {
	value := extension(c, oidNameConstraints)
	if value == nil {
		return nil, nil
	}
	constraints := &nameConstraints{}
	if rest, err := asn1.Unmarshal(value, constraints); err != nil || len(rest) > 0 {
		return nil, errors.New("its name constraints are malformed")
	}
	for _, subtree := range slices.Concat(constraints.Permitted, constraints.Excluded) {
		if len(subtree) != 1 || subtree[0].Class != asn1.ClassContextSpecific {
			return nil, errors.New("its name constraints are malformed")
		}
		if kind := subtree[0].Tag; kind != kindDNS && kind != kindAddress {
			return nil, errors.New("it has name constraints on other names than DNS names and addresses, which are not judged here")
		}
		if subtree[0].Tag == kindAddress && !isRange(subtree[0].Bytes) {
			return nil, errors.New("its name constraints have a malformed range of addresses")
		}
	}
	return constraints, nil
}

// allow refuses a name in an excluded subtree and, if any permitted one is of its kind, a name in none of
// those.
func (n *nameConstraints) allow(name asn1.RawValue) error {
	violated := fmt.Errorf("the name %s is not one that the name constraints allow (leave it out of the image's served_names, or have the operator allow it)", shown(name))
	ofKind := func(subtree []asn1.RawValue) bool { return subtree[0].Tag == name.Tag }
	holds := func(subtree []asn1.RawValue) bool { return ofKind(subtree) && within(name, subtree[0]) }
	if slices.ContainsFunc(n.Permitted, ofKind) && !slices.ContainsFunc(n.Permitted, holds) {
		return violated
	}
	covers := func(subtree []asn1.RawValue) bool { return ofKind(subtree) && reaches(name, subtree[0]) }
	if slices.ContainsFunc(n.Excluded, holds) || slices.ContainsFunc(n.Excluded, covers) {
		return violated
	}
	// Nothing spelled so that it stands outside every subtree and may still be taken for a name inside.
	if slices.ContainsFunc(n.Excluded, ofKind) && name.Tag == kindDNS && !plain(string(name.Bytes)) {
		return violated
	}
	return nil
}

// within says whether a name lies in a subtree of its kind. An empty DNS base holds every name; one that
// starts with a dot holds what is below it only.
func within(name, base asn1.RawValue) bool {
	if name.Tag == kindAddress {
		return inRange(name.Bytes, base.Bytes)
	}
	text, suffix := strings.ToLower(string(name.Bytes)), strings.ToLower(string(base.Bytes))
	if suffix == "" || text == suffix {
		return true
	}
	if !strings.HasPrefix(suffix, ".") {
		suffix = "." + suffix
	}
	return len(text) > len(suffix) && strings.HasSuffix(text, suffix)
}

// reaches says whether a wildcard covers the base of an excluded subtree.
func reaches(name, base asn1.RawValue) bool {
	parent, wildcard := strings.CutPrefix(string(name.Bytes), "*.")
	if name.Tag != kindDNS || !wildcard {
		return false
	}
	return within(base, asn1.RawValue{Tag: kindDNS, Bytes: []byte(parent)})
}

// inRange compares an address of 4 or 16 bytes with a range of as many and a mask.
func inRange(address, base []byte) bool {
	if len(base) != 2*len(address) {
		return false
	}
	network, mask := base[:len(address)], base[len(address):]
	for i := range address {
		if (address[i]^network[i])&mask[i] != 0 {
			return false
		}
	}
	return true
}

// isRange says whether these are an address and a mask without a bit behind one that is missing.
func isRange(content []byte) bool {
	half := len(content) / 2
	ones, bits := net.IPMask(content[half:]).Size()
	return (half == net.IPv4len || half == net.IPv6len) && len(content) == 2*half && ones+bits > 0
}

// plain says whether a DNS name is written the usual way, a wildcard label at its start at most.
func plain(name string) bool {
	for _, label := range strings.Split(strings.TrimPrefix(name, "*."), ".") {
		if label == "" || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// alternativeNames are all names of a certificate as they stand in it.
func alternativeNames(c *x509.Certificate) (names []asn1.RawValue, err error) {
	value := extension(c, oidAlternativeNames)
	if value == nil {
		return nil, nil
	}
	if rest, err := asn1.Unmarshal(value, &names); err != nil || len(rest) > 0 {
		return nil, errors.New("its alternative names are malformed")
	}
	return names, nil
}

func extension(c *x509.Certificate, id asn1.ObjectIdentifier) []byte {
	for _, one := range c.Extensions {
		if one.Id.Equal(id) {
			return one.Value
		}
	}
	return nil
}

func shown(name asn1.RawValue) string {
	if address, ok := netip.AddrFromSlice(name.Bytes); ok && name.Tag == kindAddress {
		return address.String()
	}
	return fmt.Sprintf("%.100q", name.Bytes)
}
