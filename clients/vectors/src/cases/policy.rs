//! Policies that are none, and enclaves that are not the policy's.

use anyhow::Result;
use sgx_emu::EnclaveState;

use crate::table::{Policy, Table, list};
use crate::world::{Bound, Site, World};

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    unreadable(table, world)?;
    measurement(table, world)?;
    debug(table, world)
}

fn unreadable(table: &mut Table, world: &World) -> Result<()> {
    let (site, good) = (world.site(), world.policy());
    let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let root = list(&world.machine.root());
    let upper = format!("[\"{}\"]", "AB".repeat(32));
    let mut refused = |name: &str, what: &str, text: String| {
        let mut input = world.challenge(&good, &site, &leaf);
        input.policy = text;
        table.refused(&format!("policy-{name}"), what, input, &["policy"]);
    };
    refused("empty", "An empty policy accepts nothing.", String::new());
    refused("no-enclave", "A policy that names no enclave accepts nothing.", good.enclave("").text());
    refused("unknown-key", "An unknown key is an error.", good.with("surprise = 1").text());
    refused("unknown-table", "An unknown table is an error.", good.with("[surprise]").text());
    refused(
        "unknown-key-in-table",
        "An unknown key in a known table is an error.",
        good.with("[freshness]\nmax_age = 60").text(),
    );
    refused(
        "both-roots",
        "Intel's root and a development root are never accepted together.",
        good.roots(&format!("intel = true\ndevelopment = {root}")).text(),
    );
    refused("no-root", "A policy needs a root.", good.roots("").text());
    refused(
        "signer-without-product",
        "A signer is named with product and version.",
        good.enclave(&format!("mrsigner = {}", list(&world.state.mrsigner))).text(),
    );
    refused(
        "format-2",
        "A policy of another format is refused.",
        good.text().replace("format = 1", "format = 2"),
    );
    refused("no-format", "A policy says which format it has.", good.text().replace("format = 1", ""));
    refused("revoked", "Revoked can never be accepted.", good.with("[tcb]\nstatuses = [\"Revoked\"]").text());
    refused(
        "empty-list",
        "An empty list is an error.",
        good.with("[app]\nname = \"mail\"\ncode_hashes = []").text(),
    );
    refused(
        "upper-case",
        "Hexadecimal is in lower case.",
        good.enclave(&format!("mrenclave = {upper}")).text(),
    );
    refused("short-hash", "A hash has its full length.", good.enclave("mrenclave = [\"0011\"]").text());
    refused(
        "until-without-time",
        "The end of a grace period is a moment.",
        good.with("[tcb]\nstatuses = [{ status = \"OutOfDate\", until = \"2027-01-01\" }]").text(),
    );
    refused(
        "unknown-tier",
        "A tier is one of three.",
        good.with("[freshness]\nmin_tier = \"strong\"").text(),
    );
    Ok(())
}

fn measurement(table: &mut Table, world: &World) -> Result<()> {
    let site = world.site();
    let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let EnclaveState { mrenclave, mrsigner, .. } = &world.state;
    let signer = |signer: &[u8], product: u16, version: u16| {
        format!("mrsigner = {}\nisv_prod_id = {product}\nmin_isv_svn = {version}", list(signer))
    };
    let judged = |enclave: &str| -> _ {
        let policy: Policy = world.policy().enclave(enclave);
        world.challenge(&policy, &site, &leaf)
    };
    let image = format!("mrenclave = {}", list(mrenclave));
    table.accepted(
        "signer",
        "Signer, product and a version that is newer than asked for.",
        judged(&signer(mrsigner, 7, 2)),
    );
    table.accepted(
        "image-and-signer",
        "Measurement and signer, which both hold.",
        judged(&format!("{image}\n{}", signer(mrsigner, 7, 3))),
    );
    let failed = &["measurement"];
    table.refused(
        "other-image",
        "Another measurement.",
        judged(&format!("mrenclave = {}", list(&[1; 32]))),
        failed,
    );
    table.refused("other-signer", "Another signer.", judged(&signer(&[1; 32], 7, 1)), failed);
    table.refused("other-product", "Another product of the signer.", judged(&signer(mrsigner, 8, 1)), failed);
    table.refused(
        "older-image",
        "A version that is older than asked for.",
        judged(&signer(mrsigner, 7, 4)),
        failed,
    );
    table.refused(
        "image-of-other-signer",
        "The measurement holds, the signer does not: both have to.",
        judged(&format!("{image}\n{}", signer(&[1; 32], 7, 1))),
        failed,
    );
    table.refused(
        "signer-of-other-image",
        "The signer holds, the measurement does not: both have to.",
        judged(&format!("mrenclave = {}\n{}", list(&[1; 32]), signer(mrsigner, 7, 1))),
        failed,
    );
    Ok(())
}

fn debug(table: &mut Table, world: &World) -> Result<()> {
    let mut state = world.state.clone();
    state.attributes[0] |= 0x02;
    let site = Site { state, ..world.site() };
    let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let policy = world.policy();
    let allowed = policy.enclave(&format!("{}\nallow_debug = true", policy.enclave));
    table.accepted(
        "debug-allowed",
        "A debug enclave where the policy allows it.",
        world.challenge(&allowed, &site, &leaf),
    );
    table.refused("debug", "A debug enclave.", world.challenge(&policy, &site, &leaf), &["debug"]);
    let quote = leaf.quote.clone().unwrap_or_default();
    table.refused("debug-quote", "The quote of a debug enclave.", world.quote(&policy, &quote), &["debug"]);
    Ok(())
}
