package policy

import (
	"strings"
	"testing"
	"time"
)

var (
	h32 = strings.Repeat("ab", 32)
	h16 = strings.Repeat("cd", 16)
)

const least = "format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = [\"HASH\"]\n"

func text(s string) string { return strings.NewReplacer("HASH", h32, "PPID", h16).Replace(s) }

func TestDefaults(t *testing.T) {
	p, err := Parse(text(least))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Roots.Accepts(IntelRoot) || p.Roots.Accepts(Hash{}) || p.Enclave.AllowDebug || p.Freshness.MinTier != Challenge || p.Freshness.MaxAge != 24*time.Hour {
		t.Errorf("%+v", p)
	}
	if len(p.TCB.Statuses) != 1 || p.TCB.Statuses[0].Name != "UpToDate" || p.TCB.Advisories != nil || p.App != nil || p.Configuration != nil {
		t.Errorf("%+v", p)
	}
}

func TestEverything(t *testing.T) {
	p, err := Parse(text(`
format = 1
[roots]
development = ["HASH"]
[enclave]
mrsigner = ["HASH"]
isv_prod_id = 1
min_isv_svn = 2
allow_debug = true
[tcb]
statuses = ["UpToDate", { status = "OutOfDate", until = "2027-01-01T00:00:00Z" }]
advisories = ["INTEL-SA-1"]
[freshness]
min_tier = "channel"
max_age_seconds = 60
[app]
name = "notes"
code_hashes = ["HASH"]
key_source = "byok"
[configuration]
root = ["HASH"]
app_root = ["HASH"]
[configuration.leaves]
"core.operator_policy" = ["HASH"]
[platform]
ppids = ["PPID"]
[authority]
operator_ca = ["HASH"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Enclave.MinISVSVN != 2 || p.Freshness.MinTier != Channel || p.App.KeySource != "byok" || len(p.Configuration.Leaves["core.operator_policy"]) != 1 || len(p.PPIDs) != 1 || len(p.OperatorCAs) != 1 {
		t.Errorf("%+v", p)
	}
	until := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]bool{until.Add(-1): true, until: false} {
		if Accepts(p.TCB.Statuses, "OutOfDate", at) != want {
			t.Errorf("at %s: grace is not %v", at, want)
		}
	}
}

func TestIntelIsNoDevelopmentRoot(t *testing.T) {
	listed := Roots{Development: []Hash{IntelRoot, {1}}}
	if listed.Accepts(IntelRoot) || !listed.Accepts(Hash{1}) || (Roots{Intel: true}).Accepts(Hash{1}) {
		t.Error("the two kinds of roots are mixed")
	}
	p, err := Parse(strings.Replace(text(least), "intel = true", "intel = false\ndevelopment = [\""+h32+"\"]", 1))
	if err != nil || p.Roots.Intel || len(p.Roots.Development) != 1 {
		t.Error(p, err)
	}
}

func TestWhatIsRefused(t *testing.T) {
	for bad, says := range map[string]string{
		"":                                  "format",
		"format = 1":                        "[roots] is missing",
		"format = 1\n[roots]\nintel = true": "[enclave] is missing",
		strings.Replace(least, "format = 1", "format = 2", 1):                                               "format 2",
		strings.Replace(least, "format", "Format", 1):                                                       "format is missing",
		strings.Replace(least, "intel = true", "intel = false", 1):                                          "exactly one",
		strings.Replace(least, "intel = true", "", 1):                                                       "exactly one",
		strings.Replace(least, "intel = true", "intel = true\ndevelopment=[\"HASH\"]", 1):                   "exactly one",
		strings.Replace(least, "intel = true", "development = []", 1):                                       "not empty",
		strings.Replace(least, "HASH", "AB", 1):                                                             "64 digits",
		strings.ReplaceAll(least, `"HASH"`, `"`+strings.Repeat("AB", 32)+`"`):                               "lower-case",
		strings.Replace(least, "[\"HASH\"]", "\"HASH\"", 1):                                                 "must be an array",
		strings.Replace(least, "[\"HASH\"]", "[]", 1):                                                       "not empty",
		least + "isv_prod_id = 1":                                                                           "without `mrsigner`",
		least + "mrsigner = [\"HASH\"]":                                                                     "isv_prod_id is missing",
		least + "mrsigner = [\"HASH\"]\nisv_prod_id = 1":                                                    "min_isv_svn is missing",
		least + "mrsigner = [\"HASH\"]\nisv_prod_id = 65536\nmin_isv_svn = 0":                               "at most 65535",
		least + "mrsigner = [\"HASH\"]\nisv_prod_id = -1\nmin_isv_svn = 0":                                  "at most 65535",
		least + "allow_debug = 1":                                                                           "true or false",
		least + "allow_debugging = true":                                                                    `unknown key "allow_debugging"`,
		least + "[more]":                                                                                    `unknown key "more"`,
		least + "[tcb]\nstatuses = []":                                                                      "must not be empty",
		least + "[tcb]\nstatuses = [\"Revoked\"]":                                                           "never be accepted",
		least + "[tcb]\nstatuses = [\"Fine\"]":                                                              "no status",
		least + "[tcb]\nstatuses = [{ status = \"OutOfDate\" }]":                                            "until is missing",
		least + "[tcb]\nstatuses = [{ status = \"OutOfDate\", until = \"soon\" }]":                          "a time written like",
		least + "[tcb]\nstatuses = [{ status = \"OutOfDate\", until = \"2027-01-01T00:00:00Z\", why = 1 }]": "unknown key",
		least + "[tcb]\nadvisories = [1]":                                                                   "must be an object",
		least + "[freshness]\nmin_tier = \"best\"":                                                          "min_tier",
		least + "[freshness]\nmax_age_seconds = -1":                                                         "whole number",
		least + "[freshness]\nmax_age_seconds = 1.5":                                                        "whole number",
		least + "[app]": "app.name is missing",
		least + "[app]\nname = \"a\"\ncode_hashes = []":                  "not empty",
		least + "[configuration]\nroot = [\"HASH\"]\nroots = [\"HASH\"]": "unknown key",
		least + "[configuration.leaves]\n\"core.x\" = \"HASH\"":          "must be an array",
		least + "[app]\nname = \"a\"\nkey_source = \"mine\"":             "key_source",
		least + "[app]\nname = \"a\"\nkey_source = \"byok:1\"":           "key_source",
		least + "[configuration]":                                        "says nothing",
		least + "[configuration.leaves]":                                 "says nothing",
		least + "[platform]\nppids = [\"HASH\"]":                         "32 digits",
		least + "[authority]":                                            "operator_ca is missing",
		least + least:                                                    "policy",
	} {
		_, err := Parse(text(bad))
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("wanted %q, got %v for\n%s", says, err, bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(text(least))
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := Parse(text); err == nil && !p.Roots.Intel && len(p.Roots.Development) == 0 {
			t.Error("a policy without a root")
		}
	})
}
