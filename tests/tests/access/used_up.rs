//! A manager's token is good for one operation on one connection.

use anyhow::Result;
use attestation::operator_token::{Role, Token};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use boundary_wire::client::{Command, Reply};
use bytes::Bytes;
use enclave_os_client::Body;
use http_body_util::{BodyExt, Empty};
use scenarios::platform::Platform;
use serde_json::Value;

use crate::support::*;

pub(crate) fn a_managers_token_is_good_once_and_on_one_connection(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let (mut first, mut second) = (enclave.framed(), enclave.framed());
    let none = signed(&enclave.token(Role::Manager));
    assert_eq!(ask(&mut first, unload("shop"), Some(&none)).unwrap_err(), "nonce-missing");
    let with = |nonce: String| signed(&Token { nonce: Some(nonce), ..enclave.token(Role::Manager) });
    let token = with(first.challenge()?);
    assert_eq!(ask(&mut second, unload("shop"), Some(&token)).unwrap_err(), "nonce-unknown");
    assert_eq!(ask(&mut second, Command::List, Some(&token)).unwrap_err(), "nonce-unknown");
    assert!(matches!(ask(&mut first, unload("shop"), Some(&token)), Ok(Reply::NotFound { .. })));
    assert_eq!(ask(&mut first, unload("shop"), Some(&token)).unwrap_err(), "nonce-unknown");
    let invented = with(BASE64_URL_SAFE_NO_PAD.encode([7; 32]));
    assert_eq!(ask(&mut first, unload("shop"), Some(&invented)).unwrap_err(), "nonce-unknown");

    // Over HTTP, and from there to frames.
    let (mut http, mut other) = (enclave.http(), enclave.http());
    let token = with(http.challenge()?);
    let refused = send(&mut other, "DELETE", "apps/shop", Some(&token));
    assert_eq!((refused.status, code(&refused).as_str()), (401, "nonce-unknown"));
    assert_eq!(ask(&mut first, unload("shop"), Some(&token)).unwrap_err(), "nonce-unknown");
    let done = send(&mut http, "DELETE", "apps/shop", Some(&token));
    assert_eq!((done.status, code(&done).as_str()), (404, "unknown-app"));
    let again = send(&mut http, "DELETE", "apps/shop", Some(&token));
    assert_eq!((again.status, code(&again).as_str()), (401, "nonce-unknown"));
    // By GET as by POST. An upload that breaks off afterwards has used its token up.
    let nonce = serde_json::from_slice::<Value>(&get(&mut http, "challenge", None).body)?;
    let token = with(nonce["nonce"].as_str().unwrap().to_owned());
    let bearer = format!("Bearer {token}");
    let mut upload = |bytes: &[u8]| {
        let body = Body::Bytes("application/octet-stream", bytes);
        http.request("PUT", "/.enclave/v1/apps/shop", &[("authorization", bearer.as_str())], body).unwrap()
    };
    assert_eq!(code(&upload(b"no artifact")), "not-an-artifact");
    assert_eq!(code(&upload(&artifact(platform, 1))), "nonce-unknown");
    // More nonces than anybody needs: the oldest are gone, the others good, and nothing grows.
    let nonces: Vec<_> = (0..200).map(|_| first.challenge().unwrap()).collect();
    for (at, wanted) in [(0, false), (135, false), (136, true), (199, true)] {
        let result = ask(&mut first, unload("shop"), Some(&with(nonces[at].clone())));
        assert_eq!(result.is_ok(), wanted, "{at}");
    }
    drop((first, second, http, other));
    let output = enclave.host.stop_with_output()?;
    let secret = token.rsplit_once('.').unwrap().1;
    assert!(!output.contains(&token) && !output.contains(secret), "a token is in the log:\n{output}");
    Ok(())
}

pub(crate) fn streams_of_one_connection_share_its_nonces(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let policy = enclave.host.verification_policy()?;
    let claims = enclave.token(Role::Manager);
    runtime.block_on(async {
        let connector =
            enclave_os_client::tokio::VerifiedConnector::new(enclave.host.address().to_string(), policy);
        let requests = connector.http2().await?.into_inner();
        let send = |method: &str, path: &str, token: Option<String>| {
            let mut request =
                hyper::Request::builder().method(method).uri(format!("https://localhost/.enclave/v1/{path}"));
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed();
            let (mut requests, request) = (requests.clone(), request.body(body).unwrap());
            async move {
                let response = requests.send_request(request).await.unwrap();
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                (status, serde_json::from_slice::<Value>(&body).unwrap())
            }
        };
        // Asked for at once, and used at once in another order.
        let asked: Vec<_> = (0..16).map(|_| tokio::spawn(send("POST", "challenge", None))).collect();
        let mut tokens = Vec::new();
        for answer in asked {
            let (status, body) = answer.await?;
            assert_eq!(status, 200);
            let nonce = body["nonce"].as_str().unwrap().to_owned();
            tokens.push(signed(&Token { nonce: Some(nonce), ..claims.clone() }));
        }
        tokens.reverse();
        let twice: Vec<_> = tokens
            .iter()
            .chain(&tokens)
            .map(|token| tokio::spawn(send("DELETE", "apps/none", Some(token.clone()))))
            .collect();
        let mut codes = Vec::new();
        for answer in twice {
            let (_, body) = answer.await?;
            codes.push(body["code"].as_str().unwrap_or_default().to_owned());
        }
        // Each token was good for exactly one of its two streams.
        let good = codes.iter().filter(|code| *code == "unknown-app").count();
        let gone = codes.iter().filter(|code| *code == "nonce-unknown").count();
        assert_eq!((good, gone), (16, 16), "{codes:?}");
        anyhow::Ok(())
    })
}
