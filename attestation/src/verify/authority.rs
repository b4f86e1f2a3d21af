//! What a certificate says about what it may be used for: as an authority, and as a server's leaf.

use time::OffsetDateTime;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, NameConstraints};
use x509_parser::prelude::X509Certificate;

use crate::instant;

/// A certificate above the leaf is one of a CA, valid now, and may stand above `below` other authorities. This
/// holds for the last of the chain too, which nobody has declared to be an anchor (RFC 5280 §6.1.1 d).
pub(super) fn check_issuer(
    certificate: &X509Certificate<'_>,
    below: usize,
    now: OffsetDateTime,
) -> Result<(), String> {
    let constraints = certificate.basic_constraints().map_err(|_| "has malformed basicConstraints")?;
    let Some(constraints) = constraints.filter(|constraints| constraints.value.ca) else {
        return Err("is not one of a CA (basicConstraints): an operator signs the enclave's request as a CA's, with CA:TRUE".to_owned());
    };
    if let Some(most) = constraints.value.path_len_constraint
        && u32::try_from(below).is_ok_and(|below| below > most)
    {
        return Err(format!(
            "allows {most} authorities below it and has {below} (pathLenConstraint): the operator has to issue it with a larger one, or sign the enclave's request with it directly"
        ));
    }
    let usage = certificate.key_usage().map_err(|_| "has malformed keyUsage")?;
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err("may not sign certificates (keyUsage): it has to be issued with keyCertSign".to_owned());
    }
    if purposes(certificate)?.is_some_and(|purposes| !purposes.server_auth && !purposes.any) {
        return Err("may not vouch for servers (extendedKeyUsage): it has to be issued with serverAuth, or without that extension".to_owned());
    }
    if let Some(constraints) = name_constraints(certificate)?
        && !bases(constraints).all(|base| matches!(base, GeneralName::DNSName(_) | GeneralName::IPAddress(_)))
    {
        return Err("constrains names of another kind than DNS names and addresses (nameConstraints), which is not judged here".to_owned());
    }
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    if now < from || now > to {
        return Err(format!(
            "is valid from {} to {}: have it issued anew (`enclave-os ca csr`, `ca install`), or mend the clock",
            instant::format(from),
            instant::format(to)
        ));
    }
    Ok(())
}

/// The leaf is for servers, and constrains nobody's names (RFC 5280 §4.2.1.10: only a CA's certificate does).
pub(super) fn check_leaf(certificate: &X509Certificate<'_>) -> Result<(), String> {
    if purposes(certificate)?.is_some_and(|purposes| !purposes.server_auth) {
        return Err("is not for servers (extendedKeyUsage)".to_owned());
    }
    match name_constraints(certificate)? {
        None => Ok(()),
        Some(_) => Err("has name constraints, which only an authority may have".to_owned()),
    }
}

fn purposes<'c>(certificate: &'c X509Certificate<'_>) -> Result<Option<&'c ExtendedKeyUsage<'c>>, String> {
    let usage = certificate.extended_key_usage().map_err(|_| "has malformed extendedKeyUsage")?;
    Ok(usage.map(|usage| usage.value))
}

fn name_constraints<'c>(
    certificate: &'c X509Certificate<'_>,
) -> Result<Option<&'c NameConstraints<'c>>, String> {
    let constraints = certificate.name_constraints().map_err(|_| "has malformed nameConstraints")?;
    Ok(constraints.map(|constraints| constraints.value))
}

fn bases<'c>(constraints: &'c NameConstraints<'_>) -> impl Iterator<Item = &'c GeneralName<'c>> {
    let subtrees = [&constraints.permitted_subtrees, &constraints.excluded_subtrees];
    subtrees.into_iter().flatten().flatten().map(|subtree| &subtree.base)
}
