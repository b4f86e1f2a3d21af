use boundary_wire::client::{NamedType, Params, Variant, WitType};
use proptest::prelude::*;
use serde_json::{Value, json};
use wasmtime::component::Val;

use super::*;

fn named(name: &str, ty: WitType) -> NamedType {
    NamedType { name: name.to_owned(), ty }
}

fn list(ty: WitType) -> WitType {
    WitType::List(Box::new(ty))
}

fn option(ty: WitType) -> WitType {
    WitType::Option(Box::new(ty))
}

fn result_of(ok: Option<WitType>, err: Option<WitType>) -> WitType {
    WitType::Result { ok: ok.map(Box::new), err: err.map(Box::new) }
}

fn shape() -> WitType {
    WitType::Variant(vec![
        Variant { name: "circle".to_owned(), ty: Some(WitType::F64) },
        Variant { name: "empty".to_owned(), ty: None },
    ])
}

fn person() -> WitType {
    WitType::Record(vec![named("name", WitType::String), named("age", option(WitType::U8))])
}

fn read(json: Value, ty: &WitType) -> Result<Val, String> {
    arguments(&Params::Positional(vec![json]), &[named("p", ty.clone())])
        .map(|mut values| values.remove(0))
        .map_err(|error| error.0)
}

/// The only result.
fn out(value: Val, ty: &WitType) -> Value {
    let (mut results, _) = results(vec![value], std::slice::from_ref(ty)).unwrap();
    results.remove(0)
}

/// What a value of `ty` becomes on the way in and out again.
fn through(json: Value, ty: &WitType) -> Value {
    out(read(json, ty).unwrap(), ty)
}

#[test]
fn every_type_in_and_out() {
    let names = || vec!["a".to_owned(), "b".to_owned()];
    let cases = [
        (WitType::Bool, "bool", json!(true)),
        (WitType::S8, "s8", json!(-128)),
        (WitType::U8, "u8", json!(255)),
        (WitType::S16, "s16", json!(-32768)),
        (WitType::U16, "u16", json!(65535)),
        (WitType::S32, "s32", json!(i32::MIN)),
        (WitType::U32, "u32", json!(u32::MAX)),
        (WitType::S64, "s64", json!(-9007199254740991i64)),
        (WitType::U64, "u64", json!(9007199254740991u64)),
        (WitType::S64, "s64", json!("-9223372036854775808")),
        (WitType::U64, "u64", json!("18446744073709551615")),
        (WitType::F32, "f32", json!(0.1)),
        (WitType::F64, "f64", json!(-1.5e300)),
        (WitType::F64, "f64", json!("NaN")),
        (WitType::F32, "f32", json!("-Infinity")),
        (WitType::Char, "char", json!("é")),
        (WitType::String, "string", json!("Hello, World!")),
        (list(WitType::U8), "bytes", json!("AQL/")),
        (list(WitType::U16), "list", json!([1, 2])),
        (list(list(WitType::U8)), "list", json!(["", "AA=="])),
        (person(), "record", json!({ "name": "Ada", "age": 36 })),
        (person(), "record", json!({ "name": "Ada", "age": null })),
        (WitType::Tuple(vec![WitType::U8, WitType::String]), "tuple", json!([1, "x"])),
        (shape(), "variant", json!({ "circle": 1.5 })),
        (shape(), "variant", json!({ "empty": null })),
        (WitType::Enum(names()), "enum", json!("b")),
        (option(WitType::U8), "option", json!(null)),
        (option(WitType::U8), "option", json!(7)),
        (option(option(WitType::U8)), "option", json!(null)),
        (option(option(WitType::U8)), "option", json!({ "some": null })),
        (option(option(WitType::U8)), "option", json!({ "some": 7 })),
        (result_of(Some(WitType::U8), Some(WitType::String)), "result", json!({ "ok": 7 })),
        (result_of(Some(WitType::U8), Some(WitType::String)), "result", json!({ "err": "no" })),
        (result_of(None, None), "result", json!({ "ok": null })),
        (WitType::Flags(names()), "flags", json!(["b"])),
    ];
    for (ty, kind, value) in cases {
        let typed = json!({ "type": kind, "value": value });
        assert_eq!(through(value, &ty), typed, "bare {kind}");
        assert_eq!(through(typed.clone(), &ty), typed, "typed {kind}");
    }
}

#[test]
fn other_forms_that_mean_the_same() {
    let bytes = list(WitType::U8);
    assert_eq!(through(json!([1, 2, 255]), &bytes), through(json!("AQL/"), &bytes));
    assert_eq!(through(json!("AA"), &bytes), through(json!("AA=="), &bytes));
    assert_eq!(through(json!({ "type": "list", "value": [1] }), &bytes), through(json!("AQ=="), &bytes));
    assert_eq!(through(json!({ "type": "list<u8>", "value": "AQ==" }), &bytes), through(json!([1]), &bytes));
    assert_eq!(through(json!("empty"), &shape()), through(json!({ "empty": null }), &shape()));
    assert_eq!(
        through(json!({ "name": "Ada" }), &person()),
        through(json!({ "name": "Ada", "age": null }), &person())
    );
    assert_eq!(through(json!("5"), &WitType::U64), through(json!(5), &WitType::U64));
    let inner =
        json!({ "name": { "type": "string", "value": "Ada" }, "age": { "type": "option", "value": 36 } });
    assert_eq!(through(inner, &person()), through(json!({ "name": "Ada", "age": 36 }), &person()));
}

#[test]
fn what_does_not_fit_is_named_with_what_would() {
    let cases = [
        (WitType::U8, json!(256), "`p` is u8, given 256: a whole number from 0 to 255"),
        (WitType::U8, json!(-1), "from 0 to 255"),
        (WitType::U8, json!(1.5), "given 1.5"),
        (WitType::U8, json!("1"), "given \"1\""),
        (WitType::S64, json!("9223372036854775808"), "as a number or a string"),
        (WitType::U64, json!("+1"), "as a number or a string"),
        (WitType::U64, json!(" 1"), "as a number or a string"),
        (WitType::F32, json!(1e39), "a number in range"),
        (WitType::F64, json!("inf"), "\"Infinity\""),
        (WitType::Char, json!("ab"), "a string of one character"),
        (WitType::Char, json!(""), "a string of one character"),
        (WitType::String, json!(1), "a string"),
        (
            WitType::String,
            json!({ "type": "u32", "value": 1 }),
            "`p` is given as type \"u32\", but it is string",
        ),
        (list(WitType::U8), json!("?"), "base64"),
        (list(WitType::U8), json!([256]), "`p[0]` is u8"),
        (person(), json!({ "name": "x", "size": 1 }), "`p` has no field `size`"),
        (person(), json!({ "age": 1 }), "`p.name` is missing"),
        (list(person()), json!([{ "name": "x", "age": 300 }]), "`p[0].age` is u8, given 300"),
        (WitType::Tuple(vec![WitType::U8]), json!([1, 2]), "an array of 1"),
        (shape(), json!({ "square": 1 }), "variant { circle(f64), empty }"),
        (shape(), json!({ "empty": 1 }), "`p.empty` carries no value"),
        (shape(), json!({ "circle": 1, "empty": null }), "one of the cases"),
        (WitType::Enum(vec!["a".to_owned()]), json!("b"), "enum { a }"),
        (option(option(WitType::U8)), json!(1), "null, or {\"some\": value}"),
        (result_of(None, None), json!(null), "{\"ok\": value} or {\"err\": value}"),
        (WitType::Flags(vec!["a".to_owned()]), json!(["b"]), "flags { a }"),
        (WitType::Resource, json!(1), "a handle cannot be sent"),
    ];
    for (ty, value, part) in cases {
        let error = read(value.clone(), &ty).unwrap_err();
        assert!(error.contains(part), "{value} as {}: {error}", text(&ty));
    }
}

#[test]
fn parameters_by_position_and_by_name() {
    let signature = [named("key", WitType::String), named("value", option(WitType::String))];
    let read = |json: Value| arguments(&serde_json::from_value(json).unwrap(), &signature).map_err(|e| e.0);
    let expected = vec![Val::String("k".to_owned()), Val::Option(None)];
    assert_eq!(read(json!(["k", null])).unwrap(), expected);
    assert_eq!(read(json!({ "key": "k" })).unwrap(), expected);
    assert_eq!(read(json!({ "value": null, "key": "k" })).unwrap(), expected);
    let all = "(key: string, value: option<string>)";
    assert_eq!(read(json!(["k"])).unwrap_err(), format!("1 parameter given, 2 needed: {all}"));
    assert_eq!(read(json!({ "kee": 1 })).unwrap_err(), format!("there is no parameter `kee`: {all}"));
    assert_eq!(read(json!({ "value": "v" })).unwrap_err(), "parameter `key` is missing: it is string");
}

#[test]
fn the_number_of_values_is_bounded() {
    let bytes = list(WitType::U8);
    let error = read(Value::String("A".repeat(MAX_VALUES / 3 * 4 + 8)), &bytes).unwrap_err();
    assert!(error.contains("more than 1048576 values"), "{error}");
    assert!(read(Value::Array(vec![json!(0); MAX_VALUES]), &bytes).is_err());
    assert!(read(Value::String("A".repeat(MAX_VALUES / 3 * 4 - 4)), &bytes).is_ok());
}

fn any_type() -> impl Strategy<Value = WitType> {
    let leaf = prop_oneof![
        Just(WitType::Bool),
        Just(WitType::S8),
        Just(WitType::U32),
        Just(WitType::S64),
        Just(WitType::F32),
        Just(WitType::F64),
        Just(WitType::Char),
        Just(WitType::String),
        Just(WitType::Enum(vec!["x".to_owned(), "y".to_owned()])),
        Just(WitType::Flags(vec!["r".to_owned(), "w".to_owned()])),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(list),
            inner.clone().prop_map(option),
            proptest::collection::vec(inner.clone(), 1..3).prop_map(WitType::Tuple),
            (proptest::option::of(inner.clone()), proptest::option::of(inner.clone()))
                .prop_map(|(ok, err)| result_of(ok, err)),
            (inner.clone(), inner).prop_map(|(a, b)| WitType::Record(vec![named("a", a), named("b", b)])),
        ]
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from),
        Just(json!("NaN")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("a|b|ok|err|some|type|value", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is read has a reply that reads as the same value: nothing is ambiguous, nothing panics.
    #[test]
    fn what_is_read_survives_the_way_out_and_in(ty in any_type(), json in any_json()) {
        if let Ok(value) = read(json, &ty) {
            let typed = out(value.clone(), &ty);
            let again = out(read(typed.clone(), &ty).unwrap(), &ty);
            prop_assert_eq!(typed, again);
        }
    }
}

/// Bytes of a value's JSON, as memory and as text, and what was taken of the budget for them.
fn costs(value: Val, ty: &WitType) -> (usize, usize, usize) {
    fn memory(value: &Value) -> usize {
        let inside = match value {
            Value::String(text) => text.capacity(),
            Value::Array(items) => items.iter().map(memory).sum(),
            // A tree of nodes with room for eleven members, of which one alone may be taken.
            Value::Object(members) => {
                let nodes = members.len().div_ceil(11).max(1);
                let node = 16 + 11 * (size_of::<String>() + size_of::<Value>());
                nodes * node + members.iter().map(|(name, value)| name.len() + memory(value)).sum::<usize>()
            }
            _ => 0,
        };
        size_of::<Value>() + inside
    }
    let (results, taken) = results(vec![value], std::slice::from_ref(ty)).unwrap();
    let value = &results[0]["value"];
    (memory(value), value.to_string().len(), taken)
}

#[test]
fn what_json_takes_is_taken_from_the_budget() {
    let one_field = WitType::Record(vec![named("a", WitType::U8)]);
    let flags = WitType::Flags(vec!["a".to_owned(), "b".to_owned()]);
    let cases = [
        (list(WitType::U8), json!([1, 2, 3, 4])),
        (list(WitType::U64), json!(vec![u64::MAX.to_string(); 50])),
        (WitType::String, json!("\u{1}\u{2}\"\\\n plain ü".repeat(100))),
        (list(one_field), json!(vec![json!({"a": 1}); 100])),
        (list(flags), json!(vec![json!(["a", "b"]); 100])),
        (list(shape()), json!(vec![json!({"circle": 1.5e300}); 100])),
        (list(option(option(WitType::Bool))), json!(vec![json!({"some": true}); 100])),
        (list(result_of(Some(WitType::Char), None)), json!(vec![json!({"ok": "x"}); 100])),
    ];
    for (ty, json) in cases {
        let (memory, text, taken) = costs(read(json, &ty).unwrap(), &ty);
        assert!(taken >= text, "{}: {taken} taken for {text} bytes of text", text_of(&ty));
        assert!(taken * 5 / 4 + 64 >= memory, "{}: {taken} taken for {memory} bytes", text_of(&ty));
    }
}

#[test]
fn results_are_bounded_by_what_their_json_takes() {
    let many = |n| Val::List(vec![Val::Record(vec![("a".to_owned(), Val::U8(1))]); n]);
    let ty = list(WitType::Record(vec![named("a", WitType::U8)]));
    assert!(results(vec![many(10_000)], std::slice::from_ref(&ty)).is_ok());
    assert_eq!(results(vec![many(150_000)], std::slice::from_ref(&ty)).unwrap_err(), TooLarge);
    // Short, but six times as long once it is written.
    let control = Val::String("\u{1}".repeat(MAX_RESULTS / 6));
    assert_eq!(results(vec![control], &[WitType::String]).unwrap_err(), TooLarge);
}

fn text_of(ty: &WitType) -> String {
    text(ty)
}
