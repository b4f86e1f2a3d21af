//! What authorities above a leaf may vouch for: names, purposes, further authorities.

use anyhow::Result;
use rcgen::{
    CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, NameConstraints,
};

use crate::enclave::{Ca, CaShape, Claims};
use crate::table::Table;
use crate::world::{Bound, Site, World};

const FAILED: &[&str] = &["certificate-chain"];
const NAME_CONSTRAINTS: [u64; 4] = [2, 5, 29, 30];

pub(super) fn add(table: &mut Table, world: &World) -> Result<()> {
    names(table, world)?;
    purposes(table, world)?;
    lengths(table, world)?;
    strangers(table, world)
}

/// A leaf under these authorities, the enclave's CA first.
fn under(
    table: &mut Table,
    world: &World,
    cas: &[&Ca],
    claims: Claims,
    (name, what): (&str, &str),
    accepted: bool,
) -> Result<()> {
    let site = Site { cas: cas.to_vec(), ..world.site() };
    let leaf = site.leaf(world.for_connection(claims), Bound::Nonce(&world.nonce))?;
    let input = world.challenge(&world.policy(), &site, &leaf);
    table.refused(name, what, input, if accepted { &[] } else { FAILED });
    Ok(())
}

/// The enclave's CA under an operator's of that shape.
fn operated(shape: &CaShape) -> Result<[Ca; 2]> {
    let operator = Ca::self_signed(shape)?;
    Ok([Ca::under(&CaShape::new("Enclave OS CA 0ddba115", 0), &operator)?, operator])
}

fn operator() -> CaShape {
    CaShape::new("Example Operator Root", 1)
}

fn names(table: &mut Table, world: &World) -> Result<()> {
    let dns = |name: &str| GeneralSubtree::DnsName(name.to_owned());
    let by_dns = || Claims { dns: vec!["enclave.example.com"], loopback: false, ..world.claims() };
    let by_address = || Claims { dns: Vec::new(), loopback: true, ..world.claims() };
    let four = |address: [u8; 4], bits| GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix(address, bits));
    let loopback_v6 =
        GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(std::net::Ipv6Addr::LOCALHOST.octets(), 128));
    let permitted =
        |subtrees| NameConstraints { permitted_subtrees: subtrees, excluded_subtrees: Vec::new() };
    let excluded = |subtrees| NameConstraints { permitted_subtrees: Vec::new(), excluded_subtrees: subtrees };
    let mut constrained = |name: &str,
                           what: &str,
                           constraints: NameConstraints,
                           claims: Claims,
                           accepted: bool|
     -> Result<()> {
        let [ca, top] = operated(&CaShape { names: Some(constraints), ..operator() })?;
        under(table, world, &[&ca, &top], claims, (name, what), accepted)
    };
    constrained(
        "names-permitted",
        "The operator may vouch for names below example.com, and the leaf has one.",
        permitted(vec![dns("example.com")]),
        by_dns(),
        true,
    )?;
    constrained(
        "names-permitted-elsewhere",
        "The operator may vouch for other names only.",
        permitted(vec![dns("example.org")]),
        by_dns(),
        false,
    )?;
    constrained(
        "names-one-of-two-permitted",
        "One of two permitted subtrees holds the name.",
        permitted(vec![dns("example.org"), dns("enclave.example.com")]),
        by_dns(),
        true,
    )?;
    constrained(
        "names-below-permitted",
        "With a dot in front, names below are permitted: the leaf has one.",
        permitted(vec![dns(".example.com")]),
        by_dns(),
        true,
    )?;
    constrained(
        "names-only-below-permitted",
        "With a dot in front, the name itself is not permitted.",
        permitted(vec![dns(".enclave.example.com")]),
        by_dns(),
        false,
    )?;
    constrained(
        "names-similar-to-permitted",
        "A name that ends like a permitted one and is none below it.",
        permitted(vec![dns("ave.example.com")]),
        by_dns(),
        false,
    )?;
    constrained(
        "names-excluded",
        "The operator may not vouch for this name.",
        excluded(vec![dns("enclave.example.com")]),
        by_dns(),
        false,
    )?;
    constrained(
        "names-excluded-elsewhere",
        "Other names are excluded.",
        excluded(vec![dns("example.org")]),
        by_dns(),
        true,
    )?;
    constrained(
        "addresses-permitted",
        "The operator may vouch for the leaf's addresses.",
        permitted(vec![four([127, 0, 0, 0], 8), loopback_v6]),
        by_address(),
        true,
    )?;
    constrained(
        "addresses-of-one-version-permitted",
        "Of two addresses one is of the permitted range.",
        permitted(vec![four([127, 0, 0, 0], 8)]),
        by_address(),
        false,
    )?;
    constrained(
        "addresses-permitted-elsewhere",
        "The operator may vouch for other addresses only.",
        permitted(vec![four([10, 0, 0, 0], 8)]),
        by_address(),
        false,
    )?;
    constrained(
        "addresses-excluded",
        "The operator may not vouch for this range.",
        excluded(vec![four([127, 0, 0, 0], 8)]),
        by_address(),
        false,
    )?;
    constrained(
        "addresses-permitted-and-names",
        "Constraints on addresses say nothing of DNS names.",
        permitted(vec![four([10, 0, 0, 0], 8)]),
        by_dns(),
        true,
    )?;
    let mut organisation = DistinguishedName::new();
    organisation.push(DnType::OrganizationName, "Example");
    for (name, what, subtree) in [
        (
            "names-of-mail",
            "Constraints on mail addresses.",
            GeneralSubtree::Rfc822Name("example.com".to_owned()),
        ),
        (
            "names-of-directory",
            "Constraints on directory names.",
            GeneralSubtree::DirectoryName(organisation),
        ),
    ] {
        let both =
            NameConstraints { permitted_subtrees: vec![subtree.clone()], excluded_subtrees: Vec::new() };
        constrained(name, what, both, by_dns(), false)?;
    }

    let own = Ca::self_signed(&CaShape {
        names: Some(permitted(vec![dns("example.org")])),
        ..CaShape::new("Enclave OS CA 5ca1ab1e", 0)
    })?;
    under(
        table,
        world,
        &[&own],
        by_dns(),
        ("names-of-enclave-ca", "The enclave's CA may vouch for other names only."),
        false,
    )?;
    // SEQUENCE { [0] { SEQUENCE { [2] "example.com" } } }
    let content = [&[0x30, 0x11, 0xa0, 0x0f, 0x30, 0x0d, 0x82, 0x0b][..], b"example.com"].concat();
    let claims = Claims { extra: vec![(NAME_CONSTRAINTS.to_vec(), content)], ..by_dns() };
    under(
        table,
        world,
        &[&world.ca],
        claims,
        ("names-constrained-by-leaf", "A leaf with name constraints, which only an authority may have."),
        false,
    )
}

fn purposes(table: &mut Table, world: &World) -> Result<()> {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, ServerAuth};
    for (name, what, purposes, accepted) in [
        ("ca-for-servers", "The enclave's CA is for servers.", vec![ClientAuth, ServerAuth], true),
        ("ca-for-anything", "The enclave's CA is for any purpose.", vec![Any], true),
        ("ca-for-clients", "The enclave's CA is for clients only.", vec![ClientAuth], false),
    ] {
        let ca = Ca::self_signed(&CaShape {
            purposes: purposes.clone(),
            ..CaShape::new("Enclave OS CA 5ca1ab1e", 0)
        })?;
        under(table, world, &[&ca], world.claims(), (name, what), accepted)?;
        let name = name.replace("ca-", "operator-");
        let what = what.replace("enclave's CA", "operator's CA");
        let [ca, top] = operated(&CaShape { purposes, ..operator() })?;
        under(table, world, &[&ca, &top], world.claims(), (&name, &what), accepted)?;
    }
    for (name, what, purposes, accepted) in [
        ("leaf-for-servers-too", "A leaf for clients and servers.", vec![ClientAuth, ServerAuth], true),
        ("leaf-without-purposes", "A leaf that leaves its purposes open.", vec![], true),
        ("leaf-for-clients", "A leaf that is not for servers.", vec![ClientAuth], false),
        (
            "leaf-for-anything",
            "A leaf for any purpose does not say that it is for servers.",
            vec![Any],
            false,
        ),
    ] {
        let claims = Claims { purposes, ..world.claims() };
        under(table, world, &[&world.ca], claims, (name, what), accepted)?;
    }
    Ok(())
}

fn lengths(table: &mut Table, world: &World) -> Result<()> {
    for (name, what, path_length, accepted) in [
        ("operator-of-any-length", "The operator allows any number of authorities below it.", None, true),
        ("operator-too-long", "The last certificate allows no authority below it.", Some(0), false),
    ] {
        let [ca, top] = operated(&CaShape { path_length, ..operator() })?;
        under(table, world, &[&ca, &top], world.claims(), (name, what), accepted)?;
    }
    for (name, what, middle, accepted) in [
        ("two-above", "Two authorities of the operator's stand above the enclave's.", 1, true),
        ("middle-too-long", "One in the middle allows no authority below it.", 0, false),
    ] {
        let top = Ca::self_signed(&CaShape::new("Example Operator Root", 2))?;
        let issuing = Ca::under(&CaShape::new("Example Operator Issuing CA", middle), &top)?;
        let ca = Ca::under(&CaShape::new("Enclave OS CA 0ddba115", 0), &issuing)?;
        under(table, world, &[&ca, &issuing, &top], world.claims(), (name, what), accepted)?;
    }
    Ok(())
}

fn strangers(table: &mut Table, world: &World) -> Result<()> {
    let claims = Claims { strange: true, ..world.claims() };
    let leaf = ("strange-leaf", "The leaf has a critical extension that nobody knows.");
    under(table, world, &[&world.ca], claims, leaf, false)?;
    let ca = Ca::self_signed(&CaShape { strange: true, ..CaShape::new("Enclave OS CA 5ca1ab1e", 0) })?;
    let enclave = ("strange-ca", "The enclave's CA has a critical extension that nobody knows.");
    under(table, world, &[&ca], world.claims(), enclave, false)?;
    let [ca, top] = operated(&CaShape { strange: true, ..operator() })?;
    let operator = ("strange-operator", "The operator's CA has a critical extension that nobody knows.");
    under(table, world, &[&ca, &top], world.claims(), operator, false)
}
