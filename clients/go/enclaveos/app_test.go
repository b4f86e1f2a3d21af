package enclaveos_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"enclaveos/client-go/enclaveos"
	"enclaveos/client-go/policy"
)

func hexOf(hash [32]byte) string { return hex.EncodeToString(hash[:]) }

const schema = `{"status":"schema","app":"a","schema":{"exports":[
 {"name":"nothing","params":[],"results":[]},
 {"name":"text","params":[],"results":["string"]},
 {"name":"big","params":[],"results":["u64"]},
 {"name":"small","params":[],"results":["s8"]},
 {"name":"float","params":[],"results":["f64"]},
 {"name":"bytes","params":[],"results":[{"list":"u8"}]},
 {"name":"pair","params":[],"results":["bool","char"]},
 {"name":"deep","params":[],"results":[{"record":[{"name":"ids","type":{"list":"u64"}},{"name":"blob","type":{"option":{"list":"u8"}}},
   {"name":"shape","type":{"variant":[{"name":"circle","type":"f64"},{"name":"empty"}]}},{"name":"tags","type":{"flags":["r","w"]}},
   {"name":"two","type":{"tuple":["s64",{"enum":["red"]}]}},{"name":"nested","type":{"option":{"option":"u8"}}},{"name":"tried","type":{"result":{"ok":"u8","err":"string"}}}]}]},
 {"name":"may","params":[],"results":[{"result":{"ok":"string","err":"string"}}]},
 {"name":"pkg:name/shop@1.0.0#buy","params":[],"results":["string"]},
 {"name":"pkg:name/bank@1.0.0#pay","params":[],"results":["string"]},
 {"name":"pkg:name/till@1.0.0#pay","params":[],"results":["string"]}]}}`

// talk answers calls with these results and keeps what was asked.
func talk(t *testing.T, returns string) (*enclaveos.App, *[]string) {
	t.Helper()
	s := serve(t)
	asked := &[]string{}
	s.Reply = func(request []byte) []byte {
		if strings.Contains(string(request), "wasm_schema") {
			return []byte(schema)
		}
		*asked = append(*asked, string(request))
		if strings.HasPrefix(returns, "{") {
			return []byte(returns)
		}
		return []byte(`{"status":"ok","returns":` + returns + `}`)
	}
	conn, err := client(t, s, policy.Channel, "").Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.App("a"), asked
}

func TestResultsAreNativeValues(t *testing.T) {
	deep := `[{"type":"record","value":{"ids":[1,"18446744073709551615"],"blob":"AQI=","shape":{"circle":1.5},"tags":["r"],"two":["-5","red"],"nested":{"some":null},"tried":{"err":"no"}}}]`
	for _, c := range []struct {
		function, returns string
		want              any
	}{
		{"nothing", `[]`, nil},
		{"text", `[{"type":"string","value":"hi"}]`, "hi"},
		{"big", `[{"type":"u64","value":"18446744073709551615"}]`, uint64(math.MaxUint64)},
		{"small", `[{"type":"s8","value":-128}]`, int64(-128)},
		{"float", `[{"type":"f64","value":"-Infinity"}]`, math.Inf(-1)},
		{"bytes", `[{"type":"bytes","value":"AQL/"}]`, []byte{1, 2, 255}},
		{"bytes", `[{"type":"bytes","value":[1,2]}]`, []byte{1, 2}},
		{"pair", `[{"type":"bool","value":true},{"type":"char","value":"é"}]`, []any{true, "é"}},
		{"may", `[{"type":"result","value":{"ok":"yes"}}]`, "yes"},
		{"shop#buy", `[{"type":"string","value":"x"}]`, "x"},
		{"buy", `[{"type":"string","value":"x"}]`, "x"},
		{"pkg:name/bank#pay", `[{"type":"string","value":"x"}]`, "x"},
		{"deep", deep, map[string]any{
			"ids": []any{uint64(1), uint64(math.MaxUint64)}, "blob": []byte{1, 2}, "shape": map[string]any{"circle": 1.5},
			"tags": []string{"r"}, "two": []any{int64(-5), "red"}, "nested": map[string]any{"some": nil}, "tried": enclaveos.Result{IsErr: true, Value: "no"},
		}},
	} {
		app, _ := talk(t, c.returns)
		got, err := app.Call(t.Context(), c.function)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s %s: %#v, %v", c.function, c.returns, got, err)
		}
	}
}

func TestParametersAreNativeValues(t *testing.T) {
	app, asked := talk(t, `[]`)
	name := "x"
	_, err := app.Call(t.Context(), "nothing", "k", 7, []byte{1, 2}, math.NaN(), float32(0.5), []string{"a"}, map[string]any{"a": math.Inf(1)},
		map[string]any{"type": 1, "value": 2}, nil, &name, uint64(math.MaxUint64), enclaveos.Typed{Type: "u8", Value: 3}, enclaveos.Result{Value: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.CallNamed(t.Context(), "nothing", map[string]any{"key": "k"}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`["k",7,"AQI=","NaN",0.5,["a"],{"a":"Infinity"},{"type":"record","value":{"type":1,"value":2}},null,"x",18446744073709551615,{"type":"u8","value":3},{"ok":1}]`,
		`{"key":"k"}`,
	}
	for i, request := range *asked {
		var envelope struct {
			Call struct{ Params json.RawMessage } `json:"wasm_call"`
		}
		if err := json.Unmarshal([]byte(request), &envelope); err != nil || string(envelope.Call.Params) != want[i] {
			t.Errorf("%s, want %s", envelope.Call.Params, want[i])
		}
	}
	if _, err := app.Call(t.Context(), "nothing", func() {}); err == nil {
		t.Error("a function is taken for a parameter")
	}
}

func TestWhatGoesWrong(t *testing.T) {
	var failed *enclaveos.AppError
	app, _ := talk(t, `[{"type":"result","value":{"err":"broke"}}]`)
	if _, err := app.Call(t.Context(), "may"); !errors.As(err, &failed) || failed.Value != "broke" {
		t.Error(err)
	}
	var refused *enclaveos.RefusedError
	app, _ = talk(t, `{"status":"error","code":"out-of-fuel","message":"it ran too long"}`)
	if _, err := app.Call(t.Context(), "text"); !errors.As(err, &refused) || refused.Code != "out-of-fuel" {
		t.Error(err)
	}
	for function, code := range map[string]string{"none": "unknown-function", "pay": "ambiguous-function"} {
		if _, err := app.Call(t.Context(), function); !errors.As(err, &refused) || refused.Code != code {
			t.Error(err)
		}
	}
	var protocol *enclaveos.ProtocolError
	for _, returns := range []string{`[]`, `[{"type":"string","value":7}]`, `{"status":"fine"}`} {
		app, _ = talk(t, returns)
		if _, err := app.Call(t.Context(), "text"); !errors.As(err, &protocol) {
			t.Errorf("%s: %v", returns, err)
		}
	}
}

// After a call was given up its answer may still come: it must not become the answer to the next.
func TestAConnectionIsNotUsedAfterACallWasGivenUp(t *testing.T) {
	s := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Reply = func([]byte) []byte { cancel(); <-t.Context().Done(); return nil }
	conn, err := client(t, s, policy.Channel, "").Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.List(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	var connection *enclaveos.ConnectionError
	if err := conn.Ping(t.Context()); !errors.As(err, &connection) {
		t.Error(err)
	}
}

// What was verified is no longer what runs: the connection is over, and says so.
func TestAChangedEnclaveEndsTheConnection(t *testing.T) {
	s := serve(t)
	s.Reply = func([]byte) []byte {
		return []byte(`{"status":"error","code":"attestation-stale","message":"the configuration changed"}`)
	}
	conn, err := client(t, s, policy.Channel, "").Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var refused *enclaveos.RefusedError
	var connection *enclaveos.ConnectionError
	if _, err := conn.App("a").Call(t.Context(), "f"); !errors.As(err, &refused) || errors.As(err, &connection) {
		t.Error(err)
	}
	if err := conn.Ping(t.Context()); !errors.As(err, &connection) || !errors.As(err, &refused) || refused.Code != "attestation-stale" {
		t.Error(err)
	}
}
