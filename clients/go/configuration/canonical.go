package configuration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// maxExact is the largest whole number that every JSON reader reads exactly (RFC 8785 §3.2.2.3,
// RFC 7493 §2.2).
const maxExact = 1<<53 - 1

// Canonical writes a JSON value in canonical form (RFC 8785). Whole numbers beyond ±(2^53 - 1) are
// refused: two values would have one form.
func Canonical(value any) ([]byte, error) {
	var out bytes.Buffer
	err := writeCanonical(&out, value)
	return out.Bytes(), err
}

func writeCanonical(out *bytes.Buffer, value any) error {
	switch v := value.(type) {
	case nil:
		out.WriteString("null")
	case bool:
		out.WriteString(strconv.FormatBool(v))
	case string:
		writeString(out, v)
	case json.Number:
		text, err := canonicalNumber(string(v))
		if err != nil {
			return err
		}
		out.WriteString(text)
	case []any:
		out.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			if err := writeCanonical(out, item); err != nil {
				return err
			}
		}
		out.WriteByte(']')
	case map[string]any:
		return writeObject(out, v)
	default:
		return fmt.Errorf("%T is not JSON", value)
	}
	return nil
}

func writeObject(out *bytes.Buffer, members map[string]any) error {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	// By UTF-16 code units (RFC 8785 §3.2.3).
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
	})
	out.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			out.WriteByte(',')
		}
		writeString(out, name)
		out.WriteByte(':')
		if err := writeCanonical(out, members[name]); err != nil {
			return err
		}
	}
	out.WriteByte('}')
	return nil
}

// writeString escapes what must be escaped and nothing else (RFC 8785 §3.2.2.2).
func writeString(out *bytes.Buffer, text string) {
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r >= 0x20:
			out.WriteRune(r)
		default:
			if short := strings.IndexRune("\b\t\n\f\r", r); short >= 0 {
				out.WriteByte('\\')
				out.WriteByte("btnfr"[short])
			} else {
				fmt.Fprintf(out, "\\u%04x", r)
			}
		}
	}
	out.WriteByte('"')
}

// canonicalNumber writes a number as ECMAScript does (RFC 8785 §3.2.2.3).
func canonicalNumber(text string) (string, error) {
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(number, 0) {
		return "", fmt.Errorf("the number %.40s is out of range", text)
	}
	if !strings.ContainsAny(text, ".eE") && fits64(text) && math.Abs(number) > maxExact {
		return "", errors.New("the number " + text + " is beyond 2^53 and not exact in canonical JSON")
	}
	if number == 0 {
		return "0", nil
	}
	format := byte('f')
	if magnitude := math.Abs(number); magnitude < 1e-6 || magnitude >= 1e21 {
		format = 'e'
	}
	out := strconv.FormatFloat(number, format, -1, 64)
	// ECMAScript writes one digit of an exponent where Go writes two.
	return strings.Replace(out, "e-0", "e-", 1), nil
}

// fits64 says whether a whole number is one of 64 bits. Beyond, it is a floating-point number to
// every reader.
func fits64(text string) bool {
	_, unsigned := strconv.ParseUint(text, 10, 64)
	_, signed := strconv.ParseInt(text, 10, 64)
	return unsigned == nil || signed == nil
}
