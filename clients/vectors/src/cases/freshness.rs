//! The three tiers, and evidence that was made at another time or for somebody else.

use anyhow::Result;
use attestation::instant;
use attestation::report_data::{self, Binding};
use time::Duration;

use crate::key::{Key, random};
use crate::table::Table;
use crate::world::{Bound, World};

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    nonces(table, world)?;
    channels(table, world)?;
    tiers(table, world)?;
    ages(table, world)
}

fn nonces(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy, lax) = (world.site(), world.policy(), world.lax());
    let failed = &["report-data"];
    let other = random()?;
    let claims = || world.for_connection(world.claims());
    let leaf = site.leaf(claims(), Bound::Nonce(&other))?;
    table.refused(
        "nonce-of-other-connection",
        "A certificate made for another connection's nonce.",
        world.challenge(&policy, &site, &leaf),
        failed,
    );
    let old = random()?;
    let mut earlier = claims();
    earlier.not_before = world.now - Duration::minutes(4);
    let leaf = site.leaf(earlier, Bound::Nonce(&old))?;
    table.refused(
        "old-nonce",
        "A certificate made for an earlier nonce of this client.",
        world.challenge(&policy, &site, &leaf),
        failed,
    );
    let leaf = site.leaf(claims(), Bound::NotBefore)?;
    table.refused(
        "no-nonce",
        "A certificate for everyone where a nonce was offered.",
        world.challenge(&policy, &site, &leaf),
        failed,
    );
    let leaf = site.leaf(claims(), Bound::Nonce(&other))?;
    table.refused(
        "nonce-as-certificate",
        "A certificate of somebody's nonce, served to everyone.",
        world.certificate(&lax, &site, &leaf),
        failed,
    );
    let key = Key::generate()?;
    let mut claims = world.claims();
    let data = report_data::compute(&key.spki_der(), Binding::NotBefore(claims.not_before));
    let quote = world.machine.quote(&world.state, &data)?;
    claims.not_before += Duration::minutes(5);
    let leaf = site.leaf_with(key, claims, Some(quote))?;
    table.refused(
        "moved-start",
        "A quote of the same key under a later start of validity.",
        world.certificate(&lax, &site, &leaf),
        failed,
    );
    let mut odd = world.claims();
    odd.not_before += Duration::seconds(30);
    let leaf = site.leaf(odd, Bound::NotBefore)?;
    table.accepted(
        "whole-minutes",
        "The binding of a start of validity is in whole minutes.",
        world.certificate(&lax, &site, &leaf),
    );
    Ok(())
}

fn channels(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let failed = &["report-data"];
    let leaf = site.leaf(world.claims(), Bound::NotBefore)?;
    let (nonce, exporter) = (&world.nonce, &world.exporter);
    let good = world.attest(&site, &leaf, nonce, exporter)?;
    let demanding = policy.with("[freshness]\nmin_tier = \"channel\"");
    table.accepted(
        "channel",
        "A quote that is bound to this TLS connection.",
        world.channel(&demanding, &site, &leaf, &good),
    );
    let made = site.leaf(world.for_connection(world.claims()), Bound::Nonce(nonce))?;
    let quote = world.attest(&site, &made, nonce, exporter)?;
    table.accepted(
        "channel-after-challenge",
        "The same on a connection with a certificate of its own.",
        world.channel(&demanding, &site, &made, &quote),
    );
    let quote = world.attest(&site, &leaf, nonce, &random()?)?;
    table.refused(
        "exporter-of-other-connection",
        "The exporter of another connection.",
        world.channel(&policy, &site, &leaf, &quote),
        failed,
    );
    let quote = world.attest(&site, &leaf, &random()?, exporter)?;
    table.refused(
        "channel-old-nonce",
        "Another nonce on the same connection.",
        world.channel(&policy, &site, &leaf, &quote),
        failed,
    );
    let again = world.attest(&site, &leaf, &random()?, &random()?)?;
    table.refused(
        "replayed-evidence",
        "Evidence of a first connection on a second.",
        world.channel(&policy, &site, &leaf, &again),
        failed,
    );
    let front = site.leaf(world.claims(), Bound::NotBefore)?;
    table.refused(
        "relay",
        "The certificate of another enclave in front of the one that attests.",
        world.channel(&policy, &site, &front, &good),
        failed,
    );
    let without = made.quote.clone().unwrap_or_default();
    table.refused(
        "challenge-quote-as-channel",
        "The certificate's own quote as the answer of attest.",
        world.channel(&policy, &site, &made, &without),
        failed,
    );
    let bare = site.leaf(world.claims(), Bound::NoQuote)?;
    let quote = world.attest(&site, &bare, nonce, exporter)?;
    table.accepted(
        "channel-without-certificate-quote",
        "Only the quote of attest is judged.",
        world.channel(&policy, &site, &bare, &quote),
    );
    Ok(())
}

fn tiers(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let failed = &["tier"];
    let certificate = site.leaf(world.claims(), Bound::NotBefore)?;
    table.refused(
        "certificate-by-default",
        "The age of a certificate is not enough by default.",
        world.certificate(&policy, &site, &certificate),
        failed,
    );
    let challenge = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let demanding = policy.with("[freshness]\nmin_tier = \"channel\"");
    table.refused(
        "challenge-for-channel",
        "A nonce where a bound connection is asked for.",
        world.challenge(&demanding, &site, &challenge),
        failed,
    );
    table.refused(
        "certificate-for-channel",
        "A certificate where a bound connection is asked for.",
        world.certificate(&demanding, &site, &certificate),
        failed,
    );
    table.accepted(
        "challenge-for-certificate",
        "More than is asked for.",
        world.challenge(&world.lax(), &site, &challenge),
    );
    Ok(())
}

fn ages(table: &mut Table, world: &World) -> Result<()> {
    let site = world.site();
    let hour = world.policy().with("[freshness]\nmin_tier = \"certificate\"\nmax_age_seconds = 3600");
    let leaf = site.leaf(world.claims(), Bound::NotBefore)?;
    let after = |seconds| {
        let mut input = world.certificate(&hour, &site, &leaf);
        input.now = instant::format(leaf.claims.not_before + Duration::seconds(seconds));
        input
    };
    table.accepted("age", "As old as is allowed, and the skew.", after(3900));
    table.refused("too-old", "A second older than is allowed with the skew.", after(3901), &["age"]);
    let made = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let minute = world.policy().with("[freshness]\nmax_age_seconds = 0");
    let mut input = world.challenge(&minute, &site, &made);
    input.now = instant::format(made.claims.not_before + Duration::seconds(400));
    table.accepted("age-of-challenge", "The age of a certificate made for a nonce says nothing.", input);
    Ok(())
}
