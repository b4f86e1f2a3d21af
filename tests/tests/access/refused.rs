//! Tokens that are missing, do not count, or are forged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use attestation::operator_token::{Algorithm, Delegation, Role, Token, encode};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use boundary_wire::client::{Command, Reply};
use enclave_os_client::{Access, Body, OperatorKey, TokenRequest};
use graviola::hashing::Sha256 as Hash;
use graviola::hashing::hmac::Hmac;
use scenarios::platform::Platform;
use serde_json::json;

use crate::support::*;

pub(crate) fn without_a_token_that_counts_nobody_gets_in(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let mut framed = enclave.framed();
    let why = refused(framed.list(), "unauthenticated");
    assert!(why.contains("monitoring") && why.contains("--key"), "{why}");
    refused(framed.load(load(platform, "shop", Access::Open)), "unauthenticated");
    refused(framed.unload("shop"), "unauthenticated");
    for (method, path) in [
        ("GET", "apps"),
        ("GET", "apps/shop"),
        ("PUT", "apps/shop"),
        ("DELETE", "apps/shop"),
        ("GET", "apps/shop/logs"),
        ("GET", "metrics"),
        ("POST", "ca/install"),
    ] {
        let response = send(&mut enclave.http(), method, path, None);
        assert_eq!((response.status, code(&response).as_str()), (401, "unauthenticated"), "{method} {path}");
        assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"enclave-os\""));
        let nonsense = send(&mut enclave.http(), method, path, Some("nonsense"));
        assert_eq!((nonsense.status, code(&nonsense).as_str()), (401, "token-malformed"), "{method} {path}");
        assert!(nonsense.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    }
    // Of two tokens nobody can say which is meant, and another scheme is none.
    let good = signed(&enclave.token(Role::Monitoring));
    let (bearer, basic) = (format!("Bearer {good}"), "Basic YTpi");
    for headers in [
        &[("authorization", bearer.as_str()), ("authorization", bearer.as_str())][..],
        &[("authorization", basic), ("authorization", bearer.as_str())],
        &[("authorization", basic)],
        &[("x-authorization", bearer.as_str())],
    ] {
        let response = enclave.http().request("GET", "/.enclave/v1/apps", headers, Body::Empty)?;
        assert_eq!((response.status, code(&response).as_str()), (401, "unauthenticated"), "{headers:?}");
    }
    // What is for everybody does not look at tokens.
    let mut http = enclave.http();
    for path in ["health", "ready", "manifest", "proofs/core.version", "openapi.json", "ca/csr", "challenge"]
    {
        assert_eq!(get(&mut http, path, Some("nonsense")).status, 200, "{path}");
    }
    assert!(matches!(ask(&mut framed, Command::Challenge, Some("nonsense")), Ok(Reply::Challenge { .. })));
    framed.ping()?;
    // A key of nobody's, with everything else right.
    let stranger = Arc::new(OperatorKey::generate(Algorithm::Es256)?);
    let mut client = enclave.framed().operator(stranger.clone())?;
    refused(client.list(), "token-key");
    refused(client.load(load(platform, "shop", Access::Open)), "token-key");
    let uploaded =
        enclave.http().operator(stranger)?.load("shop", b"\x7fELF", &Default::default(), &mut |_| ());
    refused(uploaded, "token-key");
    assert!(enclave.manager().list()?.is_empty());
    Ok(())
}

pub(crate) fn tokens_that_do_not_count_are_refused_by_name(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let good = || enclave.token(Role::Monitoring);
    let (framed, http) = enclave.list(Some(&signed(&good())));
    assert!(matches!(framed, Ok(Reply::Apps { .. })));
    assert_eq!(http.status, 200);
    for (token, wanted, says) in [
        (Token { aud: "00".repeat(32), ..good() }, "token-audience", enclave.audience()),
        (Token { iat: now() - 400, exp: now() - 200, ..good() }, "token-expired", "expired at".into()),
        (Token { iat: now() + 200, exp: now() + 300, ..good() }, "token-not-yet-valid", "begins at".into()),
        (Token { nbf: Some(now() + 100), ..good() }, "token-not-yet-valid", "begins at".into()),
        (Token { exp: now() + 400, ..good() }, "token-lifetime", "300".into()),
        (Token { role: Role::App, ..good() }, "token-malformed", "apps".into()),
        (Token { nonce: Some("AAAA".into()), ..good() }, "token-malformed", "nonce".into()),
        (Token { apps: Some(vec![]), ..good() }, "token-malformed", "apps".into()),
    ] {
        let (framed, http) = enclave.list(Some(&signed(&token)));
        assert_eq!(framed.unwrap_err(), wanted);
        assert_eq!((http.status, code(&http).as_str()), (401, wanted));
        let body = String::from_utf8(http.body.clone())?;
        assert!(body.contains(&says), "{body}");
        assert!(http.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));
    }
    // Roles: a token may not claim more than its key has, and what it has must suffice.
    let watcher = |role: Role, nonce: Option<String>| {
        let apps = (role == Role::App).then(|| vec!["shop".to_owned()]);
        let request = TokenRequest {
            audience: enclave.audience(),
            role,
            apps,
            nonce,
            lifetime: Duration::from_secs(60),
        };
        key(WATCHER).token(&request).unwrap().expose().to_owned()
    };
    assert!(enclave.list(Some(&watcher(Role::Monitoring, None))).0.is_ok());
    assert_eq!(enclave.list(Some(&watcher(Role::Manager, None))).0.unwrap_err(), "token-role");
    let (framed, http) = enclave.list(Some(&watcher(Role::App, None)));
    assert_eq!(framed.unwrap_err(), "role-too-low");
    assert_eq!((http.status, code(&http).as_str()), (403, "role-too-low"));
    assert!(http.header("www-authenticate").unwrap().contains("error=\"insufficient_scope\""));
    let mut framed = enclave.framed();
    let nonce = framed.challenge()?;
    let low = watcher(Role::Monitoring, Some(nonce.clone()));
    assert_eq!(ask(&mut framed, unload("shop"), Some(&low)).unwrap_err(), "role-too-low");
    let high = watcher(Role::Manager, Some(nonce));
    assert_eq!(ask(&mut framed, unload("shop"), Some(&high)).unwrap_err(), "token-role");
    refused(enclave.framed().operator(key(WATCHER))?.unload("shop"), "token-role");
    assert!(enclave.framed().operator(key(WATCHER))?.list()?.is_empty());
    Ok(())
}

pub(crate) fn forged_tokens_are_refused(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let public = key(MANAGER).public();
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let payload = part(&serde_json::to_vec(&enclave.token(Role::Monitoring))?);
    let header = |alg: &str, typ: &str| {
        part(json!({ "alg": alg, "typ": typ, "kid": public.thumbprint() }).to_string().as_bytes())
    };
    const TYPE: &str = "enclave-os-token+jwt";
    let with = |head: String| {
        let message = format!("{head}.{payload}");
        let signature = part(&sign(message.as_bytes()).unwrap());
        format!("{message}.{signature}")
    };
    assert!(enclave.list(Some(&with(header("ES256", TYPE)))).0.is_ok());
    let hs256 = {
        let message = format!("{}.{payload}", header("HS256", TYPE));
        let mut mac = Hmac::<Hash>::new(public.to_pem());
        mac.update(&message);
        format!("{message}.{}", part(mac.finish().as_ref()))
    };
    let delegation =
        Delegation { key: public, role: Role::Manager, nbf: now(), exp: now() + 60, apps: None, sub: None };
    let good = with(header("ES256", TYPE));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let extended = json!({ "alg": "ES256", "typ": TYPE, "kid": public.thumbprint(), "crit": ["exp"] });
    let own_key = json!({ "alg": "ES256", "typ": TYPE, "kid": public.thumbprint(), "jwk": {} });
    for (forged, wanted) in [
        (format!("{}.{payload}.", header("none", TYPE)), "token-algorithm"),
        (with(header("none", TYPE)), "token-algorithm"),
        (hs256, "token-algorithm"),
        (with(header("HS256", TYPE)), "token-algorithm"),
        (with(header("EdDSA", TYPE)), "token-algorithm"),
        (with(header("ES256", "JWT")), "token-malformed"),
        (with(header("ES256", "enclave-os-delegation+jwt")), "token-malformed"),
        (encode(&delegation, &public, None, sign)?, "token-malformed"),
        (with(part(extended.to_string().as_bytes())), "token-malformed"),
        (with(part(own_key.to_string().as_bytes())), "token-malformed"),
        (format!("{message}."), "token-malformed"),
        (format!("{message}.{}", part(&[0; 64])), "token-signature"),
        (format!("{message}.{}", part(&[0xff; 64])), "token-signature"),
        (format!("{good}="), "token-malformed"),
        (format!("{good}.{signature}"), "token-malformed"),
        ("x".repeat(9000), "token-malformed"),
        (".".to_owned(), "token-malformed"),
    ] {
        let (framed, http) = enclave.list(Some(&forged));
        assert_eq!(framed.unwrap_err(), wanted, "{forged}");
        assert_eq!((http.status, code(&http).as_str()), (401, wanted), "{forged}");
    }
    Ok(())
}
