package enclaveos

import (
	"crypto/sha256"
	"sync"

	"enclaveos/client-go/dcap"
)

// maxCached bounds the platforms whose collateral is kept.
const maxCached = 64

// cache keeps collateral by platform: the hash of the PCK certificate. Only what verified is kept.
type cache struct {
	mutex sync.Mutex
	kept  map[[32]byte]*dcap.Collateral
}

func (c *cache) get(quote []byte) *dcap.Collateral {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if platform, ok := platformOf(quote); ok {
		return c.kept[platform]
	}
	return nil
}

func (c *cache) put(quote []byte, collateral *dcap.Collateral) {
	platform, ok := platformOf(quote)
	if !ok || collateral == nil {
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	kept := c.kept[platform]
	if c.kept == nil || kept == nil && len(c.kept) >= maxCached {
		c.kept = map[[32]byte]*dcap.Collateral{}
	}
	c.kept[platform] = newer(kept, collateral)
}

// newer is what was told, unless what is kept was issued after it: an enclave's host must not bring back
// what Intel said before it knew better. Either may be nil.
func newer(kept, told *dcap.Collateral) *dcap.Collateral {
	if told == nil || kept != nil && told.Issued().Before(kept.Issued()) {
		return kept
	}
	return told
}

func platformOf(quote []byte) (platform [32]byte, ok bool) {
	parsed, err := dcap.Parse(quote)
	if err != nil {
		return platform, false
	}
	return sha256.Sum256(parsed.Chain[0]), true
}
