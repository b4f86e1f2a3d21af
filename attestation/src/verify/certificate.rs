//! Checks of the certificate chain: signatures up to its end, validity, names.

use std::net::IpAddr;

use rustls_pki_types::{CertificateDer, UnixTime};
use time::{Duration, OffsetDateTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::CLOCK_SKEW_SECONDS;
use super::crypto::algorithms;
use super::judge::Outcome;
use crate::instant;
use crate::leaf_certificate::LeafCertificate;

/// Most certificates: a leaf, the enclave CA, and what an operator may install above it.
const MAX_CHAIN: usize = 9;

/// Each certificate is signed by the next, and what signs may sign.
pub(super) fn chain(
    chain: &[CertificateDer<'_>],
    leaf: Option<&LeafCertificate>,
    now: OffsetDateTime,
) -> Outcome {
    let found = format!("{} certificates", chain.len());
    match verify_chain(chain, leaf, now) {
        Ok(()) => Outcome::pass(found),
        Err(message) => Outcome::fail(found, message),
    }
}

fn verify_chain(
    chain: &[CertificateDer<'_>],
    leaf: Option<&LeafCertificate>,
    now: OffsetDateTime,
) -> Result<(), String> {
    let [leaf_der, issuers @ ..] = chain else {
        return Err("no certificate was sent".to_owned());
    };
    let Some((top, intermediates)) = issuers.split_last() else {
        return Err(
            "the enclave's CA certificate is missing: a chain has at least two certificates".to_owned()
        );
    };
    if chain.len() > MAX_CHAIN {
        return Err(format!("the chain is longer than {MAX_CHAIN} certificates"));
    }
    for (at, issuer) in issuers.iter().enumerate() {
        check_issuer(issuer, now)
            .map_err(|reason| format!("certificate {} of the chain {reason}", at + 2))?;
    }
    // The leaf's own validity is a check of its own, which allows for clocks that differ.
    let at = leaf.map_or(now, |leaf| now.clamp(leaf.not_before, leaf.not_after.max(leaf.not_before)));
    let at = u64::try_from(at.unix_timestamp()).map_err(|_| "the time is before 1970".to_owned())?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
    let failed = |error: webpki::Error| format!("the chain does not verify: {error:?}");
    let anchors = [anchor_from_trusted_cert(top).map_err(failed)?];
    let end = EndEntityCert::try_from(leaf_der).map_err(failed)?;
    let path = end
        .verify_for_usage(algorithms(), &anchors, intermediates, at, KeyUsage::server_auth(), None, None)
        .map_err(failed)?;
    // All of them, in this order: another certificate of the same name could stand in for one.
    let used = path.intermediate_certificates().map(|certificate| certificate.der());
    if !used.eq(intermediates.iter().map(|der| CertificateDer::from(&der[..]))) {
        return Err("the certificates are not in order, each signed by the next".to_owned());
    }
    self_signed(top)
        .map_err(|()| "the last certificate names itself its issuer and did not sign itself".to_owned())
}

/// A certificate above the leaf is one of a CA and valid now.
fn check_issuer(der: &CertificateDer<'_>, now: OffsetDateTime) -> Result<(), String> {
    let certificate = parse(der).ok_or("does not parse")?;
    let constraints = certificate.basic_constraints().map_err(|_| "has malformed basicConstraints")?;
    if !constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err("is not one of a CA (basicConstraints)".to_owned());
    }
    let usage = certificate.key_usage().map_err(|_| "has malformed keyUsage")?;
    if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
        return Err("may not sign certificates (keyUsage)".to_owned());
    }
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
    if now < from || now > to {
        return Err(format!("is valid from {} to {}", instant::format(from), instant::format(to)));
    }
    Ok(())
}

/// Nothing vouches for a self-signed end of a chain but itself; a byte of it that was changed is noticed.
fn self_signed(der: &CertificateDer<'_>) -> Result<(), ()> {
    let certificate = parse(der).ok_or(())?;
    if certificate.subject().as_raw() != certificate.issuer().as_raw() {
        return Ok(());
    }
    let key = EndEntityCert::try_from(der).map_err(|_| ())?;
    let (message, signature) = (certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
    let signed = |algorithm: &&dyn rustls_pki_types::SignatureVerificationAlgorithm| {
        key.verify_signature(*algorithm, message, signature).is_ok()
    };
    algorithms().iter().any(signed).then_some(()).ok_or(())
}

/// The leaf is valid, give or take what clocks may differ by.
pub(super) fn time(leaf: &LeafCertificate, now: OffsetDateTime) -> Outcome {
    let skew = Duration::seconds(CLOCK_SKEW_SECONDS);
    let found = instant::format(now);
    let wanted = format!("from {} to {}", instant::format(leaf.not_before), instant::format(leaf.not_after));
    // Differences, because a moment near the end of the calendar has none 300 s later.
    let outcome = if leaf.not_before - now > skew {
        Outcome::fail(
            found,
            "the certificate is not valid yet: this clock is slow, or the enclave's host runs ahead",
        )
    } else if now - leaf.not_after > skew {
        Outcome::fail(
            found,
            "the certificate has expired: it was kept from an earlier day, or this clock is fast",
        )
    } else {
        Outcome::pass(found)
    };
    outcome.wanted(wanted)
}

/// The name that was asked for is one of the leaf's.
pub(super) fn server_name(leaf_der: &CertificateDer<'_>, name: &str) -> Outcome {
    let names = alternative_names(leaf_der);
    let listed = names.iter().any(|(kind, listed)| match name.parse::<IpAddr>() {
        Ok(address) => *kind == NameKind::Address && listed.parse() == Ok(address),
        Err(_) => *kind == NameKind::Dns && listed.eq_ignore_ascii_case(name),
    });
    let found = names.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(", ");
    let outcome = if listed {
        Outcome::pass(found)
    } else {
        let message = format!(
            "the certificate is not for {name}: another enclave answered, or an app of another name. Connect with a name it has, or add the name to the image's served_names"
        );
        Outcome::fail(found, message)
    };
    outcome.wanted(name)
}

#[derive(PartialEq, Eq)]
enum NameKind {
    Dns,
    Address,
}

fn alternative_names(der: &CertificateDer<'_>) -> Vec<(NameKind, String)> {
    let Some(certificate) = parse(der) else { return Vec::new() };
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((NameKind::Dns, (*name).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let address = match <[u8; 4]>::try_from(*bytes) {
                Ok(four) => IpAddr::from(four),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some((NameKind::Address, address.to_string()))
        }
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

    use super::*;

    #[test]
    fn the_last_moments_of_the_calendar_are_judged_like_others() {
        let moment = |text| instant::parse(text).unwrap();
        let leaf = |from, to| LeafCertificate {
            spki_der: Vec::new(),
            not_before: moment(from),
            not_after: moment(to),
            quote: None,
            configuration_root: [0; 32],
            workloads_hash: [0; 32],
            apps: Vec::new(),
            app: None,
        };
        let now = moment("2026-11-21T12:00:00Z");
        let never = leaf("2026-11-21T11:59:00Z", "9999-12-31T23:59:59Z");
        assert!(time(&never, now).failure.is_none());
        let later = leaf("9999-12-31T23:59:00Z", "9999-12-31T23:59:59Z");
        assert!(time(&later, now).failure.is_some());
        let over = leaf("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z");
        assert!(time(&over, now).failure.is_some());
    }
}
