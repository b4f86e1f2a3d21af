#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use attestation::image_policy::{ImagePolicy, Role::Manager, Role::Monitoring};
use attestation::operator_token::Token;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::token::tests::{AUDIENCE, Key, NOW, delegation, policy, token};

const OPEN: [Operation; 6] = [
    Operation::Health,
    Operation::Evidence,
    Operation::Call,
    Operation::AppHttp,
    Operation::Schema,
    Operation::CaCsr,
];
const OF_APPS: [Operation; 3] = [Operation::Call, Operation::AppHttp, Operation::Schema];
const MONITORING: [Operation; 2] = [Operation::List, Operation::Metrics];

fn at(nonces: &Nonces) -> Circumstances<'_> {
    Circumstances { audience: AUDIENCE, now: Duration::from_secs(NOW), nonces }
}

fn code(result: Result<Grant, Denied>) -> Result<Operation, &'static str> {
    result.map(|grant| grant.operation()).map_err(|denied| denied.code())
}

fn ask(policy: &Policy, wish: Wish<'_>, credential: Option<&str>) -> Result<Operation, &'static str> {
    code(decide(policy, wish, credential, at(&Nonces::default())))
}

/// A manager's token with an outstanding nonce.
fn fresh(key: &Key, nonces: &Nonces, number: u8) -> String {
    nonces.add([number; 32]);
    key.token(&with_nonce(number))
}

fn with_nonce(number: u8) -> Token {
    Token { nonce: Some(URL_SAFE_NO_PAD.encode([number; 32])), ..token(Role::Manager) }
}

#[test]
fn without_operators_and_development_nobody_gets_in() {
    let page = ImagePolicy::default().to_page().unwrap();
    let stranger = Key::p256().token(&token(Role::Manager));
    for policy in [Policy::from_page(&page).unwrap(), Policy::from_page(b"").unwrap()] {
        for credential in [None, Some(""), Some("eyJhbGciOiJub25lIn0.e30."), Some(&stranger)] {
            for operation in Operation::ALL {
                let result = decide(&policy, Wish::new(operation), credential, at(&Nonces::default()));
                if OPEN.contains(&operation) {
                    assert_eq!(result.unwrap().operation(), operation);
                } else {
                    let denied = result.unwrap_err();
                    assert_eq!(denied.code(), "no-operators", "{operation:?}");
                    assert!(denied.message().contains("development = true"), "{denied}");
                }
            }
        }
    }
    // Operators who cannot have the role are as good as none.
    let monitoring = Key::p256();
    let policy = policy(&[(&monitoring, Monitoring)]);
    assert_eq!(ask(&policy, Wish::new(Operation::Load), None), Err("no-operators"));
    assert_eq!(ask(&policy, Wish::new(Operation::List), None), Err("unauthenticated"));
}

#[test]
fn a_development_policy_grants_everything() {
    let page = ImagePolicy { development: true, ..Default::default() }.to_page().unwrap();
    let policy = Policy::from_page(&page).unwrap();
    for operation in Operation::ALL {
        assert_eq!(ask(&policy, Wish::new(operation).by_token(true), None), Ok(operation));
    }
}

#[test]
fn the_table() {
    let key = Key::p256();
    let policy = policy(&[(&key, Manager)]);
    for operation in Operation::ALL {
        for by_token in [false, true] {
            let wish = Wish::on(operation, "shop").by_token(by_token);
            let open = OPEN.contains(&operation) && !(by_token && OF_APPS.contains(&operation));
            assert_eq!(ask(&policy, wish, None).is_ok(), open, "{operation:?}");
            let least = match operation {
                _ if open => continue,
                _ if OF_APPS.contains(&operation) => Role::App,
                _ if MONITORING.contains(&operation) => Role::Monitoring,
                _ => Role::Manager,
            };
            for role in [Role::App, Role::Monitoring, Role::Manager] {
                let nonces = Nonces::default();
                nonces.add([1; 32]);
                let claims = Token { apps: token(role).apps, role, ..with_nonce(1) };
                let result = code(decide(&policy, wish, Some(&key.token(&claims)), at(&nonces)));
                let wanted = if role >= least { Ok(operation) } else { Err("role-too-low") };
                assert_eq!(result, wanted, "{operation:?} {role:?}");
            }
        }
    }
}

/// What needs no credential is not made worse by a bad one.
#[test]
fn a_credential_that_is_not_needed_is_not_looked_at() {
    let policy = policy(&[(&Key::p256(), Manager)]);
    for operation in OPEN {
        for credential in ["", "nonsense", "a.b.c", &"x".repeat(100_000)] {
            assert_eq!(ask(&policy, Wish::new(operation), Some(credential)), Ok(operation));
        }
    }
    assert_eq!(ask(&policy, Wish::new(Operation::List), Some("nonsense")), Err("token-malformed"));
}

#[test]
fn managers_show_a_nonce_of_this_connection_once() {
    let key = Key::ed25519();
    let policy = policy(&[(&key, Manager)]);
    let (here, elsewhere) = (Nonces::default(), Nonces::default());
    for operation in [Operation::Load, Operation::Unload, Operation::Logs, Operation::CaInstall] {
        let wish = Wish::on(operation, "shop");
        assert_eq!(ask(&policy, wish, Some(&key.token(&token(Role::Manager)))), Err("nonce-missing"));
        let good = fresh(&key, &here, 1);
        assert_eq!(code(decide(&policy, wish, Some(&good), at(&elsewhere))), Err("nonce-unknown"));
        assert_eq!(code(decide(&policy, wish, Some(&good), at(&here))), Ok(operation));
        assert_eq!(code(decide(&policy, wish, Some(&good), at(&here))), Err("nonce-unknown"));
    }
    // Several under way at once, in any order.
    let tokens: Vec<_> = (0..8).map(|number| fresh(&key, &here, number)).collect();
    for text in tokens.iter().rev() {
        assert_eq!(
            code(decide(&policy, Wish::new(Operation::Load), Some(text), at(&here))),
            Ok(Operation::Load)
        );
    }
}

/// A nonce is of a connection whatever it is used for, and is not lost to a token that is refused.
#[test]
fn a_nonce_that_is_there_counts_and_is_kept_until_all_else_is_right() {
    let key = Key::p256();
    let policy = policy(&[(&key, Manager)]);
    let (nonces, list) = (Nonces::default(), Wish::new(Operation::List));
    let text = fresh(&key, &nonces, 1);
    assert_eq!(ask(&policy, list, Some(&text)), Err("nonce-unknown"));
    let expired = key.token(&Token { iat: NOW - 200, exp: NOW - 100, ..with_nonce(1) });
    assert_eq!(code(decide(&policy, list, Some(&expired), at(&nonces))), Err("token-expired"));
    let low = key.token(&Token { role: Role::Monitoring, ..with_nonce(1) });
    let load = Wish::new(Operation::Load);
    assert_eq!(code(decide(&policy, load, Some(&low), at(&nonces))), Err("role-too-low"));
    assert_eq!(code(decide(&policy, list, Some(&text), at(&nonces))), Ok(Operation::List));
    assert_eq!(code(decide(&policy, list, Some(&text), at(&nonces))), Err("nonce-unknown"));
}

/// A host that sets the clock back makes a token of last week young again: its nonce is gone all the same.
#[test]
fn a_clock_set_back_by_a_week_revives_no_manager() {
    let key = Key::p256();
    let policy = policy(&[(&key, Manager)]);
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let (then, load) = (Nonces::default(), Wish::on(Operation::Load, "shop"));
    let captured = fresh(&key, &then, 9);
    assert_eq!(code(decide(&policy, load, Some(&captured), at(&then))), Ok(Operation::Load));
    // A week later, and by an honest clock.
    let now = Nonces::default();
    let honest = Circumstances { now: Duration::from_secs(NOW) + week, ..at(&now) };
    assert_eq!(code(decide(&policy, load, Some(&captured), honest)), Err("token-expired"));
    // The clock says that it is last week, on that connection and on any other.
    for nonces in [&then, &now] {
        nonces.add([1; 32]);
        assert_eq!(code(decide(&policy, load, Some(&captured), at(nonces))), Err("nonce-unknown"));
    }
    // Without a nonce time would be all there is; so managers cannot be without.
    let timed = key.token(&token(Role::Manager));
    assert_eq!(code(decide(&policy, load, Some(&timed), at(&now))), Err("nonce-missing"));
}

#[test]
fn tokens_for_apps_are_for_those_apps() {
    let (root, day) = (Key::p256(), Key::p256());
    let policy = policy(&[(&root, Manager)]);
    let text = root.token(&token(Role::App));
    for operation in OF_APPS {
        let on = |app| ask(&policy, Wish::on(operation, app).by_token(true), Some(&text));
        assert_eq!(on("shop"), Ok(operation));
        for other in ["bank", "shop2", "sho", "", "SHOP"] {
            assert_eq!(on(other), Err("app-not-allowed"), "{other}");
        }
        assert_eq!(ask(&policy, Wish::new(operation).by_token(true), Some(&text)), Err("app-not-allowed"));
    }
    // A manager of one app: that app, and nothing that is about more.
    let limited = attestation::operator_token::Delegation {
        apps: Some(vec!["shop".into()]),
        ..delegation(&day, Role::Manager)
    };
    let vouched = root.delegate(&limited);
    let manage = |wish: Wish<'_>| {
        let nonces = Nonces::default();
        nonces.add([1; 32]);
        let text = day.token_under(&vouched, &with_nonce(1));
        code(decide(&policy, wish, Some(&text), at(&nonces)))
    };
    assert_eq!(manage(Wish::on(Operation::Load, "shop")), Ok(Operation::Load));
    assert_eq!(manage(Wish::on(Operation::Unload, "shop")), Ok(Operation::Unload));
    assert_eq!(manage(Wish::on(Operation::Load, "bank")), Err("app-not-allowed"));
    for operation in [Operation::CaInstall, Operation::List, Operation::Metrics] {
        assert_eq!(manage(Wish::new(operation)), Err("app-not-allowed"));
    }
}
