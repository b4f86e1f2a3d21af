use super::*;

fn policy() -> ImagePolicy {
    ImagePolicy {
        development: false,
        served_names: vec!["enclave.example.com".into(), "localhost".into()],
        egress_ca_pem: Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into()),
        interop: true,
        operators: vec![Operator {
            name: "ops@example.com".into(),
            role: Role::Manager,
            key: PublicKey::Ed25519([5; 32]),
        }],
        code_signing: vec![CodeSigner { name: "release".into(), key: PublicKey::P256([4; 65]) }],
    }
}

#[test]
fn a_page_is_read_back() {
    let page = policy().to_page().unwrap();
    assert_eq!(ImagePolicy::from_page(&page).unwrap(), policy());
    let closed = ImagePolicy::default();
    assert_eq!(
        String::from_utf8(closed.to_page().unwrap()).unwrap(),
        r#"{"code_signing":[],"development":false,"format":1,"operators":[],"served_names":[]}"#
    );
    assert_eq!(ImagePolicy::from_page(&closed.to_page().unwrap()).unwrap(), closed);
    assert_eq!(ImagePolicy::from_page(b"").unwrap(), closed, "an empty page grants nothing");
    let spelled_out =
        br#"{"code_signing":[],"development":false,"format":1,"interop":false,"operators":[],"served_names":[]}"#;
    assert!(matches!(ImagePolicy::from_page(spelled_out), Err(PageError::NotCanonical)));
}

#[test]
fn one_policy_has_one_page() {
    let page = String::from_utf8(policy().to_page().unwrap()).unwrap();
    let spaced = page.replacen(':', ": ", 1);
    assert!(matches!(ImagePolicy::from_page(spaced.as_bytes()), Err(PageError::NotCanonical)));
    let padded = format!("{page}\n");
    assert!(matches!(ImagePolicy::from_page(padded.as_bytes()), Err(PageError::NotCanonical)));
    let null = page.replacen(r#""format":1"#, r#""egress_ca_pem":null,"format":1"#, 1);
    assert!(ImagePolicy::from_page(null.as_bytes()).is_err());
}

#[test]
fn unknown_keys_formats_and_sizes_are_refused() {
    let page = String::from_utf8(ImagePolicy::default().to_page().unwrap()).unwrap();
    let more = page.replacen('{', r#"{"admin":true,"#, 1);
    let error = ImagePolicy::from_page(more.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("admin"), "{error}");
    let next = page.replace(r#""format":1"#, r#""format":2"#);
    assert!(matches!(ImagePolicy::from_page(next.as_bytes()), Err(PageError::Format(2))));
    assert!(matches!(ImagePolicy::from_page(&vec![b' '; MAX_PAGE + 1]), Err(PageError::TooLarge(_))));
    for bytes in [&b"{"[..], b"\0\0\0\0", b"[]", b"null", b"\xff"] {
        assert!(matches!(ImagePolicy::from_page(bytes), Err(PageError::Json(_))));
    }
}

#[test]
fn rules_of_the_page() {
    for bad in
        ["", "*.example.com", "Example.com", "a..b", "-a", "127.0.0.1", "a_b", "a b", &"a.".repeat(127)]
    {
        let policy = ImagePolicy { served_names: vec![bad.into()], ..Default::default() };
        assert!(matches!(policy.to_page(), Err(PageError::ServedName(_))), "{bad:?}");
    }
    let twice = ImagePolicy { served_names: vec!["a".into(), "a".into()], ..Default::default() };
    assert!(matches!(twice.to_page(), Err(PageError::Twice { .. })));
    let many = ImagePolicy { served_names: (0..65).map(|i| format!("n{i}")).collect(), ..Default::default() };
    assert!(matches!(many.to_page(), Err(PageError::TooMany { count: 65, .. })));
    let mut same_key = policy();
    same_key.operators.push(Operator { name: "second".into(), ..same_key.operators[0].clone() });
    assert!(matches!(same_key.to_page(), Err(PageError::Twice { list: "operators", .. })));
    let mut named = policy();
    named.code_signing[0].name = "two words".into();
    assert!(matches!(named.to_page(), Err(PageError::EntryName { .. })));
    for bad in [
        "",
        "no pem",
        "-----BEGIN CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    ] {
        let policy = ImagePolicy { egress_ca_pem: Some(bad.into()), ..Default::default() };
        assert!(matches!(policy.to_page(), Err(PageError::EgressCa)), "{bad:?}");
    }
}

const P256_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqnWtv6fPsL0MtAMW5ZH+Jd+wAX4K\n9mYfzU7CDr6pKRQCfgdUSZws19fWnovbDz4f1jfu7JJfXQNOLyudYcarIQ==\n-----END PUBLIC KEY-----\n";
const ED25519_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAhKA5onfVJxLsfzc2+YgU/dsMdi37wIt+O7NytoeMOj8=\n-----END PUBLIC KEY-----\n";

#[test]
fn keys_come_as_pem_or_jwk() {
    let PublicKey::P256(point) = PublicKey::parse(P256_PEM).unwrap() else { panic!("not P-256") };
    use base64::Engine;
    let part = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let (x, y) = (part(&point[1..33]), part(&point[33..]));
    let jwk = format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","kid":"1"}}"#);
    assert_eq!(PublicKey::parse(&jwk).unwrap(), PublicKey::P256(point));
    let with_d = jwk.replace("\"kid\":\"1\"", "\"d\":\"AAAA\"");
    assert_eq!(PublicKey::parse(&with_d), Err(KeyError::Private));
    assert!(matches!(PublicKey::parse(ED25519_PEM).unwrap(), PublicKey::Ed25519(_)));
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
    assert_eq!(PublicKey::parse(private), Err(KeyError::Private));
    assert_eq!(PublicKey::parse(&jwk.replace("P-256", "P-384")), Err(KeyError::Algorithm));
    for bad in ["", "{}", "hello", &format!("{P256_PEM}{P256_PEM}")] {
        assert_eq!(PublicKey::parse(bad), Err(KeyError::Form), "{bad:?}");
    }
}

#[test]
fn a_key_has_one_name_and_one_pem() {
    // RFC 8037 §A.3.
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let key = PublicKey::parse(jwk).unwrap();
    assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    // openssl, and `{"crv":"P-256","kty":"EC","x":…,"y":…}` through sha256sum.
    let key = PublicKey::parse(P256_PEM).unwrap();
    assert_eq!(key.to_pem(), P256_PEM);
    assert_eq!(PublicKey::parse(ED25519_PEM).unwrap().to_pem(), ED25519_PEM);
    assert_eq!(key.thumbprint(), "zjgNui-zhhauws2rXioDfcnLz-I4YQPlAS7I78CA6Ik");
    assert_eq!(PublicKey::from_text(&key.to_text()), Some(key));
}

#[cfg(feature = "toml")]
#[test]
fn a_policy_file_becomes_a_policy() {
    let text = r#"
        development = true
        served_names = ["localhost"]
        egress_ca = "ca.pem"
        [[operators]]
        name = "alice"
        role = "monitoring"
        key = "alice.pem"
    "#;
    let read = |path: &str| match path {
        "ca.pem" => Ok(format!("# Our CA\n\n{}and that is all\n", policy().egress_ca_pem.unwrap())),
        "alice.pem" => Ok(ED25519_PEM.to_owned()),
        _ => Err("no such file"),
    };
    let read_policy = ImagePolicy::from_toml(text, read).unwrap();
    assert!(read_policy.development);
    assert_eq!(read_policy.operators[0].role, Role::Monitoring);
    assert_eq!(read_policy.egress_ca_pem, policy().egress_ca_pem, "comments are no part of the page");

    let missing = ImagePolicy::from_toml(r#"egress_ca = "nowhere""#, read).unwrap_err().to_string();
    assert!(missing.contains("nowhere") && missing.contains("no such file"), "{missing}");
    let unknown = ImagePolicy::from_toml("developement = true", read).unwrap_err().to_string();
    assert!(unknown.contains("developement"), "{unknown}");
    assert_eq!(ImagePolicy::from_toml("", read).unwrap(), ImagePolicy::default());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    #[test]
    fn a_damaged_page_is_refused_or_is_another_policy(at: proptest::sample::Index, byte: u8) {
        let mut page = policy().to_page().unwrap();
        let at = at.index(page.len());
        let before = std::mem::replace(&mut page[at], byte);
        match ImagePolicy::from_page(&page) {
            Ok(read) => assert_eq!(read == policy(), byte == before),
            Err(_) => assert_ne!(byte, before),
        }
    }
}
