//! What is configured.

use anyhow::{Context, Result};
use attestation::hex;
use attestation::manifest::Manifest;
use attestation::vectors::Input;
use serde_json::Value;

use crate::table::{Table, list};
use crate::world::{Bound, Leaf, World, manifest};

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let nonce = Bound::Nonce(&world.nonce);
    let whole = site.leaf(world.for_connection(world.claims()), nonce)?;
    let kv = site.leaf(world.for_connection(world.app_claims(0)), nonce)?;
    let failed = &["configuration"];
    let asked = |rest: &str| policy.with(&format!("[configuration]\n{rest}"));
    let with = |input: Input, manifest: &Manifest| -> Result<Input> {
        Ok(Input { manifest: Some(serde_json::to_value(manifest)?), ..input })
    };
    let root = format!("root = {}", list(&world.manifest.root()));
    table.accepted(
        "configuration-root",
        "The configuration root that the policy names.",
        world.challenge(&asked(&root), &site, &whole),
    );
    let other_root = format!("root = {}", list(&[3; 32]));
    table.refused(
        "other-configuration-root",
        "Another configuration root.",
        world.challenge(&asked(&other_root), &site, &whole),
        failed,
    );

    let app_root = format!("app_root = {}", list(&world.apps[0].configuration_root));
    let of_app = |rest: &str| policy.with(&format!("[app]\nname = \"kv-store\"\n[configuration]\n{rest}"));
    table.accepted(
        "app-root",
        "The app's root, in its own certificate.",
        world.challenge(&asked(&app_root), &site, &kv),
    );
    let input = with(world.challenge(&of_app(&app_root), &site, &whole), &world.manifest)?;
    table.accepted("app-root-from-manifest", "The app's root, computed from the manifest.", input);
    table.refused(
        "app-root-not-told",
        "No certificate of the app and no manifest.",
        world.challenge(&of_app(&app_root), &site, &whole),
        failed,
    );
    let other = format!("app_root = {}", list(&world.apps[1].configuration_root));
    table.refused(
        "other-app-root",
        "Another app's root.",
        world.challenge(&asked(&other), &site, &kv),
        failed,
    );

    let hash = |name: &str| world.manifest.leaf(name).map(|leaf| *leaf.value_hash()).unwrap_or_default();
    let leaf = |name: &str, hash: &[u8; 32]| {
        asked(&format!("[configuration.leaves]\n\"{name}\" = [\"{}\"]", hex::encode(hash)))
    };
    let operators = leaf("core.operator_policy", &hash("core.operator_policy"));
    let plain = world.challenge(&operators, &site, &whole);
    table.accepted("leaf", "A required leaf of the configuration.", with(plain.clone(), &world.manifest)?);
    table.refused(
        "leaf-without-manifest",
        "A required leaf, and no manifest to find it in.",
        plain.clone(),
        failed,
    );
    table.refused(
        "leaf-of-other-configuration",
        "A manifest of another configuration.",
        with(plain, &manifest("older", &world.ca)?)?,
        failed,
    );
    let changed = world.challenge(&leaf("core.code_policy", &[9; 32]), &site, &whole);
    table.refused(
        "other-leaf",
        "A required leaf with another value.",
        with(changed, &world.manifest)?,
        failed,
    );
    let absent = world.challenge(&leaf("core.missing", &[9; 32]), &site, &whole);
    table.refused(
        "missing-leaf",
        "A required leaf that is not there.",
        with(absent, &world.manifest)?,
        failed,
    );

    proofs(table, world)?;

    let own = world.manifest.of_app("kv-store")?;
    let limits = world.challenge(&leaf("app.kv-store.limits", &hash("app.kv-store.limits")), &site, &kv);
    table.accepted("leaf-of-app", "A required leaf in the app's own manifest.", with(limits.clone(), &own)?);
    table.accepted(
        "leaf-of-app-in-whole",
        "The same in the manifest of the enclave.",
        with(limits, &world.manifest)?,
    );
    let core = world.challenge(&operators, &site, &kv);
    table.refused(
        "core-leaf-in-app-manifest",
        "The app's own manifest has no leaf of the core.",
        with(core, &own)?,
        failed,
    );
    let mail = world.manifest.of_app("mail")?;
    let limits = world.challenge(&leaf("app.mail.limits", &hash("app.mail.limits")), &site, &kv);
    table.refused("manifest-of-other-app", "The manifest of another app.", with(limits, &mail)?, failed);
    let mut unread = world.challenge(&policy, &site, &whole);
    unread.manifest = Some(serde_json::to_value(manifest("older", &world.ca)?)?);
    table.accepted(
        "manifest-not-asked-for",
        "A manifest that the policy does not ask for is not judged.",
        unread,
    );
    Ok(())
}

/// Single leaves with their way to the root, in place of the manifest.
fn proofs(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let nonce = Bound::Nonce(&world.nonce);
    let whole = site.leaf(world.for_connection(world.claims()), nonce)?;
    let kv = site.leaf(world.for_connection(world.app_claims(0)), nonce)?;
    let failed = &["configuration"];
    let proof = |manifest: &Manifest, leaf: &str| -> Result<Value> {
        let proof = manifest.proof(leaf).with_context(|| format!("there is a leaf {leaf}"))?;
        Ok(serde_json::to_value(proof)?)
    };
    let required = |leaves: &[&str]| {
        let line = |name: &&str| {
            let hash = world.manifest.leaf(name).map(|leaf| *leaf.value_hash()).unwrap_or_default();
            format!("\"{name}\" = [\"{}\"]\n", hex::encode(&hash))
        };
        policy.with(&format!("[configuration.leaves]\n{}", leaves.iter().map(line).collect::<String>()))
    };
    let (operators, code) = ("core.operator_policy", "core.code_policy");
    let shown = |leaf: &Leaf, wanted: &[&str], proofs: Vec<Value>| Input {
        proofs: Some(proofs),
        ..world.challenge(&required(wanted), &site, leaf)
    };
    let good = proof(&world.manifest, operators)?;
    table.accepted(
        "leaf-by-proof",
        "A required leaf, proved without the others.",
        shown(&whole, &[operators], vec![good.clone()]),
    );
    table.accepted(
        "core-leaf-by-proof-for-app",
        "The same beside the certificate of one app: the proof leads to the enclave's root.",
        shown(&kv, &[operators], vec![good.clone()]),
    );
    table.accepted(
        "two-leaves-by-proofs",
        "Two required leaves, each proved.",
        shown(
            &whole,
            &[operators, "app.kv-store.limits"],
            vec![proof(&world.manifest, "app.kv-store.limits")?, good.clone()],
        ),
    );
    table.refused(
        "one-leaf-not-proved",
        "Of two required leaves one is proved.",
        shown(&whole, &[operators, code], vec![good.clone()]),
        failed,
    );
    table.refused(
        "proof-of-another-leaf",
        "The proof of another leaf than the required one.",
        shown(&whole, &[code], vec![good.clone()]),
        failed,
    );
    table.refused(
        "proof-of-other-configuration",
        "A proof that leads to the root of another configuration.",
        shown(&whole, &[operators], vec![proof(&manifest("older", &world.ca)?, operators)?]),
        failed,
    );
    let mut forged = good.clone();
    forged["path"][0] = serde_json::json!("07".repeat(32));
    table.refused(
        "proof-with-other-path",
        "A proof whose path was changed.",
        shown(&whole, &[operators], vec![forged]),
        failed,
    );
    let mut other = world.challenge(
        &policy.with(&format!("[configuration.leaves]\n\"{operators}\" = {}", list(&[9; 32]))),
        &site,
        &whole,
    );
    other.proofs = Some(vec![good.clone()]);
    table.refused("proof-of-other-value", "A leaf is proved that has another value.", other, failed);
    let mut beside = shown(&whole, &[operators], vec![good]);
    beside.manifest = Some(serde_json::to_value(manifest("older", &world.ca)?)?);
    table.refused(
        "proof-beside-other-manifest",
        "A proof that holds, and a manifest of another configuration.",
        beside,
        failed,
    );
    let app_root = format!("root = {}", list(&world.manifest.root()));
    let mut unread = world.challenge(&policy.with(&format!("[configuration]\n{app_root}")), &site, &whole);
    unread.proofs = Some(vec![proof(&manifest("older", &world.ca)?, operators)?]);
    table.accepted("proof-not-asked-for", "A proof that the policy does not ask for is not judged.", unread);
    Ok(())
}
