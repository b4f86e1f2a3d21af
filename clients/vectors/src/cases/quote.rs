//! Quotes: their form, their root, and whether they verify.

use anyhow::Result;
use attestation::{instant, policy::INTEL_ROOT};
use serde_json::{Value, json};
use sgx_emu::quoting::{Lifetimes, PkiOptions, Revoked, TcbLevel, TcbStatus};
use time::Duration;

use crate::key::Key;
use crate::table::{Table, list};
use crate::world::{Bound, World};

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    format(table, world)?;
    root(table, world)?;
    collateral(table, world)
}

fn format(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let failed = &["quote-format"];
    let none = site.leaf(world.for_connection(world.claims()), Bound::NoQuote)?;
    table.refused(
        "no-quote",
        "A certificate without a quote.",
        world.challenge(&policy, &site, &none),
        failed,
    );
    let quote = world.machine.quote(&world.state, &[0; 64])?;
    table.accepted("quote", "A quote alone.", world.quote(&policy, &quote));
    let mut changed = |name: &str, what: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut quote = quote.clone();
        change(&mut quote);
        table.refused(name, what, world.quote(&policy, &quote), failed);
    };
    changed("quote-byte-after", "A byte after the quote.", &|quote| quote.push(0));
    changed("quote-cut", "A quote that ends too early.", &|quote| quote.truncate(2000));
    changed("quote-empty", "No byte at all.", &|quote| quote.clear());
    changed("quote-version-2", "A quote of an unknown version.", &|quote| quote[0] = 2);
    changed("quote-key-type-3", "An attestation key that is not ECDSA P-256.", &|quote| quote[2] = 3);
    // Header, body, length, signature, attestation key, QE report, its signature, authentication data.
    let certification = 48 + 384 + 4 + 64 + 64 + 384 + 64 + 2 + 32;
    changed("quote-certification-type-4", "Certification data without a chain.", &|quote| {
        quote[certification] = 4
    });
    changed("quote-length", "Lengths that do not fill what holds them.", &|quote| {
        quote[certification + 2] = quote[certification + 2].wrapping_sub(1);
    });
    let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    table.refused(
        "attest-cut",
        "An answer of attest that ends too early.",
        world.channel(&policy, &site, &leaf, &quote[..1000]),
        failed,
    );
    Ok(())
}

fn root(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let failed = &["root"];
    let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let under = |roots: &str| world.challenge(&policy.roots(roots), &site, &leaf);
    table.refused(
        "development-under-intel",
        "A development root where Intel's is asked for.",
        under("intel = true"),
        failed,
    );
    table.refused(
        "other-development-root",
        "Another development root.",
        under(&format!("development = {}", list(&world.other_machine.root()))),
        failed,
    );
    let one_of = format!(
        "development = [\"{}\", \"{}\"]",
        attestation::hex::encode(&world.other_machine.root()),
        attestation::hex::encode(&world.machine.root())
    );
    table.accepted("one-of-two-roots", "One of two development roots.", under(&one_of));
    table.refused(
        "intel-as-development",
        "Intel's root among development roots accepts nothing.",
        under(&format!("development = {}", list(&INTEL_ROOT))),
        failed,
    );
    Ok(())
}

fn collateral(table: &mut Table, world: &World) -> Result<()> {
    let policy = world.policy();
    let issued = world.now - Duration::days(1);
    let failed = &["quote"];
    let quote = world.machine.quote(&world.state, &[0; 64])?;
    let good = world.quote(&policy, &quote);
    let mut with = |name: &str, what: &str, collateral: Option<Value>, failed: &[&str]| {
        let mut input = good.clone();
        (input.collateral, input.collateral_ref) = (collateral, None);
        table.refused(name, what, input, failed);
    };
    with("no-collateral", "No collateral at all.", None, failed);
    let made = |options: PkiOptions| world.machine.collateral(issued, &options);
    for (name, what, revoked) in [
        ("revoked-pck", "The platform's PCK certificate is revoked.", Revoked::Pck),
        ("revoked-pck-ca", "The PCK CA is revoked.", Revoked::PckCa),
        ("revoked-tcb-signing", "The signer of the TCB info is revoked.", Revoked::TcbSigning),
    ] {
        with(name, what, Some(made(PkiOptions { revoked: vec![revoked], ..PkiOptions::default() })?), failed);
    }
    let level = TcbLevel::of(TcbStatus::Revoked, &[]);
    let revoked = made(PkiOptions { tcb_levels: vec![level], ..PkiOptions::default() })?;
    with("revoked-tcb", "The platform's TCB level is revoked.", Some(revoked), failed);
    let unknown = TcbLevel { components: Some([255; 16]), ..TcbLevel::of(TcbStatus::UpToDate, &[]) };
    let unknown = made(PkiOptions { tcb_levels: vec![unknown], ..PkiOptions::default() })?;
    with("below-every-tcb-level", "The platform is older than every TCB level.", Some(unknown), failed);
    let other = PkiOptions { tcb_info_fmspc: Some([9; 6]), ..PkiOptions::default() };
    with("tcb-info-of-other-platform", "TCB info of another kind of platform.", Some(made(other)?), failed);
    let other = PkiOptions { tcb_info_pce_id: Some([9, 9]), ..PkiOptions::default() };
    let what = "TCB info of platforms with another provisioning enclave (PCEID).";
    with("tcb-info-of-other-pce", what, Some(made(other)?), failed);
    let (short, all_day) = (Duration::HOUR, Duration::DAY);
    let all = Lifetimes::default();
    for (name, what, lifetimes) in [
        ("expired-root-crl", "The root's CRL has expired.", Lifetimes { root_ca_crl: short, ..all }),
        ("expired-pck-crl", "The PCK CA's CRL has expired.", Lifetimes { pck_crl: short, ..all }),
        ("expired-tcb-info", "The TCB info has expired.", Lifetimes { tcb_info: short, ..all }),
        ("expired-qe-identity", "The QE identity has expired.", Lifetimes { qe_identity: short, ..all }),
    ] {
        with(name, what, Some(made(PkiOptions { lifetimes, ..PkiOptions::default() })?), failed);
    }
    for (name, what, lifetimes) in [
        (
            "root-crl-ends-now",
            "The root's CRL ends at this moment.",
            Lifetimes { root_ca_crl: all_day, ..all },
        ),
        ("pck-crl-ends-now", "The PCK CA's CRL ends at this moment.", Lifetimes { pck_crl: all_day, ..all }),
    ] {
        with(name, what, Some(made(PkiOptions { lifetimes, ..PkiOptions::default() })?), failed);
    }
    for (name, what, lifetimes) in [
        ("tcb-info-ends-now", "The TCB info ends at this moment.", Lifetimes { tcb_info: all_day, ..all }),
        (
            "qe-identity-ends-now",
            "The QE identity ends at this moment.",
            Lifetimes { qe_identity: all_day, ..all },
        ),
    ] {
        with(name, what, Some(made(PkiOptions { lifetimes, ..PkiOptions::default() })?), &[]);
    }
    let listed_from = |from| PkiOptions { revocations_from: Some(from), ..PkiOptions::default() };
    let later = made(listed_from(world.now + Duration::SECOND))?;
    with("crls-of-the-future", "Both CRLs begin a second from now.", Some(later), failed);
    let begun = made(listed_from(world.now))?;
    with("crls-begin-now", "Both CRLs begin at this moment.", Some(begun), &[]);
    let early = world.machine.collateral(world.now + Duration::days(7), &PkiOptions::default())?;
    with("collateral-of-the-future", "Collateral that is not valid yet.", Some(early), failed);
    let strange = world.other_machine.collateral(issued, &PkiOptions::default())?;
    with("collateral-of-other-root", "Collateral under another root.", Some(strange), failed);

    let plain = made(PkiOptions::default())?;
    let changed = |member: &str, change: &dyn Fn(&str) -> String| {
        let mut collateral = plain.clone();
        let text = change(collateral[member].as_str().unwrap_or_default());
        collateral[member] = json!(text);
        Some(collateral)
    };
    with("no-pck-crl", "The PCK CA's CRL is missing.", changed("pck_crl", &|_| String::new()), failed);
    with("no-root-crl", "The root's CRL is missing.", changed("root_ca_crl", &|_| String::new()), failed);
    with(
        "forged-tcb-info",
        "TCB info that says something else than was signed.",
        changed("tcb_info", &|text| text.replace("UpToDate", "OutOfDate")),
        failed,
    );
    with(
        "forged-qe-identity",
        "QE identity that says something else than was signed.",
        changed("qe_identity", &|text| text.replace("UpToDate", "OutOfDate")),
        failed,
    );
    let signature = plain["qe_identity_signature"].as_str().unwrap_or_default().to_owned();
    with(
        "exchanged-signature",
        "The signature of the QE identity under the TCB info.",
        changed("tcb_info_signature", &|_| signature.clone()),
        failed,
    );

    let debug = world.machine.quote_of_debug_quoting_enclave(&world.state, &[0; 64])?;
    table.refused(
        "debug-quoting-enclave",
        "The quoting enclave is a debug enclave.",
        world.quote(&policy, &debug),
        failed,
    );
    for (name, what, at) in [
        ("forged-body", "A measurement that nobody signed.", 48 + 64),
        ("forged-signature", "A signature of nobody's.", 48 + 384 + 4 + 3),
        (
            "forged-attestation-key",
            "An attestation key that the quoting enclave does not vouch for.",
            48 + 384 + 4 + 64 + 3,
        ),
        (
            "forged-qe-report",
            "A report of the quoting enclave that the PCK did not sign.",
            48 + 384 + 4 + 128 + 70,
        ),
    ] {
        let mut quote = quote.clone();
        quote[at] ^= 1;
        table.refused(name, what, world.quote(&policy, &quote), failed);
    }
    let mut later = good;
    later.now = instant::format(world.now + Duration::days(60));
    table.refused("collateral-two-months-old", "Collateral of two months ago.", later, failed);
    // Whatever a certificate says, without a quote that verifies nothing of it counts.
    let forged = {
        let site = world.site();
        let mut quote = quote.clone();
        quote[48 + 320] ^= 1;
        let leaf = site.leaf_with(Key::generate()?, world.for_connection(world.claims()), Some(quote))?;
        world.challenge(&policy, &site, &leaf)
    };
    table.refused(
        "forged-report-data",
        "Report data that was written into the quote afterwards.",
        forged,
        failed,
    );
    Ok(())
}
