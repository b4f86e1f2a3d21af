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
	if c.kept == nil || len(c.kept) >= maxCached {
		c.kept = map[[32]byte]*dcap.Collateral{}
	}
	c.kept[platform] = collateral
}

func platformOf(quote []byte) (platform [32]byte, ok bool) {
	parsed, err := dcap.Parse(quote)
	if err != nil {
		return platform, false
	}
	return sha256.Sum256(parsed.Chain[0]), true
}
