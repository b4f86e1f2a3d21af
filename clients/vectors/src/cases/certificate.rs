//! Certificates: their form, who signed them, when and for which name.

use anyhow::Result;
use attestation::instant;
use time::Duration;

use crate::enclave::{Ca, CaShape};
use crate::key::Key;
use crate::table::Table;
use crate::world::{Bound, Site, World};

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    format(table, world)?;
    chain(table, world)?;
    time(table, world)?;
    names(table, world)
}

fn format(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let failed = &["certificate-format"];
    let mut leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let good = world.challenge(&policy, &site, &leaf);
    table.accepted("challenge", "A certificate made for this client's nonce.", good.clone());
    let mut input = good.clone();
    input.chain = Some(Vec::new());
    table.refused("no-certificate", "Nothing was sent.", input, failed);
    leaf.der = world.ca.certificate.clone();
    table.refused(
        "ca-as-leaf",
        "A CA's certificate in place of a leaf.",
        world.challenge(&policy, &site, &leaf),
        failed,
    );
    let mut input = good;
    input.chain = input.chain.map(|mut chain| {
        chain[0] = "MAA=".to_owned();
        chain
    });
    table.refused("not-a-certificate", "Bytes that are no certificate.", input, failed);
    let extra = |oid: &[u64], value: &[u8]| {
        let mut claims = world.for_connection(world.claims());
        claims.extra.push((oid.to_vec(), value.to_vec()));
        claims
    };
    let unknown = [1, 3, 6, 1, 4, 1, 65230, 9, 9];
    let leaf = site.leaf(extra(&unknown, b"?"), Bound::Nonce(&world.nonce))?;
    table.refused(
        "unknown-extension",
        "An extension of this system that nobody knows.",
        world.challenge(&policy, &site, &leaf),
        failed,
    );
    let foreign = [1, 3, 6, 1, 4, 1, 99999, 1];
    let leaf = site.leaf(extra(&foreign, b"?"), Bound::Nonce(&world.nonce))?;
    table.accepted(
        "foreign-extension",
        "An extension of somebody else is passed over.",
        world.challenge(&policy, &site, &leaf),
    );
    let mut claims = world.for_connection(world.claims());
    claims.workloads_hash = Some([7; 32]);
    let leaf = site.leaf(claims, Bound::Nonce(&world.nonce))?;
    table.refused(
        "other-workloads-hash",
        "The workloads hash is not that of the apps.",
        world.challenge(&policy, &site, &leaf),
        failed,
    );
    let mut claims = world.for_connection(world.app_claims(1));
    for app in &mut claims.apps {
        app.key_source = "byok:00";
    }
    let leaf = site.leaf(claims, Bound::Nonce(&world.nonce))?;
    table.refused(
        "malformed-key-source",
        "A key source of no known form.",
        world.challenge(&policy, &site, &leaf),
        failed,
    );
    Ok(())
}

fn chain(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let failed = &["certificate-chain"];
    let nonce = Bound::Nonce(&world.nonce);
    let claims = || world.for_connection(world.claims());
    let leaf = site.leaf(claims(), nonce)?;
    let mut input = world.challenge(&policy, &site, &leaf);
    input.chain = input.chain.map(|chain| chain[..1].to_vec());
    table.refused("leaf-alone", "The enclave's CA was not sent.", input, failed);

    let namesake = Ca::self_signed(&CaShape::new("Enclave OS CA 5ca1ab1e", 0))?;
    let other = Site { cas: vec![&namesake], ..world.site() };
    table.refused(
        "other-ca",
        "Another CA of the same name signed the leaf.",
        world.challenge(&policy, &other, &leaf),
        failed,
    );

    let mut shaped = |name: &str, what: &str, change: &dyn Fn(&mut CaShape)| -> Result<()> {
        let mut shape = CaShape::new("Enclave OS CA 5ca1ab1e", 0);
        change(&mut shape);
        let ca = Ca::self_signed(&shape)?;
        let site = Site { cas: vec![&ca], ..world.site() };
        let leaf = site.leaf(claims(), nonce)?;
        table.refused(name, what, world.challenge(&policy, &site, &leaf), failed);
        Ok(())
    };
    shaped("ca-may-not-sign", "The CA's keyUsage lacks keyCertSign.", &|shape| shape.may_sign = false)?;
    shaped("not-a-ca", "The leaf is signed by what is no CA.", &|shape| shape.is_ca = false)?;
    shaped("expired-ca", "The CA's certificate has expired.", &|shape| {
        shape.not_after = world.now - Duration::HOUR;
    })?;
    shaped("future-ca", "The CA's certificate is not valid yet.", &|shape| {
        shape.not_before = world.now + Duration::HOUR;
    })?;

    let operated = Site { cas: vec![&world.under_operator, &world.operator], ..world.site() };
    let leaf = operated.leaf(claims(), nonce)?;
    let good = world.challenge(&policy, &operated, &leaf);
    table.accepted("operator", "The enclave's CA is under an operator's.", good.clone());
    let mut input = good.clone();
    input.chain = input.chain.map(|chain| chain[..2].to_vec());
    table.accepted("operator-not-sent", "The operator's certificate was not sent.", input);
    let mut input = good;
    input.chain = input.chain.map(|mut chain| {
        chain.swap(1, 2);
        chain
    });
    table.refused("out-of-order", "Operator's and enclave's certificates are exchanged.", input, failed);
    let stranger = Ca::self_signed(&CaShape::new("Example Operator Root", 1))?;
    let strange = Site { cas: vec![&world.under_operator, &stranger], ..world.site() };
    table.refused(
        "other-operator-key",
        "A root of the operator's name that did not sign.",
        world.challenge(&policy, &strange, &leaf),
        failed,
    );
    Ok(())
}

fn time(table: &mut Table, world: &World) -> Result<()> {
    let site = world.site();
    let leaf = site.leaf(world.claims(), Bound::NotBefore)?;
    let lax = world.lax();
    let (from, to) = (leaf.claims.not_before, leaf.claims.not_before + leaf.claims.validity);
    let at = |moment| {
        let mut input = world.certificate(&lax, &site, &leaf);
        input.now = instant::format(moment);
        input
    };
    table.accepted(
        "certificate",
        "A certificate as it is served to everyone, where that is enough.",
        at(world.now),
    );
    table.accepted("clock-fast-within-skew", "Five minutes after the end.", at(to + Duration::seconds(300)));
    let late = to + Duration::seconds(301);
    table.refused(
        "clock-fast-beyond-skew",
        "A second more than five minutes after the end.",
        at(late),
        &["certificate-time", "age"],
    );
    table.accepted(
        "clock-slow-within-skew",
        "Five minutes before the start.",
        at(from - Duration::seconds(300)),
    );
    let early = from - Duration::seconds(301);
    table.refused(
        "clock-slow-beyond-skew",
        "A second more than five minutes before the start.",
        at(early),
        &["certificate-time", "age"],
    );
    table.refused(
        "clock-25-hours-fast",
        "A clock that is 25 hours ahead.",
        at(world.now + Duration::hours(25)),
        &["certificate-time", "age"],
    );
    let week =
        world.machine.collateral(world.now - Duration::days(7), &sgx_emu::quoting::PkiOptions::default())?;
    table.collateral("issued-a-week-ago", week);
    let mut slow = at(world.now - Duration::hours(25));
    slow.collateral_ref = Some("issued-a-week-ago".to_owned());
    table.refused(
        "clock-25-hours-slow",
        "A clock that is 25 hours behind.",
        slow,
        &["certificate-time", "age"],
    );

    let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let mut input = world.challenge(&world.policy(), &site, &leaf);
    input.now = instant::format(world.now + Duration::minutes(20));
    table.refused(
        "challenge-kept",
        "A certificate that was made for a connection, 20 minutes later.",
        input,
        &["certificate-time"],
    );
    let nonce = &world.nonce;
    for (hours, clock, collateral) in [(25, "fast", "development"), (-25, "slow", "issued-a-week-ago")] {
        let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(nonce))?;
        let quote = world.attest(&site, &leaf, nonce, &world.exporter)?;
        for (tier, mut input) in [
            ("challenge", world.challenge(&world.policy(), &site, &leaf)),
            ("channel", world.channel(&world.policy(), &site, &leaf, &quote)),
        ] {
            input.now = instant::format(world.now + Duration::hours(hours));
            input.collateral_ref = Some(collateral.to_owned());
            table.refused(
                &format!("{tier}-clock-25-hours-{clock}"),
                "Made for this connection, by an enclave whose clock is 25 hours off.",
                input,
                &["certificate-time"],
            );
        }
    }
    Ok(())
}

fn names(table: &mut Table, world: &World) -> Result<()> {
    let (site, policy) = (world.site(), world.policy());
    let leaf = site.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    let named = |name: &str| {
        let mut input = world.challenge(&policy, &site, &leaf);
        input.server_name = Some(name.to_owned());
        input
    };
    table.accepted(
        "name",
        "The name that was asked for, without regard to case.",
        named("Enclave.Example.COM"),
    );
    table.accepted("address", "The address that was asked for.", named("127.0.0.1"));
    table.accepted("address-v6", "The address that was asked for, in version 6.", named("::1"));
    table.refused("other-name", "Another name.", named("other.example.com"), &["server-name"]);
    table.refused("other-address", "Another address.", named("127.0.0.2"), &["server-name"]);
    table.refused(
        "name-below",
        "A name below one that is in the certificate.",
        named("a.enclave.example.com"),
        &["server-name"],
    );

    let front = Site { machine: &world.other_machine, ..world.site() };
    let stranger =
        site.leaf_with(Key::generate()?, world.for_connection(world.claims()), leaf.quote.clone())?;
    table.refused(
        "relayed-quote",
        "Somebody else's certificate in front, with the enclave's quote in it.",
        world.challenge(&policy, &site, &stranger),
        &["report-data"],
    );
    let leaf = front.leaf(world.for_connection(world.claims()), Bound::Nonce(&world.nonce))?;
    table.refused(
        "other-machine",
        "An enclave under another development root.",
        world.challenge(&policy, &front, &leaf),
        &["root"],
    );
    Ok(())
}
