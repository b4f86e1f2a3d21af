//! Every type of the component model, through a real component, there and back over the wire.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use boundary_wire::client::{Load, Params};
use enclave_os_client::{ClientError, Framed};
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest};
use scenarios::platform::Platform;
use serde_json::{Value, json};

scenarios::on_each_platform!(
    primitives_come_back_as_they_went,
    compounds_come_back_as_they_went,
    bytes_are_integers_or_base64,
    functions_are_found_by_name_or_refused_with_the_choices,
);

struct Echo {
    client: Framed,
    _host: HostProcess,
    _folder: tempfile::TempDir,
}

impl Echo {
    fn start(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host =
            HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
        let mut client = host.framed().unwrap();
        let bytes = compile(platform, &guest("tests/guests/echo", "echo.wasm").unwrap()).unwrap();
        client.load(Load { name: "echo".to_owned(), bytes, ..Load::default() }).unwrap();
        Self { client, _host: host, _folder: folder }
    }

    fn call(&mut self, function: &str, params: Vec<Value>) -> Result<Value, ClientError> {
        let returns = self.client.call("echo", function, Params::Positional(params))?;
        assert!(returns.len() <= 1, "{returns:?}");
        Ok(returns.into_iter().next().unwrap_or(Value::Null))
    }

    /// The typed form goes there and comes back as it went.
    fn same(&mut self, function: &str, value: Value) {
        let back =
            self.call(function, vec![value.clone()]).unwrap_or_else(|e| panic!("{function} {value}: {e}"));
        assert_eq!(back, value, "{function}");
    }

    /// The bare form is typed by the signature.
    fn bare(&mut self, function: &str, bare: Value, typed: Value) {
        let back =
            self.call(function, vec![bare.clone()]).unwrap_or_else(|e| panic!("{function} {bare}: {e}"));
        assert_eq!(back, typed, "{function} {bare}");
    }

    fn refused(&mut self, function: &str, params: Vec<Value>) {
        let shown = json!(params);
        match self.call(function, params) {
            Err(ClientError::Refused(error)) => {
                assert_eq!(error.code, "bad-params", "{function} {shown}: {}", error.message);
                assert!(error.message.len() > 10, "{}", error.message);
            }
            other => panic!("{function} {shown} gave {other:?}"),
        }
    }
}

fn primitives_come_back_as_they_went(platform: Platform) {
    let mut echo = Echo::start(platform);
    for value in [true, false] {
        echo.same("echo-bool", json!({"type": "bool", "value": value}));
    }
    let signed = [
        ("s8", i64::from(i8::MIN), i64::from(i8::MAX)),
        ("s16", -32768, 32767),
        ("s32", -1 << 31, (1 << 31) - 1),
    ];
    for (name, least, most) in signed {
        let function = format!("echo-{name}");
        for value in [least, -1, 0, most] {
            echo.same(&function, json!({"type": name, "value": value}));
        }
        echo.refused(&function, vec![json!(least - 1)]);
        echo.refused(&function, vec![json!(most + 1)]);
    }
    for (name, most) in [("u8", 255u64), ("u16", 65535), ("u32", u64::from(u32::MAX))] {
        let function = format!("echo-{name}");
        for value in [0, 1, most] {
            echo.same(&function, json!({"type": name, "value": value}));
        }
        echo.refused(&function, vec![json!(most + 1)]);
        echo.refused(&function, vec![json!(-1)]);
    }
    // 64-bit integers are taken as numbers or as text.
    for value in [json!(i64::MIN), json!(i64::MAX), json!(i64::MIN.to_string())] {
        echo.call("echo-s64", vec![value]).unwrap();
    }
    let as_number = echo.call("echo-u64", vec![json!(u64::MAX)]).unwrap();
    let as_text = echo.call("echo-u64", vec![json!(u64::MAX.to_string())]).unwrap();
    assert_eq!(as_number, as_text);
    echo.refused("echo-u64", vec![json!("18446744073709551616")]);
    echo.refused("echo-s64", vec![json!("9223372036854775808")]);
    echo.same("echo-f64", json!({"type": "f64", "value": -0.125}));
    echo.same("echo-f32", json!({"type": "f32", "value": 1.5}));
    for word in ["NaN", "Infinity", "-Infinity"] {
        echo.same("echo-f64", json!({"type": "f64", "value": word}));
        echo.same("echo-f32", json!({"type": "f32", "value": word}));
    }
    for text in ["a", "é", "😀"] {
        echo.same("echo-char", json!({"type": "char", "value": text}));
    }
    echo.refused("echo-char", vec![json!("ab")]);
    echo.refused("echo-char", vec![json!("")]);
    for text in ["", "Hello, World!", "line\nbreak \u{0} \"quoted\" 日本"] {
        echo.same("echo-string", json!({"type": "string", "value": text}));
        echo.bare("echo-string", json!(text), json!({"type": "string", "value": text}));
    }
    echo.refused("echo-string", vec![json!(5)]);
    echo.refused("echo-u32", vec![json!("five")]);
    echo.refused("echo-u32", vec![json!(1.5)]);
    echo.refused("echo-bool", vec![json!("true")]);
    echo.refused("echo-string", vec![json!({"type": "u32", "value": 1})]);
}

fn compounds_come_back_as_they_went(platform: Platform) {
    let mut echo = Echo::start(platform);
    let twice = |echo: &mut Echo, function: &str, bare: Value| {
        let typed =
            echo.call(function, vec![bare.clone()]).unwrap_or_else(|e| panic!("{function} {bare}: {e}"));
        assert!(typed["type"].is_string() && typed.get("value").is_some(), "{function}: {typed}");
        echo.same(function, typed);
    };
    twice(&mut echo, "echo-list", json!([["a", "b"], [], ["c"]]));
    twice(&mut echo, "echo-tuple", json!([true, -5, "x"]));
    for value in [json!(null), json!(7)] {
        twice(&mut echo, "echo-option", value);
    }
    twice(&mut echo, "echo-result", json!({"ok": 1}));
    twice(&mut echo, "echo-result", json!({"err": "no"}));
    twice(&mut echo, "echo-half-result", json!({"err": "no"}));
    twice(&mut echo, "echo-point", json!({"x": 1, "y": -2}));
    twice(&mut echo, "echo-colour", json!("dark-blue"));
    twice(&mut echo, "echo-permissions", json!(["read", "execute-all"]));
    twice(&mut echo, "echo-permissions", json!([]));
    echo.refused("echo-tuple", vec![json!([true, -5])]);
    echo.refused("echo-point", vec![json!({"x": 1})]);
    echo.refused("echo-point", vec![json!({"x": 1, "y": 2, "z": 3})]);
    echo.refused("echo-colour", vec![json!("mauve")]);
    echo.refused("echo-permissions", vec![json!(["read", "fly"])]);
    echo.refused("echo-result", vec![json!({"ok": 1, "err": "no"})]);
    echo.refused("echo-list", vec![json!([["a"], 5])]);
}

fn bytes_are_integers_or_base64(platform: Platform) {
    let mut echo = Echo::start(platform);
    let from_integers =
        echo.call("echo-bytes", vec![json!({"type": "bytes", "value": [0, 1, 255]})]).unwrap();
    let from_base64 = echo.call("echo-bytes", vec![json!({"type": "bytes", "value": "AAH/"})]).unwrap();
    assert_eq!(from_integers, from_base64);
    echo.refused("echo-bytes", vec![json!({"type": "bytes", "value": [256]})]);
    echo.refused("echo-bytes", vec![json!({"type": "bytes", "value": "not base64!"})]);
    let many: Vec<u8> = (0..100_000u32).map(|n| (n % 256) as u8).collect();
    let count = echo.call("count", vec![json!(many)]).unwrap();
    assert_eq!(count["value"].as_u64().or_else(|| count["value"].as_str()?.parse().ok()), Some(100_000));
}

fn functions_are_found_by_name_or_refused_with_the_choices(platform: Platform) {
    let mut echo = Echo::start(platform);
    let joined = json!({"type": "string", "value": "a/2/true"});
    assert_eq!(echo.call("join", vec![json!("a"), json!(2), json!(true)]).unwrap(), joined);
    let named = json!({"first": "a", "third": true, "second": 2});
    let named = Params::Named(named.as_object().unwrap().clone());
    assert_eq!(echo.client.call("echo", "join", named).unwrap(), [joined]);
    echo.refused("join", vec![json!("a"), json!(2)]);
    echo.refused("join", vec![json!("a"), json!(2), json!(true), json!(4)]);
    assert_eq!(echo.call("nothing", vec![]).unwrap(), Value::Null);
    let only = echo.call("only-here", vec![]).unwrap();
    assert_eq!(echo.call("others#only-here", vec![]).unwrap(), only);
    assert_eq!(echo.call("test:echo/others@1.2.0#only-here", vec![]).unwrap(), only);
    for (function, words) in [("which", "others"), ("no-such-function", "no-such-function")] {
        match echo.call(function, vec![]) {
            Err(ClientError::Refused(error)) => {
                assert!(error.message.contains(words), "{function}: {}", error.message);
            }
            other => panic!("{function} gave {other:?}"),
        }
    }
}
