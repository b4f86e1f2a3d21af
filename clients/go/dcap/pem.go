package dcap

import (
	"bytes"
	"encoding/pem"
	"fmt"
)

// certificatesOf reads a chain of exactly so many certificates in PEM (RFC 7468), in its one spelling:
// lines of 64 characters that end in a line feed, and nothing around them but the one zero byte with
// which quoting libraries end it. So no byte of it can change without being noticed.
func certificatesOf(text []byte, count int) ([][]byte, error) {
	wrong := fmt.Errorf("is not %d certificates in PEM", count)
	rest := bytes.TrimSuffix(text, []byte{0})
	var chain [][]byte
	for range count {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, wrong
		}
		if !bytes.Equal(pem.EncodeToMemory(block), rest[:len(rest)-len(after)]) {
			return nil, wrong
		}
		chain, rest = append(chain, block.Bytes), after
	}
	if len(rest) > 0 {
		return nil, wrong
	}
	return chain, nil
}
