use super::*;

const KEY: PublicKey = PublicKey::Ed25519([5; 32]);

fn token() -> Token {
    Token {
        aud: "ab".repeat(32),
        iat: 1_000,
        nbf: None,
        exp: 1_300,
        role: Role::App,
        apps: Some(vec!["shop".into()]),
        nonce: None,
        iss: None,
        sub: None,
        jti: None,
    }
}

fn signed<C: Claims>(claims: &C) -> String {
    let signature = |_: &[u8]| Ok::<_, std::convert::Infallible>([7; 64]);
    encode(claims, &KEY, None, signature).unwrap()
}

/// A JWT of any header and payload.
fn raw(header: &str, payload: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part(payload), URL_SAFE_NO_PAD.encode([7; 64]))
}

const HEADER: &str = r#"{"alg":"EdDSA","typ":"enclave-os-token+jwt","kid":"k"}"#;
const PAYLOAD: &str = r#"{"aud":"a","iat":1,"exp":2,"role":"app","apps":["a"]}"#;

fn refused(header: &str) -> TokenError {
    Signed::<Token>::parse(&raw(header, PAYLOAD)).unwrap_err()
}

fn claims(payload: &str) -> Result<Token, TokenError> {
    Signed::<Token>::parse(&raw(HEADER, payload)).unwrap().claims()
}

#[test]
fn a_token_is_read_back() {
    let text = signed(&token());
    let parsed = Signed::<Token>::parse(&text).unwrap();
    assert_eq!(parsed.claims().unwrap(), token());
    assert_eq!((parsed.algorithm(), parsed.kid()), (Algorithm::EdDsa, KEY.thumbprint().as_str()));
    assert_eq!(parsed.message(), text.rsplit_once('.').unwrap().0.as_bytes());
    assert_eq!((parsed.signature(), parsed.delegation()), (&[7; 64], None));
}

#[test]
fn one_kind_is_never_taken_for_the_other() {
    let delegation = Delegation { key: KEY, role: Role::Manager, nbf: 1, exp: 2, apps: None, sub: None };
    let text = signed(&delegation);
    assert_eq!(Signed::<Delegation>::parse(&text).unwrap().claims().unwrap(), delegation);
    assert!(matches!(Signed::<Token>::parse(&text), Err(TokenError::Type { .. })));
    assert!(matches!(Signed::<Delegation>::parse(&signed(&token())), Err(TokenError::Type { .. })));
    // Nor by its claims, should the type be wrong.
    assert!(matches!(claims(&serde_json::to_string(&delegation).unwrap()), Err(TokenError::Json { .. })));
    let nested = r#"{"alg":"EdDSA","typ":"enclave-os-delegation+jwt","kid":"k","delegation":"x"}"#;
    let nested = raw(nested, PAYLOAD);
    assert_eq!(Signed::<Delegation>::parse(&nested).unwrap_err(), TokenError::Delegated);
}

#[test]
fn headers_are_strict() {
    Signed::<Token>::parse(&raw(HEADER, PAYLOAD)).unwrap();
    for algorithm in ["none", "None", "", "HS256", "RS256", "ES256K", "ES384", "es256"] {
        assert_eq!(refused(&HEADER.replace("EdDSA", algorithm)), TokenError::Algorithm(algorithm.into()));
    }
    assert!(matches!(refused(&HEADER.replace("enclave-os-token+jwt", "JWT")), TokenError::Type { .. }));
    assert_eq!(refused(&HEADER.replace("}", r#","crit":["b64"]}"#)), TokenError::Critical);
    assert_eq!(refused(&HEADER.replace("}", r#","crit":[]}"#)), TokenError::Critical);
    for (added, named) in [
        (r#","kid":"l""#, "duplicate field `kid`"),
        (r#","alg":"none""#, "duplicate field `alg`"),
        (r#","jwk":{}"#, "unknown field `jwk`"),
        (r#","delegation":null"#, "null"),
    ] {
        let error = refused(&HEADER.replace("}", &format!("{added}}}"))).to_string();
        assert!(error.contains(named), "{error}");
    }
    for bad in ["", "[]", "null", "{", "{}", r#"{"alg":"EdDSA","typ":"enclave-os-token+jwt"}"#] {
        assert!(matches!(refused(bad), TokenError::Json { part: "header", .. }), "{bad}");
    }
}

#[test]
fn claims_are_strict() {
    claims(PAYLOAD).unwrap();
    for (from, to, named) in [
        ("\"exp\":2", "\"exp\":2,\"exp\":9", "duplicate field `exp`"),
        ("\"exp\":2", "\"exp\":2.0", "floating point"),
        ("\"exp\":2", "\"exp\":\"2\"", "string"),
        ("\"exp\":2", "\"exp\":-2", "integer `-2`"),
        ("\"exp\":2", "\"exp\":1e400", "number out of range"),
        ("\"exp\":2", "\"exp\":18446744073709551616", "floating point"),
        ("\"exp\":2,", "", "missing field `exp`"),
        ("\"iat\":1,", "", "missing field `iat`"),
        ("\"aud\":\"a\"", "\"aud\":[\"a\"]", "sequence"),
        ("\"app\"", "\"admin\"", "unknown variant `admin`"),
        ("\"apps\"", "\"aps\"", "unknown field `aps`"),
        ("[\"a\"]", "null", "null"),
        ("[\"a\"]", "[1]", "integer"),
        ("\"iat\":1", "\"iat\":1,\"nonce\":null", "null"),
        ("}", "}}", "trailing"),
    ] {
        let error = claims(&PAYLOAD.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(named), "{to}: {error}");
    }
    assert_eq!(claims(&PAYLOAD.replace("[\"a\"]", "[]")).unwrap_err(), TokenError::Apps(0));
    let many = serde_json::to_string(&vec!["a"; 65]).unwrap();
    assert_eq!(claims(&PAYLOAD.replace("[\"a\"]", &many)).unwrap_err(), TokenError::Apps(65));
    assert!(claims(&"[".repeat(3000)).is_err());
}

#[test]
fn only_the_compact_form_in_strict_base64url_is_taken() {
    let good = signed(&token());
    let parse = |text: &str| Signed::<Token>::parse(text).map(|_| ()).unwrap_err();
    let parts: Vec<_> = good.split('.').collect();
    assert_eq!(parse(""), TokenError::Compact);
    assert_eq!(parse(parts[0]), TokenError::Compact);
    assert_eq!(parse(&format!("{}.{}", parts[0], parts[1])), TokenError::Compact);
    assert_eq!(parse(&format!("{good}.x")), TokenError::Compact);
    assert_eq!(parse(r#"{"payload":"","signatures":[]}"#), TokenError::Compact);
    assert_eq!(parse(&format!("{good}=")), TokenError::Base64("signature"));
    assert_eq!(parse(&format!("{good} ")), TokenError::Base64("signature"));
    assert_eq!(parse(&good.replacen('e', "+", 1)), TokenError::Base64("header"));
    // 64 bytes leave four bits of their last character: all but zero are another spelling of the same.
    let other_bits = format!("{}x", &good[..good.len() - 1]);
    assert_eq!(parse(&other_bits), TokenError::Base64("signature"));
    assert_eq!(parse(&format!("{}.{}.", parts[0], parts[1])), TokenError::SignatureLength(0));
    assert_eq!(parse(&good[..good.len() - 2]), TokenError::SignatureLength(63));
    assert_eq!(parse(&"a".repeat(MAX_TOKEN + 1)), TokenError::TooLong(MAX_TOKEN + 1));
}

#[test]
fn what_was_meant_as_a_token_is_known() {
    let good = signed(&token());
    let header = |text: &str| format!("{}.x.y", URL_SAFE_NO_PAD.encode(text));
    for one in [
        good.as_str(),
        &format!("  {good} "),
        &good[..good.len() / 2],
        &format!("{good}.more"),
        &header(r#"{"typ":"enclave-os-token+jwt"}"#),
        &header(r#"{"typ":"application/Enclave-OS-Token+JWT","alg":"none"}"#),
        &header(r#"{"typ":"enclave-os-delegation+jwt","jwk":{}}"#),
        &format!("{}=.x", URL_SAFE_NO_PAD.encode(r#"{ "typ":"enclave-os-token+jwt"}"#)),
    ] {
        assert!(is_one(one), "{one}");
    }
    for other in ["", "abc", "a.b.c", &header(r#"{"typ":"JWT"}"#), &header("[]"), &header("null")] {
        assert!(!is_one(other), "{other}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(512))]

    #[test]
    fn a_changed_token_is_refused_or_says_something_else(at: proptest::sample::Index, byte in 0x20_u8..0x7f) {
        let good = signed(&token());
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        if let Ok(parsed) = Signed::<Token>::parse(&changed) {
            let read = (parsed.message().to_vec(), *parsed.signature());
            let first = Signed::<Token>::parse(&good).unwrap();
            let before = (first.message().to_vec(), *first.signature());
            proptest::prop_assert_eq!(read == before, changed == good);
        }
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}", header in "\\PC{0,80}", payload in "\\PC{0,80}") {
        let _ = (Signed::<Token>::parse(&text).is_ok(), is_one(&text), is_one(&raw(&header, &payload)));
        if let Ok(parsed) = Signed::<Token>::parse(&raw(HEADER, &payload)) {
            drop(parsed.claims());
        }
        proptest::prop_assert!(Signed::<Delegation>::parse(&raw(&header, &payload)).is_err());
    }
}
