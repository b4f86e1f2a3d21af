#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use attestation::image_policy::{self, ImagePolicy, Operator};
use attestation::operator_token::encode;
use graviola::signing::ecdsa::SigningKey;
use graviola::signing::eddsa::Ed25519SigningKey;
use proptest::prelude::*;

use super::*;

/// 2026-11-21.
pub(crate) const NOW: u64 = 1_795_000_000;
pub(crate) const AUDIENCE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A key that signs.
pub(crate) enum Key {
    P256(SigningKey<P256>),
    Ed25519(Ed25519SigningKey),
}

impl Key {
    pub(crate) fn p256() -> Key {
        Key::P256(SigningKey::generate().unwrap())
    }

    pub(crate) fn ed25519() -> Key {
        Key::Ed25519(Ed25519SigningKey::generate().unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Key::P256(key) => PublicKey::from_spki(key.to_spki_der(&mut [0; 256]).unwrap()).unwrap(),
            Key::Ed25519(key) => PublicKey::Ed25519(key.public_key().as_bytes()),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], graviola::Error> {
        match self {
            Key::P256(key) => {
                let mut signature = [0; 64];
                key.sign::<Sha256>(&[message], &mut signature)?;
                Ok(signature)
            }
            Key::Ed25519(key) => Ok(key.sign(message)),
        }
    }

    pub(crate) fn token(&self, token: &Token) -> String {
        encode(token, &self.public(), None, |message| self.sign(message)).unwrap()
    }

    pub(crate) fn token_under(&self, delegation: &str, token: &Token) -> String {
        encode(token, &self.public(), Some(delegation), |message| self.sign(message)).unwrap()
    }

    pub(crate) fn delegate(&self, delegation: &Delegation) -> String {
        encode(delegation, &self.public(), None, |message| self.sign(message)).unwrap()
    }

    /// A JWT whose header and payload are any JSON.
    pub(crate) fn raw(&self, header: &str, payload: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(header), part(payload));
        let signature = self.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A policy with these operators.
pub(crate) fn policy(operators: &[(&Key, image_policy::Role)]) -> Policy {
    let operator = |(at, (key, role)): (usize, &(&Key, image_policy::Role))| Operator {
        name: format!("operator-{at}"),
        role: *role,
        key: key.public(),
    };
    let operators = operators.iter().enumerate().map(operator).collect();
    Policy::from_page(&ImagePolicy { operators, ..Default::default() }.to_page().unwrap()).unwrap()
}

pub(crate) fn token(role: Role) -> Token {
    Token {
        aud: AUDIENCE.into(),
        iat: NOW,
        nbf: None,
        exp: NOW + 60,
        role,
        apps: (role == Role::App).then(|| vec!["shop".into()]),
        nonce: None,
        iss: None,
        sub: None,
        jti: None,
    }
}

pub(crate) fn delegation(key: &Key, role: Role) -> Delegation {
    Delegation { key: key.public(), role, nbf: NOW - 100, exp: NOW + 1000, apps: None, sub: None }
}

fn check(policy: &Policy, text: &str) -> Result<Held, Rejected> {
    verify(policy, text, AUDIENCE, Duration::from_secs(NOW))
}

use image_policy::Role::{Manager, Monitoring};

#[test]
fn each_kind_of_key_signs_what_its_role_allows() {
    for key in [Key::p256(), Key::ed25519()] {
        for (has, may) in [(Manager, 3), (Monitoring, 2)] {
            let policy = policy(&[(&Key::p256(), Manager), (&key, has)]);
            for (at, role) in [Role::App, Role::Monitoring, Role::Manager].into_iter().enumerate() {
                let result = check(&policy, &key.token(&token(role)));
                match result {
                    Ok(held) => assert!(at < may && held.role == role),
                    Err(error) => assert!(at >= may && error.code() == "token-role", "{error}"),
                }
            }
        }
    }
}

#[test]
fn a_key_of_nobody_and_a_forged_signature_are_refused() {
    let (key, stranger) = (Key::p256(), Key::p256());
    let policy = policy(&[(&key, Manager)]);
    let claims = token(Role::Manager);
    assert_eq!(check(&policy, &stranger.token(&claims)).unwrap_err(), Rejected::Key("token"));
    // It names a key of the policy and is signed by another.
    let header = |key: &Key| {
        format!(r#"{{"alg":"ES256","typ":"enclave-os-token+jwt","kid":"{}"}}"#, key.public().thumbprint())
    };
    let payload = serde_json::to_string(&claims).unwrap();
    check(&policy, &key.raw(&header(&key), &payload)).unwrap();
    assert_eq!(
        check(&policy, &stranger.raw(&header(&key), &payload)).unwrap_err(),
        Rejected::Signature("token")
    );
    // Claims of one token under the signature of another.
    let (low, high) = (key.token(&token(Role::Monitoring)), key.token(&claims));
    let parts = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (low, high) = (parts(&low), parts(&high));
    let mixed = format!("{}.{}.{}", low[0], high[1], low[2]);
    assert_eq!(check(&policy, &mixed).unwrap_err(), Rejected::Signature("token"));
    for signature in [[0; 64], [0xff; 64]] {
        let forged = format!("{}.{}.{}", high[0], high[1], URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(check(&policy, &forged).unwrap_err(), Rejected::Signature("token"));
    }
}

/// What is signed says which algorithm to believe it by: the classic mistake.
#[test]
fn the_key_says_the_algorithm_and_not_the_token() {
    let (p256, ed25519) = (Key::p256(), Key::ed25519());
    let policy = policy(&[(&p256, Manager), (&ed25519, Manager)]);
    let payload = serde_json::to_string(&token(Role::Manager)).unwrap();
    for key in [&p256, &ed25519] {
        let header = |alg: &str| {
            let kid = key.public().thumbprint();
            format!(r#"{{"alg":"{alg}","typ":"enclave-os-token+jwt","kid":"{kid}"}}"#)
        };
        for alg in ["none", "HS256", "RS256", "ES256K"] {
            let error = check(&policy, &key.raw(&header(alg), &payload)).unwrap_err();
            assert_eq!(error.code(), "token-algorithm", "{error}");
        }
        // HS256 with the public key as the secret is refused before any key is looked at; so is an empty signature.
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let unsigned = format!("{}.{}.", part(&header("none")), part(&payload));
        assert_eq!(check(&policy, &unsigned).unwrap_err().code(), "token-algorithm");
        let crossed = if matches!(key, Key::P256(_)) { "EdDSA" } else { "ES256" };
        let error = check(&policy, &key.raw(&header(crossed), &payload)).unwrap_err();
        assert!(matches!(error, Rejected::Algorithm { said, .. } if said == crossed), "{error}");
    }
}

#[test]
fn time_counts_both_ways_and_lives_are_short() {
    let key = Key::ed25519();
    let policy = policy(&[(&key, Manager)]);
    let at = |iat: u64, nbf: Option<u64>, exp: u64| {
        let result = check(&policy, &key.token(&Token { iat, nbf, exp, ..token(Role::Manager) }));
        result.map(|_| ()).map_err(|error| error.code())
    };
    assert_eq!(at(NOW, None, NOW + 300), Ok(()));
    assert_eq!(at(NOW - 300, None, NOW - 59), Ok(()), "within the skew");
    assert_eq!(at(NOW - 300, None, NOW - 60), Err("token-expired"));
    assert_eq!(at(NOW + 60, None, NOW + 90), Ok(()), "within the skew");
    assert_eq!(at(NOW + 61, None, NOW + 90), Err("token-not-yet-valid"));
    assert_eq!(at(NOW, Some(NOW + 60), NOW + 90), Ok(()));
    assert_eq!(at(NOW, Some(NOW + 61), NOW + 90), Err("token-not-yet-valid"));
    assert_eq!(at(NOW - 1, Some(0), NOW + 90), Ok(()), "nbf takes nothing away from iat");
    assert_eq!(at(NOW, None, NOW + 301), Err("token-lifetime"));
    assert_eq!(at(NOW, None, NOW), Err("token-lifetime"));
    assert_eq!(at(0, None, u64::MAX), Err("token-lifetime"));
    assert_eq!(at(u64::MAX, None, 0), Err("token-lifetime"));
    assert_eq!(at(u64::MAX - 1, None, u64::MAX), Err("token-not-yet-valid"));
    assert_eq!(at(0, Some(u64::MAX), 1), Err("token-not-yet-valid"));
    let text = key.token(&token(Role::Manager));
    assert!(verify(&policy, &text, AUDIENCE, Duration::MAX).is_err());
    assert!(verify(&policy, &text, AUDIENCE, Duration::ZERO).is_err());
}

#[test]
fn a_token_for_another_enclave_is_refused() {
    let key = Key::p256();
    let policy = policy(&[(&key, Manager)]);
    for aud in ["", "*", &AUDIENCE.to_uppercase(), &AUDIENCE[1..], &"00".repeat(32)] {
        let error =
            check(&policy, &key.token(&Token { aud: aud.into(), ..token(Role::Manager) })).unwrap_err();
        assert_eq!(error.code(), "token-audience");
        assert!(error.to_string().contains(AUDIENCE), "{error}");
    }
}

#[test]
fn a_root_vouches_for_keys() {
    for (root, day) in [(Key::p256(), Key::ed25519()), (Key::ed25519(), Key::p256())] {
        let policy = policy(&[(&root, Manager)]);
        let under = |delegation: &Delegation, claims: &Token| {
            check(&policy, &day.token_under(&root.delegate(delegation), claims))
        };
        let manager = delegation(&day, Role::Manager);
        assert_eq!(under(&manager, &token(Role::Manager)).unwrap().role, Role::Manager);
        assert_eq!(check(&policy, &day.token(&token(Role::Manager))).unwrap_err(), Rejected::Key("token"));

        // Not more than the delegation says.
        let monitoring = delegation(&day, Role::Monitoring);
        under(&monitoring, &token(Role::Monitoring)).unwrap();
        assert_eq!(under(&monitoring, &token(Role::Manager)).unwrap_err().code(), "token-role");
        let limited = Delegation { apps: Some(vec!["shop".into(), "bank".into()]), ..manager.clone() };
        let apps = |apps: Option<&str>| {
            let apps = apps.map(|app| vec![app.to_owned()]);
            under(&limited, &Token { apps, ..token(Role::Manager) }).map(|held| held.apps.unwrap())
        };
        assert_eq!(apps(None).unwrap(), ["shop", "bank"], "what it does not name it does not widen");
        assert_eq!(apps(Some("bank")).unwrap(), ["bank"]);
        assert_eq!(apps(Some("other")).unwrap_err(), Rejected::Apps);
        under(&limited, &token(Role::App)).unwrap();

        // When it counts.
        let lives = |nbf: u64, exp: u64| {
            under(&Delegation { nbf, exp, ..manager.clone() }, &token(Role::Manager))
                .map_err(|e| e.to_string())
        };
        lives(NOW + 60, NOW + 90).unwrap();
        assert!(lives(NOW + 61, NOW + 90).unwrap_err().contains("begins"));
        lives(NOW - 1000, NOW - 59).unwrap();
        assert!(lives(NOW - 1000, NOW - 60).unwrap_err().contains("ended"));
        for (nbf, exp) in
            [(NOW, NOW), (NOW, NOW - 1), (0, u64::MAX), (u64::MAX, 0), (NOW, NOW + 367 * 86_400)]
        {
            assert!(lives(nbf, exp).unwrap_err().contains("366 days"));
        }
    }
}

#[test]
fn a_delegation_of_the_wrong_hands_is_refused() {
    let (root, low, stranger, day) = (Key::p256(), Key::p256(), Key::p256(), Key::ed25519());
    let policy = policy(&[(&root, Manager), (&low, Monitoring)]);
    let claims = token(Role::Monitoring);
    let under =
        |delegation: &str, key: &Key| check(&policy, &key.token_under(delegation, &claims)).unwrap_err();
    let vouched = |by: &Key, role: Role| by.delegate(&delegation(&day, role));

    assert_eq!(under(&vouched(&stranger, Role::Manager), &day), Rejected::Key("delegation"));
    assert!(
        matches!(under(&vouched(&low, Role::Manager), &day), Rejected::Delegation(why) if why.contains("root"))
    );
    check(&policy, &day.token_under(&vouched(&low, Role::Monitoring), &claims)).unwrap();
    // For another key than the one that signs; and day keys vouch for nobody.
    assert_eq!(under(&vouched(&root, Role::Manager), &stranger).code(), "token-delegation");
    assert_eq!(
        under(&day.delegate(&delegation(&stranger, Role::Manager)), &stranger),
        Rejected::Key("delegation")
    );
    // A token in place of a delegation, a delegation in place of a token, and nonsense.
    let of_root = root.token(&token(Role::Manager));
    assert_eq!(under(&of_root, &day).code(), "token-malformed");
    let error = check(&policy, &vouched(&root, Role::Manager)).unwrap_err();
    assert_eq!(error.code(), "token-malformed");
    assert_eq!(under("", &day).code(), "token-malformed");
    assert_eq!(under("a.b.c", &day).code(), "token-malformed");
    // A changed delegation.
    let good = vouched(&root, Role::Monitoring);
    let parts: Vec<_> = good.split('.').collect();
    let more = serde_json::to_string(&delegation(&day, Role::Manager)).unwrap();
    let changed = format!("{}.{}.{}", parts[0], URL_SAFE_NO_PAD.encode(more), parts[2]);
    assert_eq!(under(&changed, &day), Rejected::Signature("delegation"));
    // A key that is no point on its curve is vouched for in vain.
    let mut point = [4; 65];
    point[1..].fill(1);
    let broken = Delegation { key: PublicKey::P256(point), ..delegation(&day, Role::Manager) };
    let kid = broken.key.thumbprint();
    let header = serde_json::json!({
        "alg": "ES256", "typ": "enclave-os-token+jwt", "kid": kid, "delegation": root.delegate(&broken),
    });
    let forged = day.raw(&header.to_string(), &serde_json::to_string(&claims).unwrap());
    assert_eq!(check(&policy, &forged).unwrap_err(), Rejected::Signature("token"));
}

#[test]
fn a_token_for_apps_names_them_and_a_nonce_is_one() {
    let key = Key::p256();
    let policy = policy(&[(&key, Manager)]);
    let claims = Token { apps: None, ..token(Role::App) };
    assert_eq!(check(&policy, &key.token(&claims)).unwrap_err(), Rejected::NoApps);
    let with = |nonce: &str| {
        check(&policy, &key.token(&Token { nonce: Some(nonce.into()), ..token(Role::Manager) }))
    };
    assert_eq!(with(&URL_SAFE_NO_PAD.encode([7; 32])).unwrap().nonce, Some([7; 32]));
    for bad in ["", "x", &URL_SAFE_NO_PAD.encode([7; 31]), &URL_SAFE_NO_PAD.encode([7; 33])] {
        assert_eq!(with(bad).unwrap_err(), Rejected::Nonce);
    }
}

/// RFC 8037 §A.4 and RFC 7515 §A.3 sign with these keys: what others make verifies here.
#[test]
fn signatures_of_others_hold() {
    let part = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let message = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        part("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
    let key = part("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    Ed25519VerifyingKey::from_bytes(&key).unwrap().verify(&signature, message).unwrap();

    let message: &[u8] = b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature =
        part("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    let point = [
        vec![4],
        part("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        part("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    ];
    let key = VerifyingKey::<P256>::from_x962_uncompressed(&point.concat()).unwrap();
    key.verify::<Sha256>(&[message], &signature).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_byte_of_a_token_can_be_changed(at: proptest::sample::Index, byte in 0x20_u8..0x7f) {
        let (root, day) = (Key::p256(), Key::ed25519());
        let policy = policy(&[(&root, Manager)]);
        let good = day.token_under(&root.delegate(&delegation(&day, Role::Manager)), &token(Role::Manager));
        check(&policy, &good).unwrap();
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(check(&policy, &changed).is_ok(), changed == good);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,300}") {
        prop_assert!(check(&policy(&[(&Key::p256(), Manager)]), &text).is_err());
    }
}
