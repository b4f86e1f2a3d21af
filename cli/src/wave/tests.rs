use enclave_os_client::{NamedType, Variant};
use serde_json::json;

use super::*;

fn export(params: Vec<WitType>, results: Vec<WitType>) -> ExportSchema {
    let params =
        params.into_iter().enumerate().map(|(n, ty)| NamedType { name: format!("p{n}"), ty }).collect();
    ExportSchema { name: "f".into(), params, results }
}

fn boxed(ty: WitType) -> Box<WitType> {
    Box::new(ty)
}

#[test]
fn a_call_is_a_name_and_parameters() {
    assert_eq!(split_call("hello"), ("hello", ""));
    assert_eq!(split_call(" hello() "), ("hello", "()"));
    assert_eq!(split_call("a:b/c@1.0.0#run(\"(\")"), ("a:b/c@1.0.0#run", "(\"(\")"));
}

#[test]
fn parameters_become_the_protocols_json() {
    let result = WitType::Result { ok: Some(boxed(WitType::U8)), err: None };
    let record = WitType::Record(vec![
        NamedType { name: "a".into(), ty: WitType::U64 },
        NamedType { name: "b".into(), ty: WitType::Option(boxed(WitType::String)) },
    ]);
    let variant = WitType::Variant(vec![
        Variant { name: "none-of-it".into(), ty: None },
        Variant { name: "some-of-it".into(), ty: Some(WitType::Char) },
    ]);
    let nested = WitType::Option(boxed(WitType::Option(boxed(WitType::U8))));
    for (ty, wave, expected) in [
        (WitType::String, r#"("hi")"#, json!("hi")),
        (WitType::U64, "(18446744073709551615)", json!(u64::MAX)),
        (WitType::F64, "(-inf)", json!("-Infinity")),
        (WitType::List(boxed(WitType::U8)), "([1, 2])", json!([1, 2])),
        (WitType::Tuple(vec![WitType::Bool, WitType::S8]), "((true, -1))", json!([true, -1])),
        (record.clone(), "({a: 1})", json!({"a": 1, "b": null})),
        (record, r#"({a: 1, b: some("x")})"#, json!({"a": 1, "b": "x"})),
        (variant.clone(), "(none-of-it)", json!("none-of-it")),
        (variant, "(some-of-it('x'))", json!({"some-of-it": "x"})),
        (nested.clone(), "(some(none))", json!({"some": null})),
        (nested, "(some(some(1)))", json!({"some": 1})),
        (result.clone(), "(ok(7))", json!({"ok": 7})),
        (result, "(err)", json!({"err": null})),
        (WitType::Enum(vec!["red".into(), "blue".into()]), "(blue)", json!("blue")),
        (WitType::Flags(vec!["r".into(), "w".into()]), "({w, r})", json!(["r", "w"])),
    ] {
        let export = export(vec![ty], vec![]);
        assert_eq!(parse_params(wave, &export).unwrap(), [expected], "{wave}");
    }
}

#[test]
fn what_is_shown_can_be_typed_again() {
    let list = WitType::List(boxed(WitType::U8));
    for (ty, value, wave) in [
        (WitType::String, json!("a\"b\n"), r#""a\"b\n""#),
        (WitType::S64, json!("-9223372036854775808"), "-9223372036854775808"),
        (WitType::F32, json!("NaN"), "nan"),
        (list.clone(), json!("AQID"), "[1, 2, 3]"),
        (list, json!([1]), "[1]"),
        (WitType::Option(boxed(WitType::Bool)), json!(null), "none"),
        (WitType::Result { ok: None, err: Some(boxed(WitType::String)) }, json!({"err":"x"}), "err(\"x\")"),
    ] {
        let shown = show(&value, &ty).unwrap();
        assert_eq!(shown, wave);
        let export = export(vec![ty.clone()], vec![]);
        let again = parse_params(&format!("({shown})"), &export).unwrap();
        assert_eq!(show(&again[0], &ty).unwrap(), wave);
    }
}

#[test]
fn wrong_parameters_are_named() {
    let two = export(vec![WitType::String, WitType::U8], vec![]);
    for (wave, words) in [
        ("", "missing"),
        ("(\"a\")", "missing required param"),
        ("(\"a\", 256)", "at `256`"),
        ("(true, 1)", "at `true`"),
        ("(\"a\", 1, 2)", "more param(s) than expected"),
        ("(", "unexpected end"),
    ] {
        let error = parse_params(wave, &two).unwrap_err();
        assert!(error.contains(words), "{wave}: {error}");
    }
    assert!(parse_params("(1)", &export(vec![], vec![])).is_err());
    assert!(parse_params("(1)", &export(vec![WitType::Resource], vec![])).is_err());
}

#[test]
fn options_at_the_end_may_be_left_out() {
    let optional = || WitType::Option(boxed(WitType::U8));
    assert_eq!(parse_params("", &export(vec![optional()], vec![])).unwrap(), [Json::Null]);
    let two = export(vec![WitType::U8, optional()], vec![]);
    assert_eq!(parse_params("(1)", &two).unwrap(), [json!(1), Json::Null]);
}

#[test]
fn answers_that_do_not_fit_their_type_are_errors() {
    for (ty, value) in [
        (WitType::U8, json!(256)),
        (WitType::Char, json!("ab")),
        (WitType::Enum(vec!["a".into()]), json!("b")),
        (WitType::Tuple(vec![WitType::U8]), json!([1, 2])),
        (WitType::Result { ok: None, err: None }, json!({"maybe": null})),
        (WitType::Tuple(vec![]), json!([])),
        (WitType::List(boxed(WitType::U8)), json!("not base64!")),
    ] {
        assert!(show(&value, &ty).is_err(), "{value}");
    }
}

#[test]
fn signatures_read_as_wit() {
    let export = ExportSchema {
        name: "kv-store".into(),
        params: vec![
            NamedType { name: "key".into(), ty: WitType::String },
            NamedType { name: "value".into(), ty: WitType::List(boxed(WitType::U8)) },
        ],
        results: vec![WitType::Result { ok: None, err: Some(boxed(WitType::String)) }],
    };
    assert_eq!(signature(&export), "kv-store: func(key: string, value: list<u8>) -> result<_, string>;");
}
