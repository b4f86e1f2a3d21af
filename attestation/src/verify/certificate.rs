//! Checks of the certificate chain: signatures up to its end, validity, names.

use std::net::IpAddr;

use rustls_pki_types::{CertificateDer, UnixTime};
use time::{Duration, OffsetDateTime};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::crypto::algorithms;
use super::judge::Outcome;
use super::{CLOCK_SKEW_SECONDS, authority};
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
        return Err("no certificate was sent: this is not the TLS port of an enclave".to_owned());
    };
    let Some((top, intermediates)) = issuers.split_last() else {
        return Err("the enclave's CA certificate is missing: a chain has at least two certificates, and something between here and the enclave may have dropped it".to_owned());
    };
    if chain.len() > MAX_CHAIN {
        return Err(format!(
            "the chain is longer than {MAX_CHAIN} certificates: install fewer above the enclave's CA (`enclave-os ca install`)"
        ));
    }
    let of_number = |number: usize, reason: String| format!("certificate {number} of the chain {reason}");
    for (at, der) in chain.iter().enumerate() {
        let certificate = parse(der).ok_or_else(|| of_number(at + 1, "does not parse".to_owned()))?;
        match at.checked_sub(1) {
            None => authority::check_leaf(&certificate),
            Some(below) => authority::check_issuer(&certificate, below, now),
        }
        .map_err(|reason| of_number(at + 1, reason))?;
    }
    // The leaf's own validity is a check of its own, which allows for clocks that differ.
    let at = leaf.map_or(now, |leaf| now.clamp(leaf.not_before, leaf.not_after.max(leaf.not_before)));
    let at = u64::try_from(at.unix_timestamp()).map_err(|_| "the time is before 1970".to_owned())?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
    let anchors = [anchor_from_trusted_cert(top).map_err(explained)?];
    let end = EndEntityCert::try_from(leaf_der).map_err(explained)?;
    let path = end
        .verify_for_usage(algorithms(), &anchors, intermediates, at, PurposesJudgedApart, None, None)
        .map_err(explained)?;
    // All of them, in this order: another certificate of the same name could stand in for one.
    let used = path.intermediate_certificates().map(|certificate| certificate.der());
    if !used.eq(intermediates.iter().map(|der| CertificateDer::from(&der[..]))) {
        return Err("the certificates are not in order, each signed by the next: install the chain again, the enclave's certificate first (`enclave-os ca install`)".to_owned());
    }
    self_signed(top)
        .map_err(|()| "the last certificate names itself its issuer and did not sign itself: it is not the one that its operator made".to_owned())
}

/// The public key (SubjectPublicKeyInfo) of `issuer`, if that is the key `certificate` is signed with.
pub fn issuer_spki(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let key = EndEntityCert::try_from(issuer).ok()?;
    let signed = parse(certificate)?;
    let (message, signature) = (signed.tbs_certificate.as_ref(), &signed.signature_value.data);
    let mut all = algorithms().iter();
    all.find(|algorithm| key.verify_signature(**algorithm, message, signature).is_ok())?;
    Some(parse(issuer)?.public_key().raw.to_vec())
}

/// [`authority`] has judged extendedKeyUsage, the last certificate's too, which is none of a path's here.
struct PurposesJudgedApart;

impl ExtendedKeyUsageValidator for PurposesJudgedApart {
    fn validate(&self, mut purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        purposes.try_for_each(|purpose| purpose.map(|_| ()))
    }
}

/// The library's words as a sentence for whoever has to mend it.
fn explained(error: webpki::Error) -> String {
    use webpki::Error;
    match error {
        Error::InvalidSignatureForPublicKey | Error::UnknownIssuer => {
            "a certificate is not signed by the next one: certificates of two enclaves or operators were mixed, or one was changed on its way".to_owned()
        }
        Error::NameConstraintViolation => {
            "the certificate is for a name that an authority above it may not vouch for (nameConstraints): the operator has to allow it, or the image's served_names have to leave it out".to_owned()
        }
        Error::UnsupportedCriticalExtension => {
            "a certificate has a critical extension that is not understood here: the operator has to issue it without".to_owned()
        }
        Error::CaUsedAsEndEntity => {
            "the first certificate is one of an authority, not a leaf: send the leaf first".to_owned()
        }
        other => format!(
            "a certificate is malformed, or signed in a way that is not taken here ({other:?}): have the operator issue it anew"
        ),
    }
}

/// Nothing vouches for a self-signed end of a chain but itself; a byte of it that was changed is noticed.
fn self_signed(der: &CertificateDer<'_>) -> Result<(), ()> {
    let certificate = parse(der).ok_or(())?;
    if certificate.subject().as_raw() != certificate.issuer().as_raw() {
        return Ok(());
    }
    issuer_spki(der, der).map(|_| ()).ok_or(())
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
            "the certificate is not valid yet: this clock is slow, or that of the enclave's host is fast. Set both by NTP",
        )
    } else if now - leaf.not_after > skew {
        Outcome::fail(
            found,
            "the certificate has expired: it was kept from an earlier day, or this clock is fast. Connect anew, and set the clock by NTP",
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
