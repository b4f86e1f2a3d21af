package strict

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	if value, err := Parse([]byte(` {"a":[1,{"b":null}],"B":1,"b":2} `)); err != nil || len(value.(map[string]any)) != 3 {
		t.Error(value, err)
	}
	for _, bad := range []string{
		"", "{", `{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`, `[{"a":1,"a":1}]`, "1 2", "{} x", `{"a":1,}`, "[1,]", "nul", "\"\xff\"",
		strings.Repeat("[", 65) + strings.Repeat("]", 65), strings.Repeat(`{"a":`, 100),
	} {
		if value, err := Parse([]byte(bad)); err == nil {
			t.Errorf("%.40q is taken as %v", bad, value)
		}
	}
}

func TestTable(t *testing.T) {
	read := func(text string) (*Table, error) {
		value, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		table := NewTable(value, "doc")
		table.Text("text")
		table.Whole("whole", 10)
		table.Base64("bytes")
		table.Hex("hex", 2)
		return table, table.Err()
	}
	const good = `{"text":"x","whole":10,"bytes":"AQ==","hex":"00ff"}`
	if _, err := read(good); err != nil {
		t.Error(err)
	}
	for _, edit := range [][3]string{
		{`"text"`, `"Text"`, "doc.text is missing"},
		{`"x"`, `1`, "doc.text must be a string"},
		{`{"text"`, `{"more":1,"text"`, `unknown key "more"`},
		{`10`, `11`, "at most 10"},
		{`10`, `1e1`, "at most 10"},
		{`10`, `-1`, "at most 10"},
		{`AQ==`, `AQ`, "base64"},
		{`AQ==`, `AR==`, "base64"},
		{`AQ==`, `AQ==\n`, "base64"},
		{`00ff`, `00FF`, "lower-case"},
		{`00ff`, `00`, "4 hexadecimal digits"},
	} {
		if _, err := read(strings.Replace(good, edit[0], edit[1], 1)); err == nil || !strings.Contains(err.Error(), edit[2]) {
			t.Errorf("wanted %q, got %v", edit[2], err)
		}
	}
	if err := NewTable([]any{}, "doc").Err(); err == nil {
		t.Error("an array is taken for an object")
	}
}
