package dcap

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// tcbInfo is Intel's statement on the levels of one platform family (PCS API, TCB info version 3).
type tcbInfo struct {
	ID         string     `json:"id"`
	Version    int        `json:"version"`
	IssueDate  time.Time  `json:"issueDate"`
	NextUpdate time.Time  `json:"nextUpdate"`
	FMSPC      string     `json:"fmspc"`
	PCEID      string     `json:"pceId"`
	TCBType    int        `json:"tcbType"`
	Levels     []tcbLevel `json:"tcbLevels"`
}

type tcbLevel struct {
	TCB struct {
		Components []struct {
			SVN uint8 `json:"svn"`
		} `json:"sgxtcbcomponents"`
		PCESVN uint16 `json:"pcesvn"`
	} `json:"tcb"`
	Status     Status   `json:"tcbStatus"`
	Advisories []string `json:"advisoryIDs"`
}

func parseTCBInfo(text string, now time.Time) (*tcbInfo, error) {
	info := &tcbInfo{}
	if err := json.Unmarshal([]byte(text), info); err != nil {
		return nil, err
	}
	if info.ID != "SGX" || info.Version != 3 || info.TCBType != 0 {
		return nil, fmt.Errorf("is %q version %d type %d instead of \"SGX\" version 3 type 0", info.ID, info.Version, info.TCBType)
	}
	for i := range info.Levels {
		if n := len(info.Levels[i].TCB.Components); n != 16 {
			return nil, fmt.Errorf("a level has %d components instead of 16", n)
		}
	}
	// The order of the file does not count: highest components first, then highest PCESVN.
	slices.SortStableFunc(info.Levels, func(a, b tcbLevel) int {
		for i := range a.TCB.Components {
			if c := cmp.Compare(b.TCB.Components[i].SVN, a.TCB.Components[i].SVN); c != 0 {
				return c
			}
		}
		return cmp.Compare(b.TCB.PCESVN, a.TCB.PCESVN)
	})
	return info, current(info.IssueDate, info.NextUpdate, now)
}

// level finds the highest level that the platform meets in every component.
func (info *tcbInfo) level(pck *PCK) (*tcbLevel, error) {
	if err := sameHex(info.FMSPC, pck.FMSPC[:]); err != nil {
		return nil, fmt.Errorf("is for another platform family (FMSPC), fetch that of this platform: %w", err)
	}
	if err := sameHex(info.PCEID, pck.PCEID[:]); err != nil {
		return nil, fmt.Errorf("is for another PCE (PCEID), fetch that of this platform: %w", err)
	}
	for i := range info.Levels {
		level := &info.Levels[i]
		if !level.metBy(pck) {
			continue
		}
		if !level.Status.ofTCBInfo() {
			return nil, fmt.Errorf("has the unknown status %q", level.Status)
		}
		return level, nil
	}
	return nil, errors.New("has no level this platform meets; update its firmware")
}

func (l *tcbLevel) metBy(pck *PCK) bool {
	for i, component := range l.TCB.Components {
		if pck.CPUSVN[i] < component.SVN {
			return false
		}
	}
	return pck.PCESVN >= l.TCB.PCESVN
}

func sameHex(text string, wanted []byte) error {
	found, err := hex.DecodeString(text)
	if err != nil || !bytes.Equal(found, wanted) {
		return fmt.Errorf("%.40q is not %x", text, wanted)
	}
	return nil
}

// current holds a signed statement against the clock.
func current(issued, next, now time.Time) error {
	if issued.IsZero() || next.IsZero() {
		return errors.New("does not say from when to when it holds")
	}
	if now.Before(issued) || now.After(next) {
		return fmt.Errorf("holds from %s to %s, and it is %s; fetch the collateral anew, or mend the clock",
			issued.UTC().Format(time.RFC3339), next.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}
