//! Quotes of Intel's own quoting enclaves, at times when their collateral was valid.

use anyhow::Result;
use attestation::instant;
use time::OffsetDateTime;

use crate::table::{Policy, Table, list};
use crate::world::World;

const SGX: &[u8] = include_bytes!("../../../../attestation/tests/data/sgx_quote");
const SGX_COLLATERAL: &str = include_str!("../../../../attestation/tests/data/sgx_quote_collateral.json");
const TDX: &[u8] = include_bytes!("../../../../attestation/tests/data/tdx_quote");
const TDX_COLLATERAL: &str = include_str!("../../../../attestation/tests/data/tdx_quote_collateral.json");
/// A moment at which both are valid.
const THEN: i64 = 1_750_400_000;
const STATE: &str = "[tcb]\nstatuses = [\"ConfigurationAndSWHardeningNeeded\"]\nadvisories = [\"INTEL-SA-00289\", \"INTEL-SA-00615\"]";

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    table.collateral("intel-sgx", serde_json::from_str(SGX_COLLATERAL)?);
    table.collateral("intel-tdx", serde_json::from_str(TDX_COLLATERAL)?);
    let bare = Policy {
        roots: "intel = true".to_owned(),
        enclave: format!("mrenclave = {}", list(&SGX[112..144])),
        rest: String::new(),
    };
    let policy = bare.with(STATE);
    let judged = |policy: &Policy, quote: &[u8], collateral: &str, seconds: i64| -> Result<_> {
        let mut input = world.quote(policy, quote);
        input.now = instant::format(OffsetDateTime::from_unix_timestamp(seconds)?);
        input.collateral_ref = Some(collateral.to_owned());
        Ok(input)
    };
    table.accepted("intel", "A genuine quote at its time.", judged(&policy, SGX, "intel-sgx", THEN)?);
    table.refused(
        "intel-later",
        "A genuine quote when its collateral has expired.",
        judged(&policy, SGX, "intel-sgx", 1_752_919_279)?,
        &["quote"],
    );
    table.refused(
        "intel-earlier",
        "A genuine quote before its collateral was issued.",
        judged(&policy, SGX, "intel-sgx", 1_750_330_570)?,
        &["quote"],
    );
    table.refused(
        "intel-by-default",
        "A genuine quote of a platform that needs hardening.",
        judged(&bare, SGX, "intel-sgx", THEN)?,
        &["tcb-status", "advisories"],
    );
    let development = policy.roots(&format!("development = {}", list(&world.machine.root())));
    table.refused(
        "intel-under-development",
        "A genuine quote where a development root is asked for.",
        judged(&development, SGX, "intel-sgx", THEN)?,
        &["root"],
    );
    table.refused(
        "intel-other-collateral",
        "A genuine quote with collateral of another platform.",
        judged(&policy, SGX, "intel-tdx", THEN)?,
        &["quote"],
    );
    table.refused(
        "intel-tdx",
        "A genuine quote of a virtual machine.",
        judged(&policy, TDX, "intel-tdx", THEN)?,
        &["quote-format"],
    );
    let signer =
        policy.enclave(&format!("mrsigner = {}\nisv_prod_id = 0\nmin_isv_svn = 0", list(&SGX[176..208])));
    table.accepted(
        "intel-by-signer",
        "A genuine quote by signer, product and version.",
        judged(&signer, SGX, "intel-sgx", THEN)?,
    );
    Ok(())
}
