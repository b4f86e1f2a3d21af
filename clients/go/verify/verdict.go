// Package verify judges what an enclave shows against a policy, at a given time, without a network.
//
// The checks, their names and their order are the same in every client of this system; the shared
// vectors hold them to it.
package verify

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"enclaveos/client-go/policy"
)

// CheckID names a check.
type CheckID string

// The checks, in the order in which they are judged. The ones marked S are structural: if one fails,
// nothing after it can be judged.
const (
	CheckPolicy            CheckID = "policy"             // S
	CheckEvidenceFormat    CheckID = "evidence-format"    // S, evidence documents only
	CheckCertificateFormat CheckID = "certificate-format" // S
	CheckCertificateChain  CheckID = "certificate-chain"  // S
	CheckCertificateTime   CheckID = "certificate-time"
	CheckServerName        CheckID = "server-name"
	CheckQuoteFormat       CheckID = "quote-format" // S
	CheckRoot              CheckID = "root"         // S
	CheckQuote             CheckID = "quote"        // S
	CheckReportData        CheckID = "report-data"
	CheckDebug             CheckID = "debug"
	CheckMeasurement       CheckID = "measurement"
	CheckTCBStatus         CheckID = "tcb-status"
	CheckAdvisories        CheckID = "advisories"
	CheckTier              CheckID = "tier"
	CheckAge               CheckID = "age"
	CheckApp               CheckID = "app"
	CheckCodeHash          CheckID = "code-hash"
	CheckKeySource         CheckID = "key-source"
	CheckConfiguration     CheckID = "configuration"
	CheckPlatform          CheckID = "platform"
	CheckOperatorCA        CheckID = "operator-ca"
)

// Check is one thing that was looked at.
type Check struct {
	ID     CheckID `json:"check"`
	Passed bool    `json:"passed"`
	// Found is the value seen, Wanted what the policy asks for.
	Found  string `json:"found"`
	Wanted string `json:"wanted,omitempty"`
	// Message is the sentence a person needs; failures only.
	Message string `json:"message,omitempty"`
}

// Verdict is the answer: every check that could be judged, and what is known of the enclave.
type Verdict struct {
	Accepted bool `json:"accepted"`
	// Tier of what was presented; nil for a quote alone and for what could not be read.
	Tier   *policy.Tier `json:"tier"`
	Checks []Check      `json:"checks"`
	// Enclave and TCB are nil unless the quote is genuine.
	Enclave *Enclave `json:"enclave"`
	TCB     *TCB     `json:"tcb"`
	Apps    []App    `json:"apps"`
	// ConfigurationRoot and the two times are nil unless the certificate could be read.
	ConfigurationRoot Hex        `json:"configuration_root"`
	NotBefore         *time.Time `json:"not_before"`
	NotAfter          *time.Time `json:"not_after"`
}

// Hex is a byte string that JSON writes in lower-case hexadecimal.
type Hex []byte

// String is the hexadecimal.
func (h Hex) String() string { return hex.EncodeToString(h) }

// MarshalJSON writes the hexadecimal, or null where nothing is known.
func (h Hex) MarshalJSON() ([]byte, error) {
	if h == nil {
		return []byte("null"), nil
	}
	return []byte(`"` + h.String() + `"`), nil
}

// Enclave is what a genuine quote says of the enclave.
type Enclave struct {
	MRENCLAVE Hex    `json:"mrenclave"`
	MRSIGNER  Hex    `json:"mrsigner"`
	ISVProdID uint16 `json:"isv_prod_id"`
	ISVSVN    uint16 `json:"isv_svn"`
	Debug     bool   `json:"debug"`
	CPUSVN    Hex    `json:"cpu_svn"`
}

// TCB is what a genuine quote says of the platform.
type TCB struct {
	Status     string   `json:"status"`
	Advisories []string `json:"advisories"`
	FMSPC      Hex      `json:"fmspc"`
	PPID       Hex      `json:"ppid"`
	// Root is the fingerprint of the root that vouches for the platform.
	Root Hex `json:"root"`
}

// App is one app that the certificate names.
type App struct {
	Name        string `json:"name"`
	RoutePrefix string `json:"route_prefix"`
	CodeHash    Hex    `json:"code_hash"`
	// ConfigurationRoot and KeySource stand in the app's own certificate only.
	ConfigurationRoot *Hex   `json:"configuration_root,omitempty"`
	KeySource         string `json:"key_source,omitempty"`
}

// Failed lists the checks that did not pass, in their order.
func (v *Verdict) Failed() []CheckID {
	failed := []CheckID{}
	for _, check := range v.Checks {
		if !check.Passed {
			failed = append(failed, check.ID)
		}
	}
	return failed
}

// Explain says why it was not accepted, a line for each failed check.
func (v *Verdict) Explain() string {
	var lines []string
	for _, check := range v.Checks {
		if !check.Passed {
			lines = append(lines, fmt.Sprintf("%s: %s", check.ID, check.Message))
		}
	}
	return strings.Join(lines, "\n")
}

func (v *Verdict) pass(id CheckID, found, wanted string) bool {
	v.Checks = append(v.Checks, Check{ID: id, Passed: true, Found: found, Wanted: wanted})
	return true
}

func (v *Verdict) fail(id CheckID, found, wanted, message string) bool {
	v.Checks = append(v.Checks, Check{ID: id, Found: found, Wanted: wanted, Message: message})
	return false
}

// note records a check either way.
func (v *Verdict) note(id CheckID, passed bool, found, wanted, message string) bool {
	if passed {
		return v.pass(id, found, wanted)
	}
	return v.fail(id, found, wanted, message)
}

// conclude ends a judgement: accepted only if something was judged, to the end, and all of it passed.
func (v *Verdict) conclude(complete bool) *Verdict {
	v.Accepted = complete && len(v.Failed()) == 0
	return v
}

// Unreadable is the verdict under a policy that could not be read.
func Unreadable(reason error) *Verdict {
	v := &Verdict{Apps: []App{}}
	v.fail(CheckPolicy, "not readable", "", reason.Error())
	return v.conclude(false)
}
