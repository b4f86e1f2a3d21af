//! What a server relies on of the decoder of client frames: the same result for every split of the stream, the
//! same meaning as a plain JSON reader, memory in proportion to what was sent, and a named error for the rest.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use boundary_wire::client::{
    BadFrame, Call, Command, DecodeError, Decoded, Envelope, Frame, FrameDecoder, Layer, Limits, Load,
    MAX_FRAME, Params, Position, Reply, Request, Schema, Secret, Syntax, Unload, decode_reply, encode_reply,
    encode_request,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn frame(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut out = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(text);
    out
}

fn wrapped(text: &str) -> Vec<u8> {
    frame(json!({ "Data": text.as_bytes() }).to_string())
}

fn feed_all(decoder: &mut FrameDecoder, mut input: &[u8], out: &mut Vec<Decoded>) {
    loop {
        let fed = decoder.feed(input);
        input = &input[fed.consumed..];
        match fed.decoded {
            Some(decoded) => out.push(decoded),
            None => return assert!(input.is_empty(), "bytes were left without a frame"),
        }
    }
}

fn decode(input: &[u8]) -> Vec<Decoded> {
    let mut out = Vec::new();
    feed_all(&mut FrameDecoder::new(Limits::default()), input, &mut out);
    out
}

fn one(input: &[u8]) -> Decoded {
    let mut all = decode(input);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn refused(text: &str) -> DecodeError {
    one(&frame(text)).expect_err("must be refused").error
}

fn syntax(text: &str) -> (Syntax, usize) {
    match refused(text) {
        DecodeError::Syntax { what, at: Position { layer: Layer::Frame, offset } } => (what, offset),
        other => panic!("{text}: {other:?}"),
    }
}

fn load(bytes: &[u8]) -> Command {
    Command::Load(Box::new(Load { name: "a".into(), bytes: bytes.into(), ..Load::default() }))
}

#[test]
fn the_words_and_the_spec_examples() {
    assert_eq!(one(&frame("\"Ping\"")), Ok(Frame::Ping));
    assert_eq!(one(&frame(" \"Healthz\"\n")), Ok(Frame::Healthz));
    let call = r#"{"wasm_call": {"app": "test-app", "function": "hello", "params": []}}"#;
    let command = Command::Call(Call::new("test-app", "hello", Params::default()));
    for (input, is_wrapped) in [(frame(call), false), (wrapped(call), true)] {
        let envelope = Envelope::new(command.clone());
        assert_eq!(one(&input), Ok(Frame::Envelope { envelope, wrapped: is_wrapped }));
    }
    assert_eq!(
        one(&wrapped(r#"{"wasm_list": {}}"#)),
        Ok(Frame::Envelope { envelope: Command::List.into(), wrapped: true })
    );
    let load_text = r#"{"wasm_load": {"name": "a", "bytes": [0, 97, 115, 109]}}"#;
    let expected = Ok(Frame::Envelope { envelope: load(b"\0asm").into(), wrapped: true });
    assert_eq!(one(&wrapped(load_text)), expected);
}

#[test]
fn every_field_of_a_load_arrives() {
    let text = r#"{"auth":"jwt","wasm_load":{"name":"a","bytes_base64":"AGFzbQ==","hostname":"h","encryption_key":"k",
        "route_prefix":"/r","max_fuel":1,"max_memory_bytes":2,"max_store_bytes":4,"max_store_keys":5,"timeout_ms":3,"env":{"A":"b"},"secrets":{"S":"t"},
        "egress":["e"],"version":"1","data_policy":"operator","log_policy":"none","access":"token"}}"#;
    let Ok(Frame::Envelope { envelope, wrapped: false }) = one(&frame(text)) else { panic!("refused") };
    assert_eq!(envelope.auth, Some(Secret::new("jwt")));
    let Command::Load(load) = &envelope.command else { panic!("not a load") };
    assert_eq!(load.bytes, b"\0asm");
    assert_eq!((load.max_fuel, load.max_memory_bytes, load.timeout_ms), (Some(1), Some(2), Some(3)));
    assert_eq!((load.max_store_bytes, load.max_store_keys), (Some(4), Some(5)));
    assert_eq!(load.secrets["S"].expose(), "t");
    // Written again it is the same request.
    let again = encode_request(&Request::Envelope(envelope.clone()), true).unwrap();
    assert_eq!(one(&again), Ok(Frame::Envelope { envelope, wrapped: true }));
}

#[test]
fn errors_name_the_field() {
    for (text, words) in [
        (r#"{"wasm_lod":{}}"#, &["unknown field `wasm_lod`", "wasm_load"][..]),
        (r#"{"wasm_call":{"app":"a","function":"f","parms":[]}}"#, &["unknown field `parms`"]),
        (r#"{"wasm_call":{"app":"a","app":"b","function":"f"}}"#, &["duplicate field `app`"]),
        (r#"{"wasm_call":{"app":"a","function":"f","params":[{"x":1,"x":2}]}}"#, &["duplicate field `x`"]),
        (r#"{"wasm_load":{"name":"a","bytes":[],"env":{"K":"1","K":"2"}}}"#, &["duplicate field `K`"]),
        (r#"{"wasm_load":{"bytes":[]}}"#, &["missing field `name`"]),
        (r#"{"wasm_load":{"name":"a"}}"#, &["missing field `bytes`"]),
        (r#"{"wasm_list":{},"wasm_list":{}}"#, &["duplicate field `wasm_list`"]),
        (r#"{"wasm_list":{},"challenge":{}}"#, &["exactly one command", "wasm_list", "challenge"]),
        (r#"{"auth":"x"}"#, &["no command"]),
        (r#"{"wasm_list":{"all":true}}"#, &["unknown field `all`"]),
        (r#"{"wasm_call":{"app":"a","function":"f","params":3}}"#, &["`params` is an array"]),
        ("\"Pong\"", &["\"Ping\" or \"Healthz\""]),
        ("[1]", &["an object with one command"]),
    ] {
        let error = refused(text);
        assert_eq!(error.code(), "bad-request");
        let message = error.to_string();
        assert!(!message.contains("column"), "columns of a text nobody sent: {message}");
        for word in words {
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}

#[test]
fn bytes_are_plain_integers_up_to_255() {
    let prefix = r#"{"wasm_load":{"name":"a","bytes":["#;
    for (array, what, offset) in [
        ("256]", Syntax::ByteOutOfRange, 2),
        ("1,-1]", Syntax::ByteNotPlain, 2),
        ("1.0]", Syntax::ByteNotPlain, 1),
        ("1e0]", Syntax::ByteNotPlain, 1),
        ("01]", Syntax::LeadingZero, 1),
        ("1,]", Syntax::Unexpected(b']'), 2),
        (",1]", Syntax::Unexpected(b','), 0),
        ("1 2]", Syntax::Unexpected(b'2'), 2),
        ("\"1\"]", Syntax::Unexpected(b'"'), 0),
    ] {
        let text = format!("{prefix}{array}}}}}");
        assert_eq!(syntax(&text), (what, prefix.len() + offset), "{array}");
    }
    let Err(BadFrame { error: DecodeError::Syntax { at, .. }, wrapped: true, .. }) =
        one(&wrapped(&format!("{prefix}999]}}}}")))
    else {
        panic!("accepted")
    };
    assert_eq!(at, Position { layer: Layer::Data, offset: prefix.len() + 2 });
}

#[test]
fn json_is_held_to_its_grammar() {
    for (text, what) in [
        (r#"{"a":1,}"#, Syntax::Unexpected(b'}')),
        ("[1,]", Syntax::Unexpected(b']')),
        (r#"{"a" 1}"#, Syntax::Unexpected(b'1')),
        ("{a:1}", Syntax::Unexpected(b'a')),
        ("nul", Syntax::Ends),
        ("nulL", Syntax::Unexpected(b'L')),
        ("[01]", Syntax::LeadingZero),
        ("[1.]", Syntax::Unexpected(b']')),
        ("[-]", Syntax::Unexpected(b']')),
        ("[+1]", Syntax::Unexpected(b'+')),
        ("{} {}", Syntax::Unexpected(b'{')),
        ("[}", Syntax::Unexpected(b'}')),
        ("", Syntax::Ends),
        (r#"["\ud800"]"#, Syntax::Surrogate),
        (r#"["\ud800\u0041"]"#, Syntax::Surrogate),
        (r#"["\udc00"]"#, Syntax::Surrogate),
        (r#"["\x41"]"#, Syntax::Escape),
        ("[\"\n\"]", Syntax::Control),
        (r#"{"Data":5}"#, Syntax::Data),
        (r#"{"Data":[123,125],"x":1}"#, Syntax::Data),
        (r#"{"Data":[]}"#, Syntax::Data),
        (r#"{"wasm_load":{"bytes":[1],"bytes":[2]}}"#, Syntax::SecondArtifact),
        (r#"{"wasm_load":{"bytes_base64":"A"}}"#, Syntax::Base64),
        (r#"{"wasm_load":{"bytes_base64":"AB=="}}"#, Syntax::Base64),
        (r#"{"wasm_load":{"bytes_base64":"AA=A"}}"#, Syntax::Base64),
    ] {
        if text.is_empty() {
            assert_eq!(one(&frame(text)).unwrap_err().error, DecodeError::EmptyFrame);
        } else {
            assert_eq!(syntax(text).0, what, "{text}");
        }
    }
    assert!(one(&frame(b"{\"auth\":\"\xff\",\"wasm_list\":{}}")).is_err(), "not UTF-8");
}

#[test]
fn limits_are_named() {
    let limits = Limits { frame: 1000, text: 100, values: 3000, depth: 4, number: 8 };
    let decode = |text: &str| FrameDecoder::new(limits).feed(&frame(text)).decoded.unwrap().unwrap_err();
    let what = |text: &str| match decode(text).error {
        DecodeError::Syntax { what, .. } => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what("[[[[[1]]]]]"), Syntax::TooDeep(4));
    assert_eq!(what("[123456789]"), Syntax::NumberTooLong(8));
    assert_eq!(what(&format!("[\"{}\"]", "x".repeat(200))), Syntax::TextTooLong(100));
    assert_eq!(what("[{},{},{},{},{}]"), Syntax::TooManyValues(3000));
    let bad = decode(&"x".repeat(1001));
    assert_eq!(bad.error, DecodeError::FrameTooLarge { length: 1001, limit: 1000 });
    assert!(bad.fatal && bad.error.code() == "frame-too-large");
    // Deep nesting at the default limit is refused and does not reach the stack.
    assert_eq!(syntax(&"[".repeat(100_000)).0, Syntax::TooDeep(64));
}

#[test]
fn a_bad_frame_costs_itself_only() {
    let mut stream = frame(r#"{"wasm_list":{},"nope":[1,2,3]}"#);
    stream.extend(frame("[1,,2]"));
    stream.extend(frame(""));
    stream.extend(frame("\"Ping\""));
    let all = decode(&stream);
    assert_eq!(all.len(), 4);
    assert!(all[..3].iter().all(|frame| matches!(frame, Err(bad) if !bad.fatal)));
    assert_eq!(all[3], Ok(Frame::Ping));
}

#[test]
fn after_a_frame_beyond_the_limit_nothing_is_read() {
    let mut decoder = FrameDecoder::new(Limits::default());
    let fed = decoder.feed(&[0xff; 4]);
    assert!(fed.decoded.unwrap().unwrap_err().fatal);
    let fed = decoder.feed(&frame("\"Ping\""));
    assert_eq!((fed.consumed, fed.decoded), (10, None));
}

/// A wrapped load costs up to 18 bytes of text for each byte of the artifact; what is held is the artifact.
#[test]
fn memory_follows_the_decoded_size() {
    let artifact = vec![200u8; 1 << 20];
    let request = Request::Envelope(load(&artifact).into());
    let input = encode_request(&request, true).unwrap();
    assert!(input.len() > 11 << 20, "the text is {} bytes", input.len());
    let mut decoder = FrameDecoder::new(Limits::default());
    let mut most = 0;
    let mut decoded = None;
    for piece in input.chunks(16 * 1024) {
        let fed = decoder.feed(piece);
        assert!(fed.decoded.is_none() || fed.consumed == piece.len());
        decoded = fed.decoded.or(decoded);
        most = most.max(decoder.held_bytes());
    }
    assert!(most <= 2 * artifact.len() + 64 * 1024, "held {most} bytes");
    assert_eq!(decoder.held_bytes(), 0);
    assert!(decoder.is_idle());
    let Some(Ok(Frame::Envelope { envelope, wrapped: true })) = decoded else { panic!("refused") };
    assert_eq!(envelope.command, load(&artifact));
}

#[test]
fn replies_are_what_the_protocol_prints() {
    let text = |reply: &Reply| String::from_utf8(encode_reply(reply, false)[4..].to_vec()).unwrap();
    assert_eq!(text(&Reply::Pong), "\"Pong\"");
    assert_eq!(text(&Reply::Healthz), r#"{"Healthz":{"status":"ok"}}"#);
    let returns = vec![json!({"type": "string", "value": "Hello, World!"})];
    assert_eq!(
        text(&Reply::Ok { returns }),
        r#"{"status":"ok","returns":[{"type":"string","value":"Hello, World!"}]}"#
    );
    assert_eq!(text(&Reply::Unloaded { name: "a".into() }), r#"{"status":"unloaded","name":"a"}"#);
    assert_eq!(text(&Reply::NotFound { name: "a".into() }), r#"{"status":"not_found","name":"a"}"#);
    assert_eq!(
        text(&Reply::error("bad-request", "why")),
        r#"{"status":"error","code":"bad-request","message":"why"}"#
    );
    assert_eq!(text(&Reply::Apps { apps: vec![] }), r#"{"status":"apps","apps":[]}"#);
}

#[test]
fn replies_come_back_in_both_forms() {
    for reply in [
        Reply::Pong,
        Reply::Healthz,
        Reply::Ok { returns: vec![json!({"type": "u8", "value": 255})] },
        Reply::Unloaded { name: "Ω".into() },
        Reply::Challenge { nonce: "n".into() },
        Reply::error("code", "message"),
    ] {
        for wrapped in [false, true] {
            let encoded = encode_reply(&reply, wrapped);
            let length = u32::from_be_bytes(encoded[..4].try_into().unwrap());
            assert_eq!(length as usize, encoded.len() - 4);
            assert_eq!(decode_reply(&encoded[4..]).unwrap(), reply);
        }
    }
}

#[test]
fn a_reply_that_fits_no_frame_becomes_an_error() {
    let returns = vec![Value::String("x".repeat(MAX_FRAME / 3))];
    let encoded = encode_reply(&Reply::Ok { returns }, true);
    assert!(encoded.len() < 4096);
    let Reply::Error(error) = decode_reply(&encoded[4..]).unwrap() else { panic!("not an error") };
    assert_eq!(error.code, "reply-too-large");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::List),
        Just(Command::Challenge),
        "\\PC{0,8}".prop_map(|name| Command::Unload(Unload { name })),
        "\\PC{0,8}".prop_map(|app| Command::Schema(Schema { app })),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| load(&bytes)),
        ("\\PC{0,8}", "\\PC{0,8}", prop::collection::vec(any_json(), 0..4)).prop_map(
            |(app, function, params)| {
                Command::Call(Call::new(&app, &function, Params::Positional(params)))
            }
        ),
    ]
}

fn stream(commands: &[(Command, bool)]) -> Vec<u8> {
    let encode = |(command, wrapped): &(Command, bool)| {
        encode_request(&Request::Envelope(command.clone().into()), *wrapped).unwrap()
    };
    commands.iter().flat_map(encode).collect()
}

/// Feeds the stream cut at arbitrary places.
fn decode_split(input: &[u8], cuts: &[prop::sample::Index]) -> Vec<Decoded> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.extend([0, input.len()]);
    cuts.sort_unstable();
    let mut decoder = FrameDecoder::new(Limits::default());
    let mut out = Vec::new();
    for piece in cuts.windows(2) {
        feed_all(&mut decoder, &input[piece[0]..piece[1]], &mut out);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_request_arrives_in_any_split(
        commands in prop::collection::vec((any_command(), any::<bool>()), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let expected: Vec<Decoded> = commands
            .iter()
            .map(|(command, wrapped)| {
                Ok(Frame::Envelope { envelope: command.clone().into(), wrapped: *wrapped })
            })
            .collect();
        prop_assert_eq!(decode_split(&stream(&commands), &cuts), expected);
    }

    #[test]
    fn a_damaged_stream_means_the_same_in_any_split(
        commands in prop::collection::vec((any_command(), any::<bool>()), 1..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut input = stream(&commands);
        for (at, byte) in damage {
            let at = at.index(input.len());
            input[at] = byte;
        }
        prop_assert_eq!(decode_split(&input, &cuts), decode(&input));
    }

    #[test]
    fn any_bytes_are_answered(input in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(&input);
        decode(&frame(&input));
        drop::<Result<Reply, _>>(decode_reply(&input));
    }

    /// The scanner and serde_json agree on what JSON is.
    #[test]
    fn any_text_of_json_characters_is_read_as_serde_json_reads_it(
        text in "[\\[\\]{}:,\"0-9a-f.eE+\\-\\\\u \n]{0,24}",
    ) {
        let reference = serde_json::from_str::<Value>(&text);
        let decoded = one_or_empty(&frame(&text));
        if let Some(Err(BadFrame { error: DecodeError::Syntax { what, .. }, .. })) = &decoded {
            prop_assert!(reference.is_err(), "{text:?}: {what}, but serde_json reads {reference:?}");
        }
        if reference.is_err() {
            prop_assert!(!matches!(decoded, Some(Ok(_))), "{text:?}");
        }
    }

    /// What plain serde reads of an envelope is what the decoder reads.
    #[test]
    fn envelopes_mean_what_serde_says(command in any_command(), pretty in any::<bool>()) {
        let envelope = Envelope::from(command);
        let text = if pretty { serde_json::to_string_pretty(&envelope) } else { serde_json::to_string(&envelope) };
        let text = text.unwrap();
        let reference: Envelope = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&reference, &envelope);
        for (input, wrapped) in [(frame(&text), false), (wrapped(&text), true)] {
            let expected = Ok(Frame::Envelope { envelope: reference.clone(), wrapped });
            prop_assert_eq!(one(&input), expected);
        }
    }

    #[test]
    fn base64_is_the_same_artifact(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes).replace('/', "\\/");
        let text = format!(r#"{{"wasm_load":{{"name":"a","bytes_base64":"{text}"}}}}"#);
        let expected = Ok(Frame::Envelope { envelope: load(&bytes).into(), wrapped: false });
        prop_assert_eq!(one(&frame(text)), expected);
    }
}

fn one_or_empty(input: &[u8]) -> Option<Decoded> {
    decode(input).into_iter().next()
}
