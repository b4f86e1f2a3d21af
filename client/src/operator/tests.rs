#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use super::*;

/// Throw-away keys of `openssl genpkey -algorithm ed25519` and `openssl ecparam -genkey -name prime256v1`.
const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIK7LW+KHF1o75lEJUHNNIJIeUZHWnSRGQUWIcT/b9O1r
-----END PRIVATE KEY-----
";
const SEC1: &str = "-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEILgk4JClhlx1V3RbEq1RUeb2ipZHOA8bXwILGQKppjlIoAoGCCqGSM49
AwEHoUQDQgAEH4ilHju18ZaRkrGsYDZxJzSEaAqIQ/HbLAWudcsnJjb6zj8c8o+d
3zE+FVvwTrYWShCXUvojWr1bj5D04xqo0Q==
-----END EC PRIVATE KEY-----
";

fn both() -> [OperatorKey; 2] {
    [Algorithm::Es256, Algorithm::EdDsa].map(|algorithm| OperatorKey::generate(algorithm).unwrap())
}

fn delegation(key: &OperatorKey) -> Delegation {
    let apps = Some(vec!["shop".to_owned()]);
    Delegation { key: key.public(), role: Role::App, nbf: 1, exp: 2, apps, sub: None }
}

#[test]
fn a_key_file_is_read_back() {
    for key in both() {
        let text = key.to_pem().unwrap();
        let read = OperatorKey::from_pem(&format!("A comment.\n\n{}and more\n", text.expose())).unwrap();
        assert_eq!(read.public(), key.public());
        assert!(read.delegation().is_none());
        assert_eq!(read.to_pem().unwrap(), text);
        assert!(!format!("{read:?}").contains(&text.expose()[40..60]));
    }
    let key = OperatorKey::from_pem(ED25519).unwrap();
    assert!(matches!(key.public(), PublicKey::Ed25519(_)));
    assert!(matches!(OperatorKey::from_pem(SEC1).unwrap().public(), PublicKey::P256(_)));
}

#[test]
fn a_delegation_belongs_to_its_key() {
    let [root, day] = both();
    let vouched = root.delegate(&delegation(&day)).unwrap();
    let text = format!("{}{vouched}", day.to_pem().unwrap().expose());
    let key = OperatorKey::from_pem(&text).unwrap();
    assert_eq!(key.delegation(), Some(&delegation(&day)));
    let token = key
        .token(&TokenRequest {
            audience: "a".into(),
            role: Role::App,
            apps: None,
            nonce: None,
            lifetime: Duration::from_secs(9999),
        })
        .unwrap();
    let signed = Signed::<Token>::parse(token.expose()).unwrap();
    assert_eq!(signed.kid(), day.public().thumbprint());
    assert_eq!(
        Signed::<Delegation>::parse(signed.delegation().unwrap()).unwrap().kid(),
        root.public().thumbprint()
    );
    let claims = signed.claims().unwrap();
    assert_eq!(claims.exp - claims.iat, MAX_LIFETIME_SECONDS, "what is too long is cut");

    let others = format!("{}{vouched}", root.to_pem().unwrap().expose());
    assert!(matches!(OperatorKey::from_pem(&others), Err(OperatorKeyError::OtherKey)));
    let twice = format!("{text}{vouched}");
    assert!(matches!(OperatorKey::from_pem(&twice), Err(OperatorKeyError::Several("delegation"))));
    let two = format!("{text}{}", root.to_pem().unwrap().expose());
    assert!(matches!(OperatorKey::from_pem(&two), Err(OperatorKeyError::Several("private key"))));
}

#[test]
fn what_is_no_key_is_named() {
    let [key, _] = both();
    let public = key.public().to_pem();
    for (text, wanted) in [
        ("", "no private key"),
        ("hello", "no private key"),
        (public.as_str(), "no private key"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n", "not PEM"),
        ("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n", "not PEM"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not an ECDSA"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", "password"),
    ] {
        let error = OperatorKey::from_pem(text).unwrap_err().to_string();
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn a_command_asks_for_no_more_than_it_needs() {
    use boundary_wire::client::{Attest, Load, Unload};
    let load = Command::Load(Box::new(Load { name: "shop".into(), ..Load::default() }));
    assert_eq!(Need::of(&load), Some(Need::manager(Some("shop"))));
    let unload = Command::Unload(Unload { name: "shop".into() });
    assert!(Need::of(&unload).unwrap().wants_nonce());
    let list = Need::of(&Command::List).unwrap();
    assert_eq!((list.role, list.wants_nonce()), (Role::Monitoring, false));
    assert_eq!(Need::of(&Command::Challenge), None);
    assert_eq!(Need::of(&Command::Attest(Attest::new(&[0; 32]))), None);
}
