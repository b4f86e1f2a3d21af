package strict

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Table is an object whose members are taken one by one. What was not taken is unknown, and an
// error. The first error is kept; everything after it is empty.
type Table struct {
	place   string
	members map[string]any
	taken   map[string]bool
	err     *error
}

// NewTable reads value as an object; place names it in errors.
func NewTable(value any, place string) *Table {
	var err error
	return newTable(value, place, &err)
}

func newTable(value any, place string, err *error) *Table {
	table := &Table{place: place, taken: map[string]bool{}, err: err}
	members, ok := value.(map[string]any)
	if !ok {
		table.fail("%s must be an object", place)
	}
	table.members = members
	return table
}

func (t *Table) fail(format string, arguments ...any) {
	if *t.err == nil {
		*t.err = fmt.Errorf(format, arguments...)
	}
}

// Fail keeps an error of the caller's unless there is one.
func (t *Table) Fail(format string, arguments ...any) { t.fail(format, arguments...) }

// Err is the first error, or that of a member nobody asked for.
func (t *Table) Err() error {
	var unknown []string
	for name := range t.members {
		if !t.taken[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		t.fail("%s: unknown key %q", t.place, unknown[0])
	}
	return *t.err
}

// Where names a member for an error.
func (t *Table) Where(name string) string {
	if t.place == "" {
		return name
	}
	return t.place + "." + name
}

// Has says whether the member is there, null included.
func (t *Table) Has(name string) bool {
	_, there := t.members[name]
	return there
}

// Names lists the members.
func (t *Table) Names() []string {
	names := make([]string, 0, len(t.members))
	for name := range t.members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Value takes a member as it is; nil if it is not there.
func (t *Table) Value(name string) any {
	t.taken[name] = true
	return t.members[name]
}

// Required takes a member that must be there.
func (t *Table) Required(name string) any {
	if !t.Has(name) {
		t.fail("%s is missing", t.Where(name))
	}
	return t.Value(name)
}

// Table takes a member that is an object; nil if it is not there.
func (t *Table) Table(name string) *Table {
	value, there := t.members[name]
	t.taken[name] = true
	if !there {
		return nil
	}
	return newTable(value, t.Where(name), t.err)
}

// List takes a required member that is an array.
func (t *Table) List(name string) []any {
	value := t.Required(name)
	items, ok := value.([]any)
	if !ok {
		t.fail("%s must be an array", t.Where(name))
	}
	return items
}

// Each reads every element of a required array as an object and returns their number.
func (t *Table) Each(name string, read func(*Table)) int {
	items := t.List(name)
	for i, item := range items {
		element := newTable(item, fmt.Sprintf("%s[%d]", t.Where(name), i), t.err)
		read(element)
		if element.Err() != nil {
			break
		}
	}
	return len(items)
}

// Text takes a required string.
func (t *Table) Text(name string) string {
	value := t.Required(name)
	text, ok := value.(string)
	if !ok {
		t.fail("%s must be a string", t.Where(name))
	}
	return text
}

// Bool takes a boolean, false if it is not there.
func (t *Table) Bool(name string) bool {
	value, there := t.members[name]
	t.taken[name] = true
	if !there {
		return false
	}
	boolean, ok := value.(bool)
	if !ok {
		t.fail("%s must be true or false", t.Where(name))
	}
	return boolean
}

// Whole takes a required whole number of at most limit.
func (t *Table) Whole(name string, limit uint64) uint64 {
	switch value := t.Required(name).(type) {
	case int64:
		if value >= 0 && uint64(value) <= limit {
			return uint64(value)
		}
	case json.Number:
		if number, err := strconv.ParseUint(string(value), 10, 64); err == nil && number <= limit {
			return number
		}
	}
	if limit == math.MaxUint64 {
		t.fail("%s must be a whole number", t.Where(name))
	} else {
		t.fail("%s must be a whole number of at most %d", t.Where(name), limit)
	}
	return 0
}

// Base64 takes a required string in standard base64 with padding.
func (t *Table) Base64(name string) []byte {
	bytes, err := base64.StdEncoding.Strict().DecodeString(noNewlines(t.Text(name)))
	if err != nil {
		t.fail("%s must be base64 with padding", t.Where(name))
	}
	return bytes
}

// noNewlines keeps the decoder, which skips line ends, from doing so.
func noNewlines(text string) string {
	if strings.ContainsAny(text, "\r\n") {
		return "!"
	}
	return text
}

// Base64List takes a required array of such strings.
func (t *Table) Base64List(name string) [][]byte {
	var all [][]byte
	for i, item := range t.List(name) {
		text, ok := item.(string)
		bytes, err := base64.StdEncoding.Strict().DecodeString(noNewlines(text))
		if !ok || err != nil {
			t.fail("%s[%d] must be base64 with padding", t.Where(name), i)
		}
		all = append(all, bytes)
	}
	return all
}

// Hex takes a required string of lower-case hexadecimal; length in bytes, or -1 for any.
func (t *Table) Hex(name string, length int) []byte {
	bytes, err := Hex(t.Text(name), length)
	if err != nil {
		t.fail("%s %w", t.Where(name), err)
	}
	return bytes
}

// Hex reads lower-case hexadecimal of exactly so many bytes, or of any length for -1.
func Hex(text string, length int) ([]byte, error) {
	bytes, err := hex.DecodeString(text)
	if err != nil || text != strings.ToLower(text) {
		return nil, fmt.Errorf("must be lower-case hexadecimal, not %.80q", text)
	}
	if length >= 0 && len(bytes) != length {
		return nil, fmt.Errorf("must be %d hexadecimal digits, not %d", 2*length, len(text))
	}
	return bytes, nil
}
