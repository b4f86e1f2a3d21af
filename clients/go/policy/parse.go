package policy

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"enclaveos/client-go/dcap"
	"enclaveos/client-go/internal/strict"
)

// formatVersion is the one format this reader knows.
const formatVersion = 1

// longest bounds what `max_age_seconds` becomes, so that it is a duration of 64 bits: 136 years.
const longest = math.MaxUint32

// Parse reads a policy.
func Parse(text string) (*Policy, error) {
	var document map[string]any
	if _, err := toml.Decode(text, &document); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	p := defaults()
	t := strict.NewTable(document, "")
	if format := t.Whole("format", math.MaxInt64); format != formatVersion {
		t.Fail("format %d is unknown; this reader knows format %d", format, formatVersion)
	}
	read(t, "roots", true, p.roots)
	read(t, "enclave", true, p.enclave)
	read(t, "tcb", false, p.tcb)
	read(t, "freshness", false, p.freshness)
	read(t, "app", false, p.app)
	read(t, "configuration", false, p.configuration)
	read(t, "platform", false, p.platform)
	read(t, "authority", false, p.authority)
	if err := t.Err(); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return &p, nil
}

// read reads a table of the policy. Its error, an unknown key included, becomes that of the policy.
func read(t *strict.Table, name string, required bool, section func(*strict.Table)) {
	table := t.Table(name)
	switch {
	case table != nil:
		section(table)
		if err := table.Err(); err != nil {
			t.Fail("%w", err)
		}
	case required:
		t.Fail("the table [%s] is missing", name)
	}
}

func (p *Policy) roots(t *strict.Table) {
	p.Roots.Intel = t.Bool("intel")
	if p.Roots.Intel == t.Has("development") {
		t.Fail("roots: exactly one of `intel = true` and `development = [\"<fingerprint>\"]`, never both")
		return
	}
	p.Roots.Development = optional(t, "development")
}

func (p *Policy) enclave(t *strict.Table) {
	e := &p.Enclave
	e.MRENCLAVE = optional(t, "mrenclave")
	e.MRSIGNER = optional(t, "mrsigner")
	e.AllowDebug = t.Bool("allow_debug")
	if e.MRSIGNER != nil {
		e.ISVProdID = uint16(t.Whole("isv_prod_id", math.MaxUint16))
		e.MinISVSVN = uint16(t.Whole("min_isv_svn", math.MaxUint16))
	} else if t.Has("isv_prod_id") || t.Has("min_isv_svn") {
		t.Fail("enclave: `isv_prod_id` and `min_isv_svn` mean nothing without `mrsigner`")
	}
	if e.MRENCLAVE == nil && e.MRSIGNER == nil {
		t.Fail("enclave: name `mrenclave`, or `mrsigner` with `isv_prod_id` and `min_isv_svn`")
	}
}

func (p *Policy) tcb(t *strict.Table) {
	if t.Has("statuses") {
		p.TCB.Statuses = graces(t, "statuses", "status")
		if len(p.TCB.Statuses) == 0 {
			t.Fail("tcb.statuses must not be empty")
		}
		for _, status := range p.TCB.Statuses {
			if status.Name == string(dcap.Revoked) {
				t.Fail("tcb.statuses: Revoked can never be accepted")
			} else if !slices.Contains(dcap.Acceptable(), dcap.Status(status.Name)) {
				t.Fail("tcb.statuses: there is no status %q; there are %v", status.Name, dcap.Acceptable())
			}
		}
	}
	if t.Has("advisories") {
		p.TCB.Advisories = graces(t, "advisories", "advisory")
	}
}

func (p *Policy) freshness(t *strict.Table) {
	if t.Has("min_tier") {
		tier, known := ParseTier(t.Text("min_tier"))
		if !known {
			t.Fail("freshness.min_tier must be one of %v", tierNames)
		}
		p.Freshness.MinTier = tier
	}
	if t.Has("max_age_seconds") {
		p.Freshness.MaxAge = time.Duration(min(t.Whole("max_age_seconds", math.MaxUint64), longest)) * time.Second
	}
}

func (p *Policy) app(t *strict.Table) {
	p.App = &App{Name: t.Text("name"), CodeHashes: optional(t, "code_hashes")}
	if t.Has("key_source") {
		p.App.KeySource = t.Text("key_source")
		id, whole := strings.CutPrefix(p.App.KeySource, "byok:")
		if _, err := strict.Hex(id, 8); p.App.KeySource != "generated" && p.App.KeySource != "byok" && (!whole || err != nil) {
			t.Fail("app.key_source must be `generated`, `byok`, or `byok:` and 16 hexadecimal digits")
		}
	}
}

func (p *Policy) configuration(t *strict.Table) {
	p.Configuration = &Configuration{Root: optional(t, "root"), AppRoot: optional(t, "app_root")}
	if leaves := t.Table("leaves"); leaves != nil {
		p.Configuration.Leaves = map[string][]Hash{}
		for _, name := range leaves.Names() {
			p.Configuration.Leaves[name] = hashes(leaves, name)
		}
	}
	if p.Configuration.Root == nil && p.Configuration.AppRoot == nil && len(p.Configuration.Leaves) == 0 {
		t.Fail("[configuration] says nothing: leave it out, or name what is accepted")
	}
}

func (p *Policy) platform(t *strict.Table) {
	for _, ppid := range hexList(t, "ppids", 16) {
		p.PPIDs = append(p.PPIDs, [16]byte(ppid))
	}
}

func (p *Policy) authority(t *strict.Table) {
	p.OperatorCAs = hashes(t, "operator_ca")
}

// optional reads a list of hashes that may be absent, but not empty.
func optional(t *strict.Table, name string) []Hash {
	if !t.Has(name) {
		return nil
	}
	return hashes(t, name)
}

func hashes(t *strict.Table, name string) []Hash {
	var list []Hash
	for _, bytes := range hexList(t, name, len(Hash{})) {
		list = append(list, Hash(bytes))
	}
	return list
}

// hexList reads a list, not empty, of lower-case hexadecimal of exactly so many bytes.
func hexList(t *strict.Table, name string, length int) [][]byte {
	var list [][]byte
	items := t.List(name)
	if len(items) == 0 {
		t.Fail("%s must be a list that is not empty", t.Where(name))
	}
	for i, item := range items {
		text, ok := item.(string)
		bytes, err := strict.Hex(text, length)
		if !ok || err != nil {
			t.Fail("%s[%d] must be %d digits of lower-case hexadecimal in quotes", t.Where(name), i, hex.EncodedLen(length))
			return nil
		}
		list = append(list, bytes)
	}
	return list
}

// graces reads a list whose elements are names, or tables with a name and `until`.
func graces(t *strict.Table, name, key string) []Until {
	var list []Until
	for i, item := range items(t, name) {
		where := fmt.Sprintf("%s[%d]", t.Where(name), i)
		if text, bare := item.(string); bare {
			list = append(list, Until{Name: text})
			continue
		}
		element := strict.NewTable(item, where)
		entry := Until{Name: element.Text(key)}
		text := element.Text("until")
		until, err := time.Parse(time.RFC3339, text)
		if err != nil || until.UTC().Format("2006-01-02T15:04:05Z") != text {
			element.Fail("%s.until must be a time written like \"2027-01-01T00:00:00Z\"", where)
		}
		entry.Until = until
		if err := element.Err(); err != nil {
			t.Fail("%w", err)
		}
		list = append(list, entry)
	}
	return list
}

// items reads a list; an array of inline tables comes as a list of tables.
func items(t *strict.Table, name string) []any {
	if tables, ok := t.Value(name).([]map[string]any); ok {
		list := make([]any, len(tables))
		for i, table := range tables {
			list[i] = table
		}
		return list
	}
	return t.List(name)
}
