//! The state of platforms, and which ones.

use anyhow::Result;
use attestation::instant;
use serde_json::Value;
use sgx_emu::quoting::{PkiOptions, TcbLevel, TcbStatus};
use time::Duration;

use crate::table::{Table, list};
use crate::world::{Bound, World};

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    states(table, world)?;
    instances(table, world)
}

fn states(table: &mut Table, world: &World) -> Result<()> {
    let policy = world.policy();
    let quote = world.machine.quote(&world.state, &[0; 64])?;
    let made = |options: PkiOptions| world.machine.collateral(world.now - Duration::days(1), &options);
    let level = |status, advisories: &[&str]| {
        made(PkiOptions { tcb_levels: vec![TcbLevel::of(status, advisories)], ..PkiOptions::default() })
    };
    let judged = |rest: &str, collateral: &Value| {
        let mut input = world.quote(&policy.with(rest), &quote);
        (input.collateral, input.collateral_ref) = (Some(collateral.clone()), None);
        input
    };
    let old = level(TcbStatus::OutOfDate, &[])?;
    let until = |at| {
        format!(
            "[tcb]\nstatuses = [\"UpToDate\", {{ status = \"OutOfDate\", until = \"{}\" }}]",
            instant::format(at)
        )
    };
    table.refused("out-of-date", "A platform that lacks updates.", judged("", &old), &["tcb-status"]);
    table.accepted(
        "out-of-date-accepted",
        "The same where the policy accepts it.",
        judged("[tcb]\nstatuses = [\"OutOfDate\"]", &old),
    );
    table.accepted(
        "grace",
        "The same a second before the grace period ends.",
        judged(&until(world.now + Duration::SECOND), &old),
    );
    table.refused(
        "grace-over",
        "The same when the grace period ends.",
        judged(&until(world.now), &old),
        &["tcb-status"],
    );
    for (name, status) in [
        ("hardening-needed", TcbStatus::SWHardeningNeeded),
        ("configuration-needed", TcbStatus::ConfigurationNeeded),
        ("configuration-and-hardening-needed", TcbStatus::ConfigurationAndSWHardeningNeeded),
        ("out-of-date-configuration-needed", TcbStatus::OutOfDateConfigurationNeeded),
    ] {
        let collateral = level(status, &[])?;
        table.refused(
            name,
            "A platform that is not as it should be.",
            judged("", &collateral),
            &["tcb-status"],
        );
    }
    let unlisted = level(TcbStatus::UpToDate, &[])?;
    table.refused(
        "not-listed",
        "A platform in a better state than the policy lists.",
        judged("[tcb]\nstatuses = [\"OutOfDate\"]", &unlisted),
        &["tcb-status"],
    );
    let stale_qe =
        made(PkiOptions { quoting_enclave_status: TcbStatus::OutOfDate, ..PkiOptions::default() })?;
    table.refused(
        "out-of-date-quoting-enclave",
        "A quoting enclave that lacks updates.",
        judged("", &stale_qe),
        &["tcb-status"],
    );

    let advised = level(TcbStatus::SWHardeningNeeded, &["INTEL-SA-00334", "INTEL-SA-00615"])?;
    let hardened =
        |advisories: &str| format!("[tcb]\nstatuses = [\"SWHardeningNeeded\"]\nadvisories = [{advisories}]");
    table.accepted(
        "advisories",
        "Advisories that the policy accepts.",
        judged(&hardened("\"INTEL-SA-00615\", \"INTEL-SA-00334\""), &advised),
    );
    table.refused(
        "advisory",
        "One advisory that the policy does not accept.",
        judged(&hardened("\"INTEL-SA-00615\""), &advised),
        &["advisories"],
    );
    table.refused(
        "state-and-advisories",
        "Everything that is wrong is told.",
        judged("", &advised),
        &["tcb-status", "advisories"],
    );
    let graced = |at| {
        let at = instant::format(at);
        hardened(&format!("\"INTEL-SA-00334\", {{ advisory = \"INTEL-SA-00615\", until = \"{at}\" }}"))
    };
    table.accepted(
        "advisory-grace",
        "An advisory a second before its grace period ends.",
        judged(&graced(world.now + Duration::SECOND), &advised),
    );
    table.refused(
        "advisory-grace-over",
        "An advisory when its grace period ends.",
        judged(&graced(world.now), &advised),
        &["advisories"],
    );
    let of_qe = made(PkiOptions {
        quoting_enclave_advisories: vec!["INTEL-SA-00615".to_owned()],
        ..PkiOptions::default()
    })?;
    table.refused(
        "advisory-of-quoting-enclave",
        "An advisory of the quoting enclave.",
        judged("", &of_qe),
        &["advisories"],
    );
    Ok(())
}

fn instances(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let on = |ppid: &[u8]| policy.with(&format!("[platform]\nppids = {}", list(ppid)));
    let (own, other) = (on(&world.machine.ppid()), on(&world.other_machine.ppid()));
    table.accepted("machine", "A machine that the policy lists.", world.challenge(&own, &site, &leaf));
    table.refused(
        "other-ppid",
        "A machine that the policy does not list.",
        world.challenge(&other, &site, &leaf),
        &["platform"],
    );
    let quote = world.machine.quote(&world.state, &[0; 64])?;
    table.refused(
        "other-ppid-quote",
        "The quote of a machine that the policy does not list.",
        world.quote(&other, &quote),
        &["platform"],
    );
    Ok(())
}
