package enclaveos

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
)

// Typed is a parameter in its written-out form: {"type":T,"value":V}.
type Typed struct {
	Type  string `json:"type"`
	Value any    `json:"value"`
}

// Result is a WIT result inside another value.
type Result struct {
	// IsErr says which side it is.
	IsErr bool
	// Value of that side; nil if it carries none.
	Value any
}

// toJSON turns a Go value into the JSON form of a parameter.
func toJSON(value any) (any, error) {
	switch v := value.(type) {
	case Typed:
		inner, err := toJSON(v.Value)
		return Typed{Type: v.Type, Value: inner}, err
	case Result:
		inner, err := toJSON(v.Value)
		return map[string]any{map[bool]string{false: "ok", true: "err"}[v.IsErr]: inner}, err
	case []byte:
		return v, nil
	case float32:
		return number(float64(v), value), nil
	case float64:
		return number(v, value), nil
	case json.Marshaler:
		return v, nil
	}
	r := reflect.ValueOf(value)
	switch r.Kind() {
	case reflect.Slice, reflect.Array:
		list := make([]any, r.Len())
		for i := range list {
			var err error
			if list[i], err = toJSON(r.Index(i).Interface()); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.Map:
		return mapToJSON(r)
	case reflect.Pointer:
		if r.IsNil() {
			return nil, nil
		}
		return toJSON(r.Elem().Interface())
	case reflect.Func, reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer:
		return nil, fmt.Errorf("a %T has no form as a parameter", value)
	}
	return value, nil
}

func mapToJSON(r reflect.Value) (any, error) {
	if r.Type().Key().Kind() != reflect.String {
		return nil, fmt.Errorf("a record is a map with strings as keys, not a %s", r.Type())
	}
	fields := make(map[string]any, r.Len())
	for entry := r.MapRange(); entry.Next(); {
		inner, err := toJSON(entry.Value().Interface())
		if err != nil {
			return nil, err
		}
		fields[entry.Key().String()] = inner
	}
	_, hasType := fields["type"]
	_, hasValue := fields["value"]
	if len(fields) == 2 && hasType && hasValue {
		// The server would read it as the written-out form.
		return Typed{Type: "record", Value: fields}, nil
	}
	return fields, nil
}

// number writes what JSON has no number for as a string.
func number(v float64, original any) any {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return original
}

// fromJSON reads the JSON form of a result as a Go value. The README has the table.
func fromJSON(t *witType, text json.RawMessage) (any, error) {
	if t == nil {
		return nil, nil
	}
	switch t.kind {
	case "bool":
		return decode[bool](text)
	case "string", "char", "enum":
		return decode[string](text)
	case "s8", "s16", "s32", "s64":
		return strconv.ParseInt(digits(text), 10, bits(t.kind))
	case "u8", "u16", "u32", "u64":
		return strconv.ParseUint(digits(text), 10, bits(t.kind))
	case "f32", "f64":
		return strconv.ParseFloat(digits(text), 64)
	case "flags":
		return decode[[]string](text)
	case "list":
		if t.of[0].kind == "u8" {
			return byteList(text)
		}
		return eachFromJSON(text, func(int) *witType { return t.of[0] }, -1)
	case "tuple":
		return eachFromJSON(text, func(i int) *witType { return t.of[i] }, len(t.of))
	case "option":
		return optionFromJSON(t.of[0], text)
	case "record":
		return recordFromJSON(t, text)
	case "variant":
		return variantFromJSON(t, text)
	case "result":
		return resultFromJSON(t, text)
	}
	return nil, fmt.Errorf("a value of type %q has no form in Go", t.kind)
}

func decode[T any](text json.RawMessage) (any, error) {
	var value T
	err := json.Unmarshal(text, &value)
	return value, err
}

// digits is a number, or the same in quotes.
func digits(text json.RawMessage) string { return string(bytes.Trim(text, `"`)) }

func bits(kind string) int {
	n, _ := strconv.Atoi(kind[1:])
	return n
}

// byteList is base64 with padding, or an array of numbers.
func byteList(text json.RawMessage) (any, error) {
	var encoded string
	if json.Unmarshal(text, &encoded) == nil {
		return base64.StdEncoding.DecodeString(encoded)
	}
	var numbers []uint8Number
	err := json.Unmarshal(text, &numbers)
	list := make([]byte, len(numbers))
	for i, n := range numbers {
		list[i] = byte(n)
	}
	return list, err
}

// uint8Number keeps encoding/json from taking a list of bytes for base64.
type uint8Number uint8

func eachFromJSON(text json.RawMessage, of func(int) *witType, count int) (any, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(text, &items); err != nil {
		return nil, err
	}
	if count >= 0 && len(items) != count {
		return nil, fmt.Errorf("a tuple of %d has %d values", count, len(items))
	}
	values := make([]any, len(items))
	for i, item := range items {
		var err error
		if values[i], err = fromJSON(of(i), item); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// optionFromJSON gives nil or the value; an option inside an option is {"some":V}.
func optionFromJSON(of *witType, text json.RawMessage) (any, error) {
	if string(text) == "null" {
		return nil, nil
	}
	if of.kind != "option" {
		return fromJSON(of, text)
	}
	var wrapped struct{ Some json.RawMessage }
	if err := json.Unmarshal(text, &wrapped); err != nil {
		return nil, err
	}
	value, err := fromJSON(of, wrapped.Some)
	return map[string]any{"some": value}, err
}

func recordFromJSON(t *witType, text json.RawMessage) (any, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	record := make(map[string]any, len(t.fields))
	for _, field := range t.fields {
		value, there := fields[field.Name]
		if !there {
			return nil, fmt.Errorf("the field %q is missing", field.Name)
		}
		var err error
		if record[field.Name], err = fromJSON(field.Type, value); err != nil {
			return nil, err
		}
	}
	return record, nil
}

// variantFromJSON gives a map with the case as its only key.
func variantFromJSON(t *witType, text json.RawMessage) (any, error) {
	var cases map[string]json.RawMessage
	if err := json.Unmarshal(text, &cases); err != nil {
		return nil, err
	}
	for _, field := range t.fields {
		if value, is := cases[field.Name]; is && len(cases) == 1 {
			inner, err := fromJSON(field.Type, value)
			return map[string]any{field.Name: inner}, err
		}
	}
	return nil, fmt.Errorf("no case of the variant in %.80s", text)
}

func resultFromJSON(t *witType, text json.RawMessage) (any, error) {
	var sides map[string]json.RawMessage
	if err := json.Unmarshal(text, &sides); err != nil {
		return nil, err
	}
	for i, side := range []string{"ok", "err"} {
		if value, is := sides[side]; is && len(sides) == 1 {
			inner, err := fromJSON(t.of[i], value)
			return Result{IsErr: side == "err", Value: inner}, err
		}
	}
	return nil, fmt.Errorf("neither ok nor err in %.80s", text)
}
