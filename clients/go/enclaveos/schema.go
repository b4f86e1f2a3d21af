package enclaveos

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// witType is a WIT type as a schema writes it: a word, or an object with one key.
type witType struct {
	// kind is the word, or the key.
	kind string
	// of are the types inside: of a list, an option, a tuple, a result (ok, err; nil where there is none).
	of []*witType
	// fields are those of a record, or the cases of a variant.
	fields []witField
}

type witField struct {
	Name string   `json:"name"`
	Type *witType `json:"type"`
}

// UnmarshalJSON reads the schema's form.
func (t *witType) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &t.kind) == nil {
		return nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || len(object) != 1 {
		return fmt.Errorf("a type is a word or an object with one key, not %.80s", text)
	}
	for kind, inner := range object {
		t.kind = kind
		switch kind {
		case "list", "option":
			t.of = []*witType{{}}
			return json.Unmarshal(inner, t.of[0])
		case "tuple":
			return json.Unmarshal(inner, &t.of)
		case "record", "variant":
			return json.Unmarshal(inner, &t.fields)
		case "result":
			var sides struct{ Ok, Err *witType }
			if err := json.Unmarshal(inner, &sides); err != nil {
				return err
			}
			t.of = []*witType{sides.Ok, sides.Err}
		case "enum", "flags":
		default:
			return fmt.Errorf("there is no type %q", kind)
		}
	}
	return nil
}

// schema is the result types of an app's functions.
type schema map[string][]*witType

// resultTypes asks for an app's schema once and finds a function in it.
func (c *Conn) resultTypes(ctx context.Context, app, function string) ([]*witType, error) {
	known, there := c.schemas[app]
	if !there {
		var reply struct {
			Schema struct {
				Exports []struct {
					Name    string     `json:"name"`
					Results []*witType `json:"results"`
				} `json:"exports"`
			} `json:"schema"`
		}
		if err := c.command(ctx, "wasm_schema", map[string]string{"app": app}, &reply); err != nil {
			return nil, err
		}
		known = schema{}
		for _, export := range reply.Schema.Exports {
			known[export.Name] = export.Results
		}
		c.schemas[app] = known
	}
	types, err := known.find(function)
	if err != nil {
		return nil, err
	}
	return types, nil
}

// find takes the shorter forms of a name that the server takes, where only one export fits.
func (s schema) find(function string) ([]*witType, error) {
	if types, exact := s[function]; exact {
		return types, nil
	}
	var fitting, all []string
	for name := range s {
		all = append(all, name)
		if fits(name, function) {
			fitting = append(fitting, name)
		}
	}
	switch len(fitting) {
	case 1:
		return s[fitting[0]], nil
	case 0:
		return nil, &RefusedError{Code: "unknown-function", Message: fmt.Sprintf("there is no function %q; there are %s", function, strings.Join(all, ", "))}
	}
	return nil, &RefusedError{Code: "ambiguous-function", Message: fmt.Sprintf("%q may be %s", function, strings.Join(fitting, " or "))}
}

// fits says whether `pkg:name/interface@1.0.0#function` may be called by a shorter name.
func fits(export, short string) bool {
	path, function, nested := strings.Cut(export, "#")
	if !nested {
		return false
	}
	unversioned, _, _ := strings.Cut(path, "@")
	simple := unversioned[strings.LastIndex(unversioned, "/")+1:]
	return short == unversioned+"#"+function || short == simple+"#"+function || short == function
}
