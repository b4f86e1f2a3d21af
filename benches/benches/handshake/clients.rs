//! What one verification costs in each language, without the network: policy, certificate, quote and collateral.

use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use enclave_os_client::Http;
use enclave_os_client::attestation::policy::{Tier, VerificationPolicy};
use enclave_os_client::attestation::verify::{CertificateDer, Disclosed, Presented, Verifier};
use scenarios::languages;
use serde_json::json;

use crate::server::Enclave;

/// Verifications of one measurement.
const ROUNDS: usize = 200;
/// Reads a case from its input and judges it, as the Rust client does here.
const SCRIPT: &str = include_str!("verification.py");

/// One client's median.
pub(crate) struct Cost {
    pub(crate) client: &'static str,
    pub(crate) milliseconds: Result<f64>,
}

/// A certificate that passes.
struct Case {
    policy: VerificationPolicy,
    chain: Vec<Vec<u8>>,
    collateral: enclave_os_client::attestation::collateral::Collateral,
}

/// All clients'. One whose language cannot be had says why.
pub(crate) fn verification_costs(enclave: &Enclave) -> Vec<Cost> {
    let case = case(enclave).unwrap();
    vec![
        Cost { client: "Rust", milliseconds: rust(&case) },
        Cost { client: "Python", milliseconds: python(&case) },
        Cost { client: "TypeScript", milliseconds: typescript() },
        Cost { client: "Go", milliseconds: go() },
    ]
}

fn case(enclave: &Enclave) -> Result<Case> {
    let mut http: Http = enclave.connector().http()?.into_inner();
    let collateral = http.evidence()?.collateral.context("the enclave has no collateral")?;
    let chain = http.peer().chain_der().map(<[u8]>::to_vec).collect();
    let mut policy = enclave.policy().clone();
    policy.freshness.min_tier = Tier::Certificate;
    Ok(Case { policy, chain, collateral })
}

fn rust(case: &Case) -> Result<f64> {
    let verifier = Verifier::new(case.policy.clone());
    let chain: Vec<CertificateDer<'_>> = case.chain.iter().map(|der| der.as_slice().into()).collect();
    let presented = Presented::Certificate { chain: &chain, server_name: None };
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let verdict = verifier.judge(
            &presented,
            Some(&case.collateral),
            Disclosed::default(),
            time::OffsetDateTime::now_utc(),
        );
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(verdict.accepted(), "{verdict}");
    }
    times.sort_by(f64::total_cmp);
    times.get(ROUNDS / 2).copied().context("nothing was measured")
}

fn python(case: &Case) -> Result<f64> {
    let chain: Vec<String> = case.chain.iter().map(|der| STANDARD.encode(der)).collect();
    let collateral: serde_json::Value = serde_json::from_str(&case.collateral.to_json()?)?;
    let input = json!({ "policy": case.policy.to_toml()?, "chain": chain, "collateral": collateral, "rounds": ROUNDS });
    let mut child = languages::python()?
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(input.to_string().as_bytes())?;
    number(&languages::finished(&child.wait_with_output()?)?)
}

/// `test/bench/verification.ts` prints `verification: 1.23 ms (…)`.
fn typescript() -> Result<f64> {
    let printed = languages::run(languages::npm()?.args(["run", "--silent", "bench"]))?;
    number(printed.split_once("verification: ").context("no figure")?.1)
}

/// `BenchmarkJudge` prints its name, the number of rounds, and nanoseconds.
fn go() -> Result<f64> {
    let arguments = ["test", "./verify", "-run", "^$", "-bench", "^BenchmarkJudge$", "-benchtime", "200x"];
    let printed = languages::run(languages::go("go")?.args(arguments))?;
    let line = printed.lines().find(|line| line.starts_with("BenchmarkJudge")).context("no figure")?;
    let nanoseconds = line.split_whitespace().nth(2).context("no figure")?;
    Ok(number(nanoseconds)? / 1e6)
}

fn number(text: &str) -> Result<f64> {
    let number = text.split_whitespace().next().context("no figure")?;
    number.parse().with_context(|| format!("`{number}` is no figure"))
}
