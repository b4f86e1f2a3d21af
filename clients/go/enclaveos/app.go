package enclaveos

import (
	"context"
	"encoding/json"
)

// App is an app on a connection.
type App struct {
	conn *Conn
	name string
}

// App names an app. Nothing is sent.
func (c *Conn) App(name string) *App { return &App{conn: c, name: name} }

// Call calls an exported function with Go values and returns its result as one.
//
//	text, err := app.Call(ctx, "kv-store", "greeting", "hello")
//
// A function without a result gives nil, one with several a []any. If it returns a WIT result, its
// `ok` is the value and its `err` an *AppError. The README has the table of types; Typed sends a value
// in its written-out form.
func (a *App) Call(ctx context.Context, function string, parameters ...any) (any, error) {
	list := make([]any, len(parameters))
	for i, parameter := range parameters {
		var err error
		if list[i], err = toJSON(parameter); err != nil {
			return nil, err
		}
	}
	return a.call(ctx, function, list)
}

// CallNamed is Call with parameters by their names.
func (a *App) CallNamed(ctx context.Context, function string, parameters map[string]any) (any, error) {
	named := make(map[string]any, len(parameters))
	for name, parameter := range parameters {
		var err error
		if named[name], err = toJSON(parameter); err != nil {
			return nil, err
		}
	}
	return a.call(ctx, function, named)
}

func (a *App) call(ctx context.Context, function string, parameters any) (any, error) {
	c := a.conn
	c.mutex.Lock()
	defer c.mutex.Unlock()
	types, err := c.resultTypes(ctx, a.name, function)
	if err != nil {
		return nil, err
	}
	var reply struct {
		Status  string
		Returns []struct {
			Type  string          `json:"type"`
			Value json.RawMessage `json:"value"`
		}
	}
	content := map[string]any{"app": a.name, "function": function, "params": parameters}
	if err := c.command(ctx, "wasm_call", content, &reply); err != nil {
		return nil, err
	}
	if reply.Status != "ok" || len(reply.Returns) != len(types) {
		return nil, &ProtocolError{Reason: "wasm_call: not as many results as the function has"}
	}
	values := make([]any, len(types))
	for i, t := range types {
		if values[i], err = fromJSON(t, reply.Returns[i].Value); err != nil {
			return nil, &ProtocolError{Reason: "wasm_call: " + err.Error()}
		}
	}
	switch len(values) {
	case 0:
		return nil, nil
	case 1:
		if result, is := values[0].(Result); is {
			if result.IsErr {
				return nil, &AppError{Function: function, Value: result.Value}
			}
			return result.Value, nil
		}
		return values[0], nil
	}
	return values, nil
}

// AppInfo is what the server says of a loaded app.
type AppInfo struct {
	Name      string   `json:"name"`
	Hostname  string   `json:"hostname"`
	CodeHash  string   `json:"code_hash"`
	KeySource string   `json:"key_source"`
	State     string   `json:"state,omitempty"`
	Exports   []Export `json:"exports"`
}

// Export is a function of an app.
type Export struct {
	Name        string `json:"name"`
	ParamCount  int    `json:"param_count"`
	ResultCount int    `json:"result_count"`
}

// Load is what an app is loaded with. Fields left zero take the server's defaults.
type Load struct {
	Name string `json:"name"`
	// Component is the compiled component.
	Component      []byte            `json:"bytes_base64"`
	Hostname       string            `json:"hostname,omitempty"`
	EncryptionKey  string            `json:"encryption_key,omitempty"`
	RoutePrefix    string            `json:"route_prefix,omitempty"`
	MaxFuel        uint64            `json:"max_fuel,omitempty"`
	MaxMemoryBytes uint64            `json:"max_memory_bytes,omitempty"`
	MaxStoreBytes  uint64            `json:"max_store_bytes,omitempty"`
	MaxStoreKeys   uint64            `json:"max_store_keys,omitempty"`
	TimeoutMS      uint64            `json:"timeout_ms,omitempty"`
	Env            map[string]string `json:"env,omitempty"`
	Secrets        map[string]string `json:"secrets,omitempty"`
	// Egress lists the hosts it may reach; nil any, empty none.
	Egress     *[]string `json:"egress,omitempty"`
	Version    string    `json:"version,omitempty"`
	DataPolicy string    `json:"data_policy,omitempty"`
	LogPolicy  string    `json:"log_policy,omitempty"`
	Access     string    `json:"access,omitempty"`
	// What one HTTP request may use; 0 leaves the server's default.
	HTTPMaxFuel          uint64 `json:"http_max_fuel,omitempty"`
	HTTPIdleTimeoutMS    uint64 `json:"http_idle_timeout_ms,omitempty"`
	HTTPTimeoutMS        uint64 `json:"http_timeout_ms,omitempty"`
	HTTPMaxRequestBytes  uint64 `json:"http_max_request_bytes,omitempty"`
	HTTPMaxResponseBytes uint64 `json:"http_max_response_bytes,omitempty"`
}

// Load loads or replaces an app.
func (c *Conn) Load(ctx context.Context, load Load) (*AppInfo, error) {
	var reply struct {
		Status string
		App    *AppInfo
	}
	if err := c.Command(ctx, "wasm_load", load, &reply); err != nil {
		return nil, err
	}
	if reply.Status != "loaded" || reply.App == nil {
		return nil, &ProtocolError{Reason: "wasm_load: the status is not `loaded`"}
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	delete(c.schemas, load.Name)
	return reply.App, nil
}

// List lists the loaded apps.
func (c *Conn) List(ctx context.Context) ([]AppInfo, error) {
	var reply struct {
		Status string
		Apps   []AppInfo
	}
	if err := c.Command(ctx, "wasm_list", struct{}{}, &reply); err != nil {
		return nil, err
	}
	if reply.Status != "apps" {
		return nil, &ProtocolError{Reason: "wasm_list: the status is not `apps`"}
	}
	return reply.Apps, nil
}

// Unload removes an app and its data; false if there is no such app.
func (c *Conn) Unload(ctx context.Context, name string) (bool, error) {
	var reply struct{ Status string }
	if err := c.Command(ctx, "wasm_unload", map[string]string{"name": name}, &reply); err != nil {
		return false, err
	}
	if reply.Status != "unloaded" && reply.Status != "not_found" {
		return false, &ProtocolError{Reason: "wasm_unload: the status is neither `unloaded` nor `not_found`"}
	}
	return reply.Status == "unloaded", nil
}
