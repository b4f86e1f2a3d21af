//! Evidence documents, without a connection.

use anyhow::{Context, Result};
use attestation::evidence::{CA_LEAF, EvidenceDocument};
use attestation::instant;
use serde_json::{Value, json};
use time::Duration;

use crate::enclave::{Ca, CaShape, Claims, certify};
use crate::table::{Table, list};
use crate::world::{Bound, Leaf, Site, World, manifest};

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    whole(table, world)?;
    malformed(table, world)?;
    forged(table, world)?;
    authority(table, world)
}

fn json_of(document: &EvidenceDocument) -> Result<Value> {
    Ok(serde_json::from_str(&document.to_json()?)?)
}

fn whole(table: &mut Table, world: &World) -> Result<()> {
    let (site, lax) = (world.site(), world.lax());
    let leaf = site.leaf(world.claims(), Bound::NotBefore)?;
    let mut document = world.document(&site, &leaf, &world.manifest)?;
    let good = json_of(&document)?;
    table.accepted(
        "evidence",
        "A document that is verified without a connection.",
        world.evidence(&lax, good.clone()),
    );
    table.refused(
        "evidence-by-default",
        "A document is not enough by default.",
        world.evidence(&world.policy(), good.clone()),
        &["tier"],
    );
    let mut old = world.evidence(&lax.with("max_age_seconds = 3600"), good.clone());
    old.now = instant::format(leaf.claims.not_before + Duration::seconds(3901));
    table.refused("old-evidence", "A document that is older than is allowed.", old, &["age"]);
    let mut late = world.evidence(&lax, good.clone());
    late.now = instant::format(world.now + Duration::hours(25));
    table.refused("evidence-25-hours-later", "A document of yesterday.", late, &["certificate-time", "age"]);
    let mut bare = world.evidence(&lax, good);
    bare.collateral_ref = None;
    table.refused(
        "evidence-without-collateral",
        "Neither the document nor the verifier has collateral.",
        bare.clone(),
        &["quote"],
    );
    document.collateral =
        Some(attestation::collateral::Collateral::from_json(&world.machine.pki.collateral_json())?);
    bare.evidence = Some(json_of(&document)?);
    table.accepted("evidence-with-collateral", "The document brings its own collateral.", bare);

    let leaf = site.leaf(world.app_claims(0), Bound::NotBefore)?;
    let document = json_of(&world.document(&site, &leaf, &world.manifest.of_app("kv-store")?)?)?;
    let asked = lax.with(&format!(
        "[app]\nname = \"kv-store\"\n[configuration]\napp_root = {}",
        list(&world.apps[0].configuration_root)
    ));
    table.accepted(
        "evidence-of-app",
        "A document of one app, which says nothing of the others.",
        world.evidence(&asked, document),
    );
    Ok(())
}

fn malformed(table: &mut Table, world: &World) -> Result<()> {
    let (site, lax) = (world.site(), world.lax());
    let failed = &["evidence-format"];
    let leaf = site.leaf(world.claims(), Bound::NotBefore)?;
    let good = json_of(&world.document(&site, &leaf, &world.manifest)?)?;
    let mut changed = |name: &str, what: &str, change: &dyn Fn(&mut Value), failed: &[&str]| {
        let mut document = good.clone();
        change(&mut document);
        table.refused(name, what, world.evidence(&lax, document), failed);
    };
    changed("evidence-format-2", "A document of another format.", &|all| all["format"] = json!(2), failed);
    changed(
        "evidence-unknown-member",
        "A member that nobody knows.",
        &|all| all["surprise"] = json!(1),
        failed,
    );
    changed(
        "evidence-missing-member",
        "A member is missing.",
        &|all| {
            let _removed = all.as_object_mut().and_then(|all| all.remove("issued"));
        },
        failed,
    );
    changed(
        "evidence-not-base64",
        "A quote that is not base64.",
        &|all| all["evidence_quote"] = json!("?"),
        failed,
    );
    changed(
        "evidence-without-ca-proof",
        "Nothing proves which certificate the CA's is.",
        &|all| {
            let _removed = all.as_object_mut().and_then(|all| all.remove("ca_proof"));
        },
        failed,
    );
    changed(
        "evidence-ca-proof-other-value",
        "A proved value that has not its hash.",
        &|all| all["ca_proof"]["leaf"]["bytes"] = json!("AAAA"),
        failed,
    );
    changed("evidence-empty-chain", "No certificate.", &|all| all["certificate_chain"] = json!([]), failed);
    changed(
        "evidence-other-value",
        "A value in the manifest that has not its hash.",
        &|all| {
            all["manifest"]["leaves"][0]["bytes"] = json!("AAAA");
        },
        failed,
    );
    changed(
        "evidence-other-root",
        "A manifest that does not lead to its root.",
        &|all| {
            all["manifest"]["root"] = json!("00".repeat(32));
        },
        failed,
    );
    changed(
        "evidence-no-quote",
        "The host could not have a quote made.",
        &|all| all["evidence_quote"] = Value::Null,
        &["quote-format"],
    );
    changed(
        "evidence-certificate-quote-differs",
        "A quote beside the certificate that is not the one in it.",
        &|all| {
            all["certificate_quote"] = all["evidence_quote"].clone();
        },
        &["certificate-format"],
    );
    Ok(())
}

fn forged(table: &mut Table, world: &World) -> Result<()> {
    let (site, lax) = (world.site(), world.lax());
    let leaf = site.leaf(world.claims(), Bound::NotBefore)?;
    let mut document = world.document(&site, &leaf, &world.manifest)?;
    document.evidence_quote = leaf.quote.clone();
    table.refused(
        "certificate-quote-as-evidence",
        "The certificate's quote does not vouch for its extensions.",
        world.evidence(&lax, json_of(&document)?),
        &["report-data"],
    );

    let mut document = world.document(&site, &leaf, &world.manifest)?;
    document.manifest = manifest("older", &world.ca)?;
    table.refused(
        "evidence-of-other-configuration",
        "A manifest of another configuration.",
        world.evidence(&lax, json_of(&document)?),
        &["report-data", "configuration"],
    );
    let own = world.document(&site, &leaf, &manifest("older", &world.ca)?)?;
    table.refused(
        "evidence-with-other-manifest",
        "A quote over a manifest that is not the certificate's.",
        world.evidence(&lax, json_of(&own)?),
        &["configuration"],
    );

    // Key and quote are the enclave's; what the certificate says is the forger's.
    let forger = Ca::self_signed(&CaShape::new("Enclave OS CA 5ca1ab1e", 0))?;
    let self_made = Site { cas: vec![&forger], ..world.site() };
    let mut claims = leaf.claims.clone();
    for app in &mut claims.apps {
        app.code_hash = [0xee; 32];
    }
    let genuine = world.document(&site, &leaf, &world.manifest)?;
    let der = certify(&forger, &leaf.key, &claims, leaf.quote.as_deref())?;
    let forged = Leaf { der, claims, quote: leaf.quote.clone(), key: leaf.key };
    let mut document = world.document(&self_made, &forged, &world.manifest)?;
    document.evidence_quote = genuine.evidence_quote.clone();
    table.refused(
        "forged-extensions",
        "Forged extensions under a self-made CA, with the enclave's key and quotes.",
        world.evidence(&lax, json_of(&document)?),
        &["report-data", "configuration"],
    );

    let other = site.leaf(world.claims(), Bound::NotBefore)?;
    let mut document = world.document(&site, &other, &world.manifest)?;
    document.evidence_quote = genuine.evidence_quote;
    table.refused(
        "evidence-of-other-certificate",
        "The evidence quote of another certificate.",
        world.evidence(&lax, json_of(&document)?),
        &["report-data"],
    );
    Ok(())
}

/// Of the enclave CA's certificate the leaf's signature binds the key alone.
fn authority(table: &mut Table, world: &World) -> Result<()> {
    let (site, lax) = (world.site(), world.lax());
    let leaf = site.leaf(world.claims(), Bound::NotBefore)?;
    let whole = world.document(&site, &leaf, &world.manifest)?;
    let of_app = site.leaf(world.app_claims(0), Bound::NotBefore)?;
    let of_app = world.document(&site, &of_app, &world.manifest.of_app("kv-store")?)?;
    for (name, what, document) in [
        ("evidence-ca-of-other-issuer", "The enclave's CA with another issuer's name.", &whole),
        ("evidence-of-app-ca-of-other-issuer", "The same in a document of one app.", &of_app),
    ] {
        let mut document = document.clone();
        document.certificate_chain[1] = world.ca.reissued(&world.operator)?;
        table.refused(name, what, world.evidence(&lax, json_of(&document)?), &["configuration"]);
    }
    let mut document = whole.clone();
    document.certificate_chain[1] = world.ca.reissued(&world.operator)?;
    document.certificate_chain.push(world.operator.certificate.clone());
    table.refused(
        "evidence-ca-under-other-operator",
        "The enclave's CA under an operator who did not sign its request.",
        world.evidence(&lax, json_of(&document)?),
        &["configuration"],
    );
    let proofs = [
        (
            "evidence-ca-proof-of-other-leaf",
            "A proof of another leaf than the CA's.",
            world.manifest.proof("core.version"),
        ),
        (
            "evidence-ca-proof-of-other-configuration",
            "A proof that leads to the root of another configuration.",
            manifest("older", &world.ca)?.proof(CA_LEAF),
        ),
        (
            "evidence-ca-proof-of-other-ca",
            "A proof of another CA's certificate, which leads to another root.",
            manifest("kv", &world.under_operator)?.proof(CA_LEAF),
        ),
    ];
    for (name, what, proof) in proofs {
        let document =
            EvidenceDocument { ca_proof: proof.context("the configuration has the leaf")?, ..whole.clone() };
        table.refused(name, what, world.evidence(&lax, json_of(&document)?), &["configuration"]);
    }

    // Under an operator: the enclave's CA is not the end of the chain.
    let under = Site { cas: vec![&world.under_operator, &world.operator], ..world.site() };
    let own = manifest("kv", &world.under_operator)?;
    let claims = Claims { configuration_root: own.root(), ..world.claims() };
    let leaf = under.leaf(claims, Bound::NotBefore)?;
    let mut document = world.document(&under, &leaf, &own)?;
    document.ca_proof = own.proof(CA_LEAF).context("the configuration has the leaf")?;
    table.accepted(
        "evidence-under-operator",
        "A document of an enclave whose CA an operator signed.",
        world.evidence(&lax, json_of(&document)?),
    );
    Ok(())
}
