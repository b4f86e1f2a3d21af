//! The app that a connection is for, and its operator.

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::enclave::{Ca, CaShape};
use crate::table::{Table, list};
use crate::world::{Bound, Site, World};

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    apps(table, world)?;
    operators(table, world)
}

fn apps(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let nonce = Bound::Nonce(&world.nonce);
    let whole = site.leaf(world.for_connection(world.claims()), nonce)?;
    let kv = site.leaf(world.for_connection(world.app_claims(0)), nonce)?;
    let mail = site.leaf(world.for_connection(world.app_claims(1)), nonce)?;
    let none = {
        let mut claims = world.for_connection(world.claims());
        claims.apps.clear();
        site.leaf(claims, nonce)?
    };
    let asked = |app: &str, more: &str| policy.with(&format!("[app]\nname = \"{app}\"\n{more}"));
    let kv_code = format!("code_hashes = {}", list(&[0xaa; 32]));
    let mail_code = format!("code_hashes = {}", list(&[0xbb; 32]));

    let mut input =
        world.challenge(&asked("kv-store", &format!("{kv_code}\nkey_source = \"generated\"")), &site, &kv);
    input.server_name = Some("kv.example.com".to_owned());
    table.accepted("app", "An app's own certificate: name, code and key.", input);
    table.accepted(
        "app-among-others",
        "An app in the certificate of the enclave.",
        world.challenge(&asked("mail", &mail_code), &site, &whole),
    );
    let mut swapped = world.challenge(&asked("mail", &mail_code), &site, &kv);
    swapped.server_name = Some("mail.example.com".to_owned());
    table.refused(
        "app-under-other-name",
        "One app's certificate under another app's name.",
        swapped,
        &["server-name", "app"],
    );
    table.refused(
        "other-app",
        "Another app's certificate.",
        world.challenge(&asked("kv-store", &kv_code), &site, &mail),
        &["app"],
    );
    table.refused(
        "no-app",
        "An enclave without apps.",
        world.challenge(&asked("kv-store", ""), &site, &none),
        &["app"],
    );
    table.refused(
        "app-not-loaded",
        "An app that is not loaded.",
        world.challenge(&asked("notes", ""), &site, &whole),
        &["app"],
    );
    table.refused(
        "other-code",
        "Other code under the app's name.",
        world.challenge(&asked("kv-store", &mail_code), &site, &kv),
        &["code-hash"],
    );
    table.refused(
        "other-code-among-others",
        "Other code in the certificate of the enclave.",
        world.challenge(&asked("mail", &kv_code), &site, &whole),
        &["code-hash"],
    );

    let source = |app: &str, source: &str| asked(app, &format!("key_source = \"{source}\""));
    table.accepted(
        "any-given-key",
        "A key that was given, whichever.",
        world.challenge(&source("mail", "byok"), &site, &mail),
    );
    table.accepted(
        "that-given-key",
        "Exactly that key.",
        world.challenge(&source("mail", "byok:0011223344556677"), &site, &mail),
    );
    let failed = &["key-source"];
    table.refused(
        "other-given-key",
        "Another key.",
        world.challenge(&source("mail", "byok:ffffffffffffffff"), &site, &mail),
        failed,
    );
    table.refused(
        "generated-key",
        "A generated key where a given one is asked for.",
        world.challenge(&source("kv-store", "byok"), &site, &kv),
        failed,
    );
    table.refused(
        "given-key",
        "A given key where a generated one is asked for.",
        world.challenge(&source("mail", "generated"), &site, &mail),
        failed,
    );
    table.refused(
        "key-source-not-told",
        "The certificate of the enclave says nothing of keys.",
        world.challenge(&source("kv-store", "generated"), &site, &whole),
        failed,
    );
    let wrong = asked("kv-store", &format!("{mail_code}\nkey_source = \"byok\""));
    table.refused(
        "code-and-key",
        "Everything that is wrong is told.",
        world.challenge(&wrong, &site, &kv),
        &["code-hash", "key-source"],
    );
    Ok(())
}

fn operators(table: &mut Table, world: &World) -> Result<()> {
    let nonce = Bound::Nonce(&world.nonce);
    let by = |ca: &Ca| {
        let fingerprint = Sha256::digest(&ca.certificate);
        world.policy().with(&format!("[authority]\noperator_ca = {}", list(&fingerprint)))
    };
    let site = Site { cas: vec![&world.under_operator, &world.operator], ..world.site() };
    let leaf = site.leaf(world.for_connection(world.claims()), nonce)?;
    table.accepted(
        "operator-ca",
        "Under the operator that the policy names.",
        world.challenge(&by(&world.operator), &site, &leaf),
    );
    let failed = &["operator-ca"];
    let stranger = Ca::self_signed(&CaShape::new("Another Operator Root", 1))?;
    table.refused(
        "other-operator",
        "Under another operator.",
        world.challenge(&by(&stranger), &site, &leaf),
        failed,
    );
    table.refused(
        "own-ca-as-operator",
        "The enclave's own CA is no operator.",
        world.challenge(&by(&world.under_operator), &site, &leaf),
        failed,
    );
    let alone = world.site();
    let leaf = alone.leaf(world.for_connection(world.claims()), nonce)?;
    table.refused(
        "no-operator",
        "Under no operator.",
        world.challenge(&by(&world.operator), &alone, &leaf),
        failed,
    );
    Ok(())
}
