//! Quotes that Intel's quoting enclaves made, at times when their collateral was valid.

use super::*;

const TDX: &[(&[u8], &str, i64, &str)] = &[
    (
        include_bytes!("../../../tests/data/tdx_quote"),
        include_str!("../../../tests/data/tdx_quote_collateral.json"),
        1_750_400_000,
        "UpToDate",
    ),
    (
        include_bytes!("../../../tests/data/tdx_quote_td15ex"),
        include_str!("../../../tests/data/tdx_quote_td15ex_collateral.json"),
        1_792_000_000,
        "UpToDate",
    ),
];

const OUTDATED: &[u8] = include_bytes!("../../../tests/data/tdx_quote_outdated");
const OUTDATED_COLLATERAL: &str = include_str!("../../../tests/data/tdx_quote_outdated_collateral.json");

fn intel_root() -> Vec<u8> {
    let quote = crate::quote::Quote::parse(SGX).unwrap();
    let root = dcap::PckChain::of(&quote).unwrap().root().to_vec();
    assert_eq!(<[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&root)), crate::policy::INTEL_ROOT);
    root
}

#[test]
fn an_sgx_quote_is_accepted_at_its_time() {
    let verifier = verifier(SGX_POLICY);
    let collateral = collateral(SGX_COLLATERAL);
    let verdict =
        verifier.judge(&Presented::Quote(SGX), Some(&collateral), Disclosed::default(), at(SGX_TIME));
    assert!(verdict.accepted(), "{verdict}");
    let names: Vec<_> = verdict.checks().iter().map(|check| check.check.name()).collect();
    assert_eq!(
        names,
        ["policy", "quote-format", "root", "quote", "debug", "measurement", "tcb-status", "advisories"]
    );
    let tcb = verdict.tcb().unwrap();
    assert_eq!(tcb.status, "ConfigurationAndSWHardeningNeeded");
    assert_eq!(tcb.advisories, ["INTEL-SA-00289", "INTEL-SA-00615"]);
    assert_eq!((tcb.root, tcb.ppid.len(), tcb.fmspc.len()), (crate::policy::INTEL_ROOT, 16, 6));
    assert_eq!(verdict.enclave().unwrap().mrenclave, SGX[112..144]);
    // A quote alone vouches for no connection.
    assert!(verdict.into_verified().is_err());
}

#[test]
fn collateral_is_valid_for_a_time() {
    // What the collateral says of itself, and a second beyond either end.
    for (seconds, expected) in [
        (1_750_330_571, vec![]),
        (1_750_330_570, vec!["quote"]),
        (1_752_919_278, vec![]),
        (1_752_919_279, vec!["quote"]),
        (-1, vec!["quote"]),
    ] {
        assert_eq!(failed(SGX_POLICY, seconds), expected, "{seconds}");
    }
}

#[test]
fn a_policy_must_accept_status_and_advisories() {
    let default = SGX_POLICY.split("[tcb]").next().unwrap();
    assert_eq!(failed(default, SGX_TIME), ["tcb-status", "advisories"]);
    let one = SGX_POLICY.replace("\"INTEL-SA-00289\", ", "");
    assert_eq!(failed(&one, SGX_TIME), ["advisories"]);
}

#[test]
fn roots_are_never_both() {
    let fingerprint = crate::hex::encode(&crate::policy::INTEL_ROOT);
    let development = |root: &str| SGX_POLICY.replace("intel = true", &format!("development = [\"{root}\"]"));
    assert_eq!(failed(&development(&"11".repeat(32)), SGX_TIME), ["root"]);
    // Not even when it is listed: whoever wants Intel's says so.
    assert_eq!(failed(&development(&fingerprint), SGX_TIME), ["root"]);
}

#[test]
fn without_collateral_nothing_verifies() {
    let verdict =
        verifier(SGX_POLICY).judge(&Presented::Quote(SGX), None, Disclosed::default(), at(SGX_TIME));
    let failed: Vec<_> = verdict.failed().collect();
    assert_eq!(failed[0].check, CheckId::Quote);
    assert!(failed[0].message.as_ref().unwrap().contains("no collateral"), "{verdict}");
}

#[test]
fn tdx_quotes_verify_and_are_no_enclaves() {
    let root = intel_root();
    for (quote, json, seconds, status) in TDX {
        let collateral = collateral(json);
        let verified = verify_quote(quote, &root, &collateral, at(*seconds)).unwrap();
        assert_eq!((verified.status.as_str(), verified.root), (*status, crate::policy::INTEL_ROOT));
        let verdict = verifier(SGX_POLICY).judge(
            &Presented::Quote(quote),
            Some(&collateral),
            Disclosed::default(),
            at(*seconds),
        );
        let failed: Vec<_> = verdict.failed().collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].check, CheckId::QuoteFormat);
        assert!(failed[0].message.as_ref().unwrap().contains("TDX quote"), "{verdict}");
    }
}

#[test]
fn an_outdated_tdx_quote_is_refused_at_any_time_of_its_collateral() {
    let (root, collateral) = (intel_root(), collateral(OUTDATED_COLLATERAL));
    let times: Vec<i64> = [collateral.tcb_info.as_str(), &collateral.qe_identity]
        .iter()
        .map(|text| {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            let issued = crate::instant::parse(json["issueDate"].as_str().unwrap()).unwrap();
            issued.unix_timestamp() + 86_400
        })
        .collect();
    let error = verify_quote(OUTDATED, &root, &collateral, at(*times.iter().max().unwrap())).unwrap_err();
    let QuoteError::Verification { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("No matching TCB level"), "{error}");
}
