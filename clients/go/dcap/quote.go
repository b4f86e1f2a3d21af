// Package dcap verifies SGX quotes of version 3: the signatures of Intel's Data Center Attestation
// Primitives (or of a development authority of the same shape) from one root certificate down to
// the report of an enclave, at a given time, without a network.
//
// It decides what is genuine, not what is acceptable: measurements, TCB statuses and advisories come
// back as facts for a policy.
package dcap

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	headerSize = 48
	reportSize = 384
	// SignedSize is the length of what the attestation key signs: header and report.
	SignedSize = headerSize + reportSize

	quoteVersion = 3
	ecdsaP256    = 2
	teeSGX       = 0
	pckChain     = 5

	// maxQuote bounds what is read; a quote with its chain is about 4.6 kB.
	maxQuote = 16 << 10
)

// intelQE is the identifier of Intel's quoting enclaves in the quote's header.
var intelQE = [16]byte{
	0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07,
}

// Report is the body of an SGX REPORT (Intel SDM vol. 3D, table "REPORT").
type Report struct {
	CPUSVN     [16]byte
	MiscSelect uint32
	Attributes [16]byte
	MRENCLAVE  [32]byte
	MRSIGNER   [32]byte
	ISVProdID  uint16
	ISVSVN     uint16
	ReportData [64]byte
}

// Debug says whether the enclave can be read and changed by a debugger (ATTRIBUTES.DEBUG).
func (r *Report) Debug() bool { return r.Attributes[0]&0x02 != 0 }

// Quote is a parsed quote. Parsing is not verifying.
type Quote struct {
	// Report is what the quote is about.
	Report Report

	signed         []byte
	signature      []byte
	attestationKey []byte
	qeReport       []byte
	qeSignature    []byte
	authData       []byte
	// Chain is the PCK certificate chain, DER: PCK, PCK authority, root.
	Chain [][]byte
}

// Parse reads a quote of version 3 for SGX with an ECDSA-P256 key and its PCK certificate chain
// (certification data type 5). Every length must fit exactly.
func Parse(raw []byte) (*Quote, error) {
	if len(raw) > maxQuote {
		return nil, fmt.Errorf("longer than %d bytes", maxQuote)
	}
	r := reader{rest: raw}
	header := r.take(headerSize, "header")
	report := r.take(reportSize, "report")
	signatureData := reader{rest: r.sized(4, "signature data")}
	if err := errors.Join(r.err, r.end()); err != nil {
		return nil, err
	}
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	s := &signatureData
	quote := &Quote{
		Report:         parseReport(report),
		signed:         raw[:SignedSize],
		signature:      s.take(64, "signature"),
		attestationKey: s.take(64, "attestation key"),
		qeReport:       s.take(reportSize, "report of the quoting enclave"),
		qeSignature:    s.take(64, "signature of the quoting enclave's report"),
		authData:       s.sized(2, "authentication data"),
	}
	kind := s.take(2, "certification data type")
	certification := s.sized(4, "certification data")
	if err := errors.Join(s.err, s.end()); err != nil {
		return nil, err
	}
	if t := binary.LittleEndian.Uint16(kind); t != pckChain {
		return nil, fmt.Errorf("certification data type is %d; only %d, the PCK certificate chain, is read", t, pckChain)
	}
	var err error
	if quote.Chain, err = certificatesOf(certification, 3); err != nil {
		return nil, fmt.Errorf("the PCK certificate chain %w", err)
	}
	return quote, nil
}

// Root is the certificate that the quote's chain ends in. It is a claim until it is compared with
// one that is trusted.
func (q *Quote) Root() []byte { return q.Chain[len(q.Chain)-1] }

func checkHeader(header []byte) error {
	le := binary.LittleEndian
	if v := le.Uint16(header); v != quoteVersion {
		return fmt.Errorf("version is %d; only %d is read", v, quoteVersion)
	}
	if k := le.Uint16(header[2:]); k != ecdsaP256 {
		return fmt.Errorf("attestation key type is %d; only %d, ECDSA with P-256, is read", k, ecdsaP256)
	}
	if tee := le.Uint32(header[4:]); tee != teeSGX {
		return fmt.Errorf("TEE type is %#x; only SGX (0) is read", tee)
	}
	return nil
}

func parseReport(b []byte) (r Report) {
	le := binary.LittleEndian
	copy(r.CPUSVN[:], b)
	r.MiscSelect = le.Uint32(b[16:])
	copy(r.Attributes[:], b[48:])
	copy(r.MRENCLAVE[:], b[64:])
	copy(r.MRSIGNER[:], b[128:])
	r.ISVProdID = le.Uint16(b[256:])
	r.ISVSVN = le.Uint16(b[258:])
	copy(r.ReportData[:], b[320:])
	return r
}

// reader takes pieces off a byte string; the first shortage is kept and everything after it is zero.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n int, what string) []byte {
	if r.err != nil || len(r.rest) < n {
		if r.err == nil {
			r.err = fmt.Errorf("ends inside the %s", what)
		}
		return make([]byte, min(n, reportSize))
	}
	piece := r.rest[:n]
	r.rest = r.rest[n:]
	return piece
}

// sized takes a piece that stands behind its own little-endian length of two or four bytes.
func (r *reader) sized(width int, what string) []byte {
	prefix := r.take(width, "length of the "+what)
	if r.err != nil {
		return nil
	}
	length := int(binary.LittleEndian.Uint16(prefix))
	if width == 4 {
		length = int(min(binary.LittleEndian.Uint32(prefix), maxQuote+1))
	}
	return r.take(length, what)
}

func (r *reader) end() error {
	if len(r.rest) > 0 {
		return fmt.Errorf("%d bytes follow its end", len(r.rest))
	}
	return nil
}
