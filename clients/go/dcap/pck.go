package dcap

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

// PCK is what a PCK certificate says of its platform (Intel SGX PCK Certificate and CRL
// Specification, extension 1.2.840.113741.1.13.1).
type PCK struct {
	PPID   [16]byte
	CPUSVN [16]byte
	PCESVN uint16
	PCEID  [2]byte
	FMSPC  [6]byte
}

var (
	oidSGX    = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}
	oidPPID   = sgx(1)
	oidTCB    = sgx(2)
	oidPCEID  = sgx(3)
	oidFMSPC  = sgx(4)
	oidPCESVN = sgx(2, 17)
	oidCPUSVN = sgx(2, 18)
)

func sgx(arcs ...int) asn1.ObjectIdentifier {
	return append(append(asn1.ObjectIdentifier{}, oidSGX...), arcs...)
}

// attribute is SEQUENCE { OBJECT IDENTIFIER, ANY }, of which the extension is a sequence.
type attribute struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

func platformOf(c *x509.Certificate) (*PCK, error) {
	var extension []byte
	for _, e := range c.Extensions {
		if e.Id.Equal(oidSGX) {
			extension = e.Value
		}
	}
	if extension == nil {
		return nil, errors.New("the PCK certificate has no SGX extension")
	}
	values, err := attributes(extension)
	if err != nil {
		return nil, err
	}
	tcb, err := attributes(values[oidTCB.String()].FullBytes)
	if err != nil {
		return nil, err
	}
	pck := &PCK{}
	err = errors.Join(
		octets(values, oidPPID, pck.PPID[:]),
		octets(values, oidPCEID, pck.PCEID[:]),
		octets(values, oidFMSPC, pck.FMSPC[:]),
		octets(tcb, oidCPUSVN, pck.CPUSVN[:]),
	)
	if err != nil {
		return nil, err
	}
	var pcesvn int
	if rest, err := asn1.Unmarshal(tcb[oidPCESVN.String()].FullBytes, &pcesvn); err != nil || len(rest) > 0 || pcesvn < 0 || pcesvn > 0xffff {
		return nil, errors.New("the PCK certificate's PCESVN is not a number of 16 bits")
	}
	pck.PCESVN = uint16(pcesvn)
	return pck, nil
}

func attributes(der []byte) (map[string]asn1.RawValue, error) {
	var list []attribute
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return nil, errors.New("the PCK certificate's SGX extension is malformed")
	}
	values := make(map[string]asn1.RawValue, len(list))
	for _, entry := range list {
		id := entry.ID.String()
		if _, twice := values[id]; twice {
			return nil, fmt.Errorf("the PCK certificate's SGX extension has %s twice", id)
		}
		values[id] = entry.Value
	}
	return values, nil
}

func octets(values map[string]asn1.RawValue, id asn1.ObjectIdentifier, into []byte) error {
	value, ok := values[id.String()]
	if !ok || value.Class != asn1.ClassUniversal || value.Tag != asn1.TagOctetString || len(value.Bytes) != len(into) {
		return fmt.Errorf("the PCK certificate's %s is not %d octets", id, len(into))
	}
	copy(into, value.Bytes)
	return nil
}
