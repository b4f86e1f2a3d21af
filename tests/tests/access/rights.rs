//! What a key and an app allow, and what is told of it.

use std::sync::Arc;

use anyhow::Result;
use attestation::manifest::LeafValue;
use attestation::operator_token::{Algorithm, Delegation, Role, Token};
use attestation::verify::{CertificateDer, issuer_spki};
use boundary_wire::client::{Call, Command, Reply, Schema};
use enclave_os_client::{Access, Body, Http, OperatorKey, Params};
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::support::*;

pub(crate) fn a_delegated_key_works_within_its_delegation(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let day = OperatorKey::generate(Algorithm::EdDsa)?;
    let under = |root: &str, delegation: &Delegation| {
        let text = format!("{}{}", day.to_pem().unwrap().expose(), key(root).delegate(delegation).unwrap());
        enclave.framed().operator(key(&text)).unwrap()
    };
    let says = |role: Role| Delegation {
        key: day.public(),
        role,
        nbf: now() - 10,
        exp: now() + 1000,
        apps: None,
        sub: Some("ci".into()),
    };
    let mut all = under(MANAGER, &says(Role::Manager));
    all.load(load(platform, "shop", Access::Token))?;
    all.load(load(platform, "bank", Access::Token))?;
    assert_eq!(all.list()?.len(), 2);
    // For one app, it manages that one and nothing else.
    let mut one = under(MANAGER, &Delegation { apps: Some(vec!["shop".into()]), ..says(Role::Manager) });
    one.load(load(platform, "shop", Access::Token))?;
    one.call("shop", "one", Params::default())?;
    refused(one.load(load(platform, "bank", Access::Open)), "token-apps");
    refused(one.unload("bank"), "token-apps");
    refused(one.call("bank", "one", Params::default()), "token-apps");
    refused(one.list(), "app-not-allowed");
    // For calls alone.
    let mut caller = under(MANAGER, &says(Role::App));
    caller.call("bank", "one", Params::default())?;
    refused(caller.list(), "token-role");
    refused(caller.unload("bank"), "token-role");
    // What does not count.
    let over = Delegation { nbf: now() - 1000, exp: now() - 100, ..says(Role::Manager) };
    let early = Delegation { nbf: now() + 500, ..says(Role::Manager) };
    let long = Delegation { exp: now() + 400 * 24 * 60 * 60, ..says(Role::Manager) };
    for (root, delegation) in
        [(MANAGER, over), (MANAGER, early), (MANAGER, long), (WATCHER, says(Role::Manager))]
    {
        refused(under(root, &delegation).list(), "token-delegation");
    }
    assert_eq!(under(WATCHER, &says(Role::Monitoring)).list()?.len(), 2);
    let stranger = OperatorKey::generate(Algorithm::Es256)?;
    let vouched = stranger.delegate(&says(Role::Manager))?;
    let text = format!("{}{vouched}", day.to_pem()?.expose());
    refused(enclave.framed().operator(key(&text))?.list(), "token-key");
    refused(enclave.framed().operator(Arc::new(day))?.list(), "token-key");
    Ok(())
}

pub(crate) fn an_app_can_demand_tokens(platform: Platform) -> Result<()> {
    let mut enclave = Enclave::start(platform)?;
    let mut manager = enclave.manager();
    manager.load(load(platform, "shop", Access::Token))?;
    manager.load(load(platform, "open", Access::Open))?;
    let call = |app: &str| Command::Call(Call::new(app, "one", Params::default()));
    let schema = || Command::Schema(Schema { app: "shop".to_owned() });
    for restarted in [false, true] {
        let manifest = enclave.http().manifest()?;
        for (leaf, wanted) in [("app.shop.access", "token"), ("app.open.access", "open")] {
            assert_eq!(manifest.leaf(leaf).unwrap().value(), &LeafValue::Json(json!(wanted)), "{restarted}");
        }
        let (mut framed, mut http) = (enclave.framed(), enclave.http());
        assert_eq!(ask(&mut framed, call("shop"), None).unwrap_err(), "unauthenticated");
        assert_eq!(ask(&mut framed, schema(), None).unwrap_err(), "unauthenticated");
        assert_eq!(ask(&mut framed, call("shop"), Some("nonsense")).unwrap_err(), "token-malformed");
        assert!(ask(&mut framed, call("open"), None).is_ok());
        assert!(ask(&mut framed, call("open"), Some("nonsense")).is_ok());
        let path = "apps/shop/call/one";
        assert_eq!(send(&mut http, "POST", path, None).status, 401);
        assert_eq!(get(&mut http, "apps/shop/schema", None).status, 401);
        assert_eq!(send(&mut http, "POST", "apps/open/call/one", None).status, 200);
        let route = |http: &mut Http, app: &str, token: Option<&str>| {
            let bearer = token.map(|token| format!("Bearer {token}"));
            let headers: Vec<_> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
            http.request("GET", &format!("/{app}/page"), &headers, Body::Empty).unwrap().status
        };
        assert_eq!(route(&mut http, "shop", None), 401);
        assert_ne!(route(&mut http, "open", None), 401);

        // An app's token, for that app; any operator's.
        let app = signed(&enclave.token(Role::App));
        let other = signed(&Token { apps: Some(vec!["open".into()]), ..enclave.token(Role::App) });
        for good in [&app, &signed(&enclave.token(Role::Monitoring)), &signed(&enclave.token(Role::Manager))]
        {
            let Reply::Ok { returns } = ask(&mut framed, call("shop"), Some(good)).unwrap() else { panic!() };
            assert_eq!(returns[0]["value"], 1);
            assert!(ask(&mut framed, schema(), Some(good)).is_ok());
            assert_eq!(send(&mut http, "POST", path, Some(good)).status, 200);
            assert_eq!(get(&mut http, "apps/shop/schema", Some(good)).status, 200);
            assert!(!matches!(route(&mut http, "shop", Some(good)), 401 | 403));
        }
        assert_eq!(ask(&mut framed, call("shop"), Some(&other)).unwrap_err(), "app-not-allowed");
        let response = send(&mut http, "POST", path, Some(&other));
        assert_eq!((response.status, code(&response).as_str()), (403, "app-not-allowed"));
        assert_eq!(route(&mut http, "shop", Some(&other)), 403);
        // On the app's own name too.
        let mut named = enclave.connector().server_name("shop").framed()?;
        assert_eq!(ask(&mut named, call("shop"), None).unwrap_err(), "unauthenticated");
        assert!(ask(&mut named, call("shop"), Some(&app)).is_ok());
        // Even for an operator only that app exists there.
        let operator = signed(&enclave.token(Role::Manager));
        assert_eq!(ask(&mut named, Command::List, Some(&operator)).unwrap_err(), "not-here");
        assert_eq!(ask(&mut named, Command::Challenge, None).unwrap_err(), "not-here");
        enclave = enclave.restart()?;
    }
    // What an app demands is part of what was attested.
    let mut before = enclave.framed();
    enclave.manager().load(load(platform, "shop", Access::Open))?;
    let app = signed(&enclave.token(Role::App));
    assert_eq!(ask(&mut before, call("shop"), Some(&app)).unwrap_err(), "attestation-stale");
    assert!(ask(&mut enclave.framed(), call("shop"), None).is_ok());
    Ok(())
}

/// A server that shows its own leaf before another enclave's CA wants tokens for that one.
pub(crate) fn a_token_is_for_the_ca_that_signed_the_leaf(platform: Platform) -> Result<()> {
    let (first, second) = (Enclave::start(platform)?, Enclave::start(platform)?);
    let chain = |enclave: &Enclave| {
        let http = enclave.http();
        let mut chain = http.peer().chain_der().map(|der| CertificateDer::from(der.to_vec()));
        [chain.next().unwrap(), chain.next().unwrap()]
    };
    let ([leaf, ca], [_, other]) = (chain(&first), chain(&second));
    let hex =
        |spki: Vec<u8>| Sha256::digest(spki).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(issuer_spki(&leaf, &ca).map(hex), Some(first.audience()));
    assert_eq!(issuer_spki(&leaf, &other), None);
    assert_eq!(issuer_spki(&leaf, &leaf), None);
    // The two have one policy; what is for one is not for the other.
    assert_ne!(first.audience(), second.audience());
    let token = signed(&first.token(Role::Monitoring));
    assert!(first.list(Some(&token)).0.is_ok());
    assert_eq!(second.list(Some(&token)).0.unwrap_err(), "token-audience");
    Ok(())
}

pub(crate) fn a_development_policy_is_told_everywhere(platform: Platform) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut options = HostOptions::development(platform, folder.path().join("data"));
    for (policy, development, tokens, loaders) in [
        ("development = true\n".to_owned(), true, "not-asked-for", "anyone"),
        (format!("development = true\n{}", policy()), true, "not-asked-for", "anyone"),
        (policy(), false, "required", "managers"),
        (String::new(), false, "nobody-has-one", "nobody"),
    ] {
        options.policy = policy;
        options.data_dir = folder.path().join(format!("{tokens}-{}", options.policy.len()));
        let host = HostProcess::start(&options)?;
        assert_eq!(
            host.output().contains("development policy: whoever reaches"),
            development,
            "{}",
            host.output()
        );
        let mut http = host.connector().http()?;
        let ready = http.ready()?;
        assert_eq!(ready.more["development"], development);
        let leaf = |http: &mut Http, name: &str| {
            let proof = http.proof(name).unwrap();
            http.peer().check_proof(&proof).unwrap();
            match proof.leaf().value() {
                LeafValue::Json(value) => value.clone(),
                _ => panic!("{name} is no JSON"),
            }
        };
        let operators = leaf(&mut http, "core.operator_policy");
        assert_eq!((&operators["development"], &operators["tokens"]), (&json!(development), &json!(tokens)));
        assert_eq!(leaf(&mut http, "core.code_policy")["native_artifacts"], loaders);
        let list = host.framed()?.list();
        match tokens {
            "not-asked-for" => assert!(list?.is_empty()),
            "required" => drop(refused(list, "unauthenticated")),
            _ => drop(refused(list, "no-operators")),
        }
    }
    Ok(())
}
