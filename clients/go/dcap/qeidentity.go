package dcap

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// qeIdentity is Intel's statement on what a genuine quoting enclave looks like (PCS API, enclave
// identity version 2).
type qeIdentity struct {
	ID             string    `json:"id"`
	Version        int       `json:"version"`
	IssueDate      time.Time `json:"issueDate"`
	NextUpdate     time.Time `json:"nextUpdate"`
	MiscSelect     octet     `json:"miscselect"`
	MiscSelectMask octet     `json:"miscselectMask"`
	Attributes     octet     `json:"attributes"`
	AttributesMask octet     `json:"attributesMask"`
	MRSIGNER       octet     `json:"mrsigner"`
	ISVProdID      *uint16   `json:"isvprodid"`
	Levels         []qeLevel `json:"tcbLevels"`
}

type qeLevel struct {
	TCB struct {
		ISVSVN *uint16 `json:"isvsvn"`
	} `json:"tcb"`
	Status     Status   `json:"tcbStatus"`
	Advisories []string `json:"advisoryIDs"`
}

// octet is a byte string in hexadecimal.
type octet []byte

func (o *octet) UnmarshalText(text []byte) (err error) {
	*o, err = hex.DecodeString(string(text))
	return err
}

func parseQEIdentity(text string, now time.Time) (*qeIdentity, error) {
	q := &qeIdentity{}
	if err := json.Unmarshal([]byte(text), q); err != nil {
		return nil, err
	}
	if q.ID != "QE" || q.Version != 2 {
		return nil, fmt.Errorf("is %q version %d instead of \"QE\" version 2", q.ID, q.Version)
	}
	sizes := len(q.MiscSelect) == 4 && len(q.MiscSelectMask) == 4 && len(q.Attributes) == 16 &&
		len(q.AttributesMask) == 16 && len(q.MRSIGNER) == 32
	if !sizes || q.ISVProdID == nil {
		return nil, errors.New("lacks a field, or one has a wrong length")
	}
	for _, level := range q.Levels {
		if level.TCB.ISVSVN == nil {
			return nil, errors.New("has a level without isvsvn")
		}
	}
	slices.SortStableFunc(q.Levels, func(a, b qeLevel) int { return cmp.Compare(*b.TCB.ISVSVN, *a.TCB.ISVSVN) })
	return q, current(q.IssueDate, q.NextUpdate, now)
}

// level checks the report of a quoting enclave and finds the highest level it meets.
func (q *qeIdentity) level(report *Report) (*qeLevel, error) {
	var misc [4]byte
	binary.LittleEndian.PutUint32(misc[:], report.MiscSelect)
	switch {
	case string(q.MRSIGNER) != string(report.MRSIGNER[:]):
		return nil, fmt.Errorf("the quoting enclave is signed by %x, not by %x", report.MRSIGNER, []byte(q.MRSIGNER))
	case *q.ISVProdID != report.ISVProdID:
		return nil, fmt.Errorf("the quoting enclave is product %d, not %d", report.ISVProdID, *q.ISVProdID)
	case report.Debug():
		return nil, errors.New("the quoting enclave is a debug enclave")
	case !sameUnder(q.MiscSelectMask, q.MiscSelect, misc[:]):
		return nil, errors.New("the quoting enclave's MISCSELECT is not that of the QE identity")
	case !sameUnder(q.AttributesMask, q.Attributes, report.Attributes[:]):
		return nil, errors.New("the quoting enclave's attributes are not those of the QE identity")
	}
	for i := range q.Levels {
		level := &q.Levels[i]
		if report.ISVSVN < *level.TCB.ISVSVN {
			continue
		}
		if !level.Status.ofQEIdentity() {
			return nil, fmt.Errorf("the QE identity has the unknown status %q", level.Status)
		}
		return level, nil
	}
	return nil, fmt.Errorf("the QE identity has no level for version %d of the quoting enclave", report.ISVSVN)
}

func sameUnder(mask, wanted, found []byte) bool {
	for i := range mask {
		if wanted[i]&mask[i] != found[i]&mask[i] {
			return false
		}
	}
	return true
}
