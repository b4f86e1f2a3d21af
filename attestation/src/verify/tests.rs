#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop where it fails")]

mod bits;
#[cfg(feature = "vectors")]
mod deletion;
mod genuine;

use time::OffsetDateTime;

use super::*;

const SGX: &[u8] = include_bytes!("../../tests/data/sgx_quote");
const SGX_COLLATERAL: &str = include_str!("../../tests/data/sgx_quote_collateral.json");
/// A moment at which the sample's collateral is valid.
const SGX_TIME: i64 = 1_750_400_000;

/// Accepts the genuine SGX sample.
const SGX_POLICY: &str = r#"
format = 1
[roots]
intel = true
[enclave]
mrenclave = ["MRENCLAVE"]
[tcb]
statuses = ["ConfigurationAndSWHardeningNeeded"]
advisories = ["INTEL-SA-00289", "INTEL-SA-00615"]
"#;

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn collateral(json: &str) -> Collateral {
    Collateral::from_json(json).unwrap()
}

fn verifier(policy: &str) -> Verifier {
    let policy = policy.replace("MRENCLAVE", &crate::hex::encode(&SGX[112..144]));
    Verifier::new(VerificationPolicy::from_toml(&policy).unwrap())
}

/// Judges the genuine SGX sample: the names of the checks that fail.
fn failed(policy: &str, seconds: i64) -> Vec<&'static str> {
    let verdict = verifier(policy).judge(
        &Presented::Quote(SGX),
        Some(&collateral(SGX_COLLATERAL)),
        Disclosed::default(),
        at(seconds),
    );
    assert_eq!(verdict.accepted(), verdict.failed().next().is_none());
    verdict.failed().map(|check| check.check.name()).collect()
}
