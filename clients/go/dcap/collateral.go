package dcap

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"enclaveos/client-go/internal/strict"
)

// MaxCollateral bounds a collateral document.
const MaxCollateral = 64 << 10

// Collateral is what Intel (or a development authority) says about platforms: revocations, TCB
// levels, quoting enclaves. All of it is signed; where it came from does not matter.
type Collateral struct {
	// Issuer chains, PEM, leaf first and root last.
	PCKCRLIssuerChain, TCBInfoIssuerChain, QEIdentityIssuerChain string
	// Revocation lists, DER.
	RootCACRL, PCKCRL []byte
	// The exact signed texts.
	TCBInfo, QEIdentity string
	// Raw r‖s, 64 bytes.
	TCBInfoSignature, QEIdentitySignature []byte
}

// ParseCollateral reads the JSON document.
func ParseCollateral(text []byte) (*Collateral, error) {
	if len(text) > MaxCollateral {
		return nil, fmt.Errorf("collateral: longer than %d bytes", MaxCollateral)
	}
	value, err := strict.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("collateral: %w", err)
	}
	return CollateralOf(value)
}

// CollateralOf reads the document from a value of the strict JSON reader.
func CollateralOf(value any) (*Collateral, error) {
	t := strict.NewTable(value, "collateral")
	c := &Collateral{
		PCKCRLIssuerChain:     t.Text("pck_crl_issuer_chain"),
		TCBInfoIssuerChain:    t.Text("tcb_info_issuer_chain"),
		QEIdentityIssuerChain: t.Text("qe_identity_issuer_chain"),
		RootCACRL:             t.Hex("root_ca_crl", -1),
		PCKCRL:                t.Hex("pck_crl", -1),
		TCBInfo:               t.Text("tcb_info"),
		QEIdentity:            t.Text("qe_identity"),
		TCBInfoSignature:      t.Hex("tcb_info_signature", -1),
		QEIdentitySignature:   t.Hex("qe_identity_signature", -1),
	}
	if err := t.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// Issued is when the TCB info says it was issued; the zero time if it does not say. It is as good as the
// collateral: nothing is verified here.
func (c *Collateral) Issued() time.Time {
	var info struct {
		IssueDate time.Time `json:"issueDate"`
	}
	if json.Unmarshal([]byte(c.TCBInfo), &info) != nil {
		return time.Time{}
	}
	return info.IssueDate
}

// MarshalJSON writes the document.
func (c *Collateral) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{
		"pck_crl_issuer_chain":     c.PCKCRLIssuerChain,
		"tcb_info_issuer_chain":    c.TCBInfoIssuerChain,
		"qe_identity_issuer_chain": c.QEIdentityIssuerChain,
		"root_ca_crl":              hex.EncodeToString(c.RootCACRL),
		"pck_crl":                  hex.EncodeToString(c.PCKCRL),
		"tcb_info":                 c.TCBInfo,
		"qe_identity":              c.QEIdentity,
		"tcb_info_signature":       hex.EncodeToString(c.TCBInfoSignature),
		"qe_identity_signature":    hex.EncodeToString(c.QEIdentitySignature),
	})
}
