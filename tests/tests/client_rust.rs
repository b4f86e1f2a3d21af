//! The Rust client against a live enclave: whoever passes the policy is talked to, and nobody else gets a byte.
//!
//! Required: each tier is verified as what it is; a policy that does not hold ends the connection before the first
//! application byte, with the check that failed; nothing of one connection passes for another.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::sync::Arc;

use anyhow::Result;
use attestation::collateral::Collateral;
use attestation::policy::{Accepted, AppRule, Roots, TcbStatus, VerificationPolicy};
use attestation::verify::{CheckId, Tier, Verdict};
use bytes::Bytes;
use enclave_os_client::tokio as asynchronous;
use enclave_os_client::{Body, ClientError, Params, QuotedCertificates, VerifiedConnector};
use http_body_util::{BodyExt, Full};
use scenarios::example::{self, World};
use scenarios::host::{HostProcess, development_pki};
use scenarios::platform::Platform;
use scenarios::recorder::Recorder;
use serde_json::json;
use sgx_emu::quoting::{PkiOptions, Revoked};

scenarios::on_each_platform!(
    every_tier_is_verified_and_says_which_it_is,
    a_policy_that_does_not_hold_gets_no_application_byte,
    collateral_is_asked_for_once,
    collateral_of_the_callers_is_the_only_one_that_counts,
    verification_inside_the_handshake_of_any_rustls,
    without_blocking_too,
    single_leaves_of_the_configuration_can_be_demanded,
);

struct Enclave {
    host: HostProcess,
    policy: VerificationPolicy,
    _world: World,
    _folder: tempfile::TempDir,
}

impl Enclave {
    /// With the example loaded as `app`.
    fn start(platform: Platform) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let world = World::new(platform, folder.path().join("data"))?;
        let host = world.start()?;
        host.framed()?.load(enclave_os_client::Load {
            name: "app".to_owned(),
            bytes: example::artifact(platform)?,
            ..Default::default()
        })?;
        let policy = host.verification_policy()?;
        Ok(Self { host, policy, _world: world, _folder: folder })
    }

    fn connector(&self) -> VerifiedConnector {
        VerifiedConnector::new(self.host.address().to_string(), self.policy.clone())
    }
}

#[track_caller]
fn verdict<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Verdict {
    match result {
        Err(ClientError::Verification(verdict)) => *verdict,
        other => panic!("no verdict: {other:?}"),
    }
}

fn fails(verdict: &Verdict, check: CheckId) -> bool {
    verdict.failed().any(|failed| failed.check == check)
}

fn every_tier_is_verified_and_says_which_it_is(platform: Platform) -> Result<()> {
    let mut enclave = Enclave::start(platform)?;
    enclave.policy.freshness.min_tier = Tier::Certificate;
    for tier in [Tier::Certificate, Tier::Challenge, Tier::Channel] {
        let connector = enclave.connector().tier(tier);
        let mut framed = connector.framed()?;
        assert_eq!(framed.verified().tier(), tier);
        let returns = framed.call("app", "hello", Params::default())?;
        assert_eq!(returns, [json!({"type": "string", "value": "Hello, World!"})]);
        let mut http = connector.http()?;
        assert_eq!(http.verified().tier(), tier);
        assert_eq!(http.request("GET", "/.enclave/v1/health", &[], Body::Empty)?.status, 200);
    }
    Ok(())
}

/// Makes a policy that does not hold.
type Change<'a> = &'a dyn Fn(&mut VerificationPolicy);

fn a_policy_that_does_not_hold_gets_no_application_byte(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let recorder = Recorder::before(enclave.host.address())?;
    let other = |change: &dyn Fn(&mut VerificationPolicy)| {
        let mut policy = enclave.policy.clone();
        change(&mut policy);
        VerifiedConnector::new(recorder.address().to_string(), policy)
    };
    let cases: [(CheckId, Change); 5] = [
        (CheckId::Measurement, &|policy| policy.enclave.mrenclave = Some(vec![[7; 32]])),
        (CheckId::Root, &|policy| policy.roots = Roots::Intel),
        (CheckId::Root, &|policy| policy.roots = Roots::Development(vec![[7; 32]])),
        (CheckId::TcbStatus, &|policy| {
            policy.tcb.statuses = vec![Accepted::always(TcbStatus::SWHardeningNeeded)];
        }),
        (CheckId::App, &|policy| {
            policy.app = Some(AppRule { name: "another".to_owned(), code_hashes: None, key_source: None });
        }),
    ];
    for (check, change) in cases {
        for tier in [Tier::Challenge, Tier::Channel] {
            let refused = verdict(other(change).tier(tier).framed());
            assert!(fails(&refused, check), "{check} on {tier}: {refused}");
        }
    }
    let weak = verdict(other(&|_| {}).tier(Tier::Certificate).framed());
    assert!(fails(&weak, CheckId::Tier), "{weak}");
    let name = verdict(other(&|_| {}).server_name("elsewhere.example").framed());
    assert!(fails(&name, CheckId::ServerName), "{name}");

    // The question for evidence is all that was ever sent after a handshake.
    let longest_question = 600;
    for sent in recorder.sent_after_handshakes() {
        assert!(sent <= longest_question, "{sent} bytes were sent to an enclave that did not pass");
    }
    Ok(())
}

fn collateral_is_asked_for_once(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let recorder = Recorder::before(enclave.host.address())?;
    let connector =
        VerifiedConnector::new(recorder.address().to_string(), enclave.policy.clone()).tier(Tier::Challenge);
    drop(connector.framed()?);
    drop(connector.framed()?);
    let received = recorder.received();
    let [first, second] = received[..] else { panic!("two connections: {received:?}") };
    // The development collateral alone is longer than this.
    assert!(first > second + 4_000, "{first} and {second} bytes were received");
    Ok(())
}

/// The caller knows that the platform is revoked; the enclave's host still has the lists of the day before.
fn collateral_of_the_callers_is_the_only_one_that_counts(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let revoked = PkiOptions { revoked: vec![Revoked::Pck], ..PkiOptions::default() };
    let now = time::OffsetDateTime::now_utc();
    let given = Collateral::from_json(&development_pki()?.renewed(now, &revoked)?.collateral_json())?;
    for tier in [Tier::Challenge, Tier::Channel] {
        let refused = verdict(enclave.connector().collateral(given.clone()).tier(tier).framed());
        assert!(fails(&refused, CheckId::Quote), "{tier}: {refused}");
    }
    enclave.connector().collateral(collateral(&enclave)?).framed()?.ping()?;
    Ok(())
}

fn verification_inside_the_handshake_of_any_rustls(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let collateral = collateral(&enclave)?;
    let provider = Arc::new(rustls_graviola::default_provider());
    let handshake = |policy: VerificationPolicy, nonce: [u8; 32], offered: [u8; 32]| {
        let verifier = QuotedCertificates::new(policy, collateral.clone(), &provider).nonce(nonce);
        let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec(), QuotedCertificates::alpn_name(&offered)];
        let mut tls =
            rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        let mut tcp = std::net::TcpStream::connect(enclave.host.address()).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok::<_, std::io::Error>(tls.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(handshake(enclave.policy.clone(), [1; 32], [1; 32])?.unwrap(), b"http/1.1");
    let replayed = handshake(enclave.policy.clone(), [1; 32], [2; 32]).unwrap_err();
    assert!(replayed.to_string().contains("report-data"), "{replayed}");
    let mut wrong = enclave.policy.clone();
    wrong.enclave.mrenclave = Some(vec![[7; 32]]);
    let refused = handshake(wrong, [3; 32], [3; 32]).unwrap_err();
    assert!(refused.to_string().contains("measurement"), "{refused}");
    Ok(())
}

fn collateral(enclave: &Enclave) -> Result<Collateral> {
    let mut http = enclave.connector().http()?;
    Ok(http.evidence()?.collateral.unwrap())
}

fn without_blocking_too(platform: Platform) -> Result<()> {
    let enclave = Enclave::start(platform)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connector =
            asynchronous::VerifiedConnector::new(enclave.host.address().to_string(), enclave.policy.clone());
        for tier in [Tier::Challenge, Tier::Channel] {
            let connector = connector.clone().tier(tier);
            let mut framed = connector.framed().await?;
            assert_eq!(framed.verified().tier(), tier);
            let returns = framed.call("app", "hello", Params::default()).await?;
            assert_eq!(returns, [json!({"type": "string", "value": "Hello, World!"})]);

            let request = || {
                hyper::Request::get("https://localhost/.enclave/v1/health")
                    .header("host", "localhost")
                    .body(Full::new(Bytes::new()).map_err(|never| match never {}).boxed())
            };
            let mut http1 = connector.http1().await?;
            assert_eq!(http1.send_request(request()?).await?.status(), 200);
            let mut http2 = connector.http2().await?;
            assert_eq!(http2.send_request(request()?).await?.status(), 200);
        }
        let mut wrong = enclave.policy.clone();
        wrong.enclave.mrenclave = Some(vec![[7; 32]]);
        let wrong = asynchronous::VerifiedConnector::new(enclave.host.address().to_string(), wrong);
        assert!(fails(&verdict(wrong.framed().await), CheckId::Measurement));
        assert!(fails(&verdict(wrong.http1().await.map(|_| ())), CheckId::Measurement));
        Ok(())
    })
}

fn single_leaves_of_the_configuration_can_be_demanded(platform: Platform) -> Result<()> {
    let mut enclave = Enclave::start(platform)?;
    let rule = |name: &str, hash: [u8; 32]| {
        let leaves = [(name.to_owned(), vec![hash])].into();
        Some(attestation::policy::ConfigurationRule { leaves, ..Default::default() })
    };
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for name in ["core.operator_policy", "app.app.limits"] {
        enclave.policy.configuration = None;
        // A proof names no other leaf: this is all that is asked for.
        let proof = enclave.connector().http()?.proof(name)?;
        let shown = serde_json::to_string(&proof)?;
        assert_eq!((shown.matches("\"name\"").count(), proof.leaf().name()), (1, name));
        for (hash, holds) in [(*proof.leaf().value_hash(), true), ([7; 32], false)] {
            enclave.policy.configuration = rule(name, hash);
            let blocking = enclave.connector().framed().map(|_| ());
            let connector = asynchronous::VerifiedConnector::new(
                enclave.host.address().to_string(),
                enclave.policy.clone(),
            );
            let without_blocking = runtime.block_on(connector.framed()).map(|_| ());
            for result in [blocking, without_blocking] {
                match holds {
                    true => result?,
                    false => assert!(fails(&verdict(result), CheckId::Configuration)),
                }
            }
        }
    }
    enclave.policy.configuration = rule("core.mistyped", [7; 32]);
    assert!(fails(&verdict(enclave.connector().framed()), CheckId::Configuration));
    Ok(())
}
