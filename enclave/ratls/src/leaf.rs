//! Writes leaf certificates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use attestation::oid;
use enclave_platform::{Platform, RandomError};
use rcgen::{
    CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use crate::authority::{common_name, own_key_identifier, serial_number};
use crate::key::Key;
use crate::quoting::Quote;
use crate::report::ReportData;
use crate::{Authority, IdentityError, interop};

/// How long a leaf is valid.
pub(crate) const VALIDITY: Duration = Duration::hours(24);
/// How long a leaf is valid that was made for one connection (tier `challenge`).
pub(crate) const CHALLENGE_VALIDITY: Duration = Duration::minutes(5);

/// What vouches for a leaf's key: nothing, as long as no quote can be had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// Over [`Draft::report_data`], or for a challenge.
    pub(crate) quote: Option<Quote>,
    /// Over [`Draft::interoperable`], where that is wanted.
    pub(crate) interoperable: Option<Quote>,
}

impl Evidence {
    /// How many quotes it has.
    pub(crate) fn quotes(&self) -> usize {
        self.quote.iter().chain(&self.interoperable).count()
    }
}

/// What one leaf says.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub(crate) subject: String,
    pub(crate) names: Names,
    pub(crate) configuration_root: [u8; 32],
    pub(crate) workloads_hash: [u8; 32],
    /// Names, route prefixes and code hashes, as they stand in the certificate; `None` without apps.
    pub(crate) apps: Option<AppLists>,
    pub(crate) app: Option<AppClaims>,
}

/// Subject alternative names.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) dns: Vec<String>,
    pub(crate) loopback: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct AppLists {
    pub(crate) names: String,
    pub(crate) route_prefixes: String,
    pub(crate) code_hashes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct AppClaims {
    pub(crate) configuration_root: [u8; 32],
    pub(crate) code_hash: [u8; 32],
    pub(crate) key_source: String,
}

/// A key and a validity, before anything vouches for them.
pub(crate) struct Draft {
    key: Arc<Key>,
    not_before: OffsetDateTime,
    validity: Duration,
}

impl Draft {
    /// Draws a key. Validity starts at the whole minute before `now`, for clients whose clock is a little slow.
    pub(crate) fn new(
        platform: &dyn Platform,
        now: OffsetDateTime,
        validity: Duration,
    ) -> Result<Draft, RandomError> {
        let minute = now.replace_second(0).and_then(|now| now.replace_nanosecond(0)).unwrap_or(now);
        let not_before = minute.checked_sub(Duration::MINUTE).unwrap_or(minute);
        Ok(Draft { key: Arc::new(Key::generate(platform)?), not_before, validity })
    }

    /// What a quote for this leaf is made over (tier `certificate`).
    pub(crate) fn report_data(&self) -> ReportData {
        ReportData::leaf(&self.spki_der(), self.not_before)
    }

    /// What a quote for interoperable evidence is made over.
    pub(crate) fn interoperable(&self) -> ReportData {
        ReportData::interoperable(&interop::claims(&self.spki_der()))
    }

    pub(crate) fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// How long it is valid from [`Draft::not_before`] on.
    pub(crate) fn validity(&self) -> Duration {
        self.validity
    }

    pub(crate) fn spki_der(&self) -> Vec<u8> {
        self.key.spki_der()
    }

    pub(crate) fn key(&self) -> Arc<Key> {
        Arc::clone(&self.key)
    }

    /// The certificate. What the same draft is certified for later has the same key and validity.
    pub(crate) fn certify(
        &self,
        platform: &dyn Platform,
        authority: &Authority,
        claims: &Claims,
        evidence: &Evidence,
    ) -> Result<CertificateDer<'static>, IdentityError> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial_number(platform)?);
        params.not_before = self.not_before;
        params.not_after = self.not_before.checked_add(self.validity).ok_or(IdentityError::Clock)?;
        params.distinguished_name = common_name(&claims.subject);
        params.subject_alt_names = claims.names.to_san()?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_identifier_method = KeyIdMethod::PreSpecified(own_key_identifier(&self.key));
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions = claims.extensions();
        params.custom_extensions.splice(0..0, self.vouchers(evidence));
        Ok(authority.sign(&params, &*self.key)?)
    }

    fn vouchers(&self, evidence: &Evidence) -> Vec<CustomExtension> {
        let quote = evidence.quote.as_ref().map(|quote| (oid::QUOTE, quote.as_bytes().to_vec()));
        let interoperable = evidence.interoperable.as_ref().map(|quote| {
            let content = interop::evidence(quote.as_bytes(), &interop::claims(&self.spki_der()));
            (oid::INTEROPERABLE_EVIDENCE, content)
        });
        let extension = |(oid, content)| CustomExtension::from_oid_content(oid, content);
        quote.into_iter().chain(interoperable).map(extension).collect()
    }
}

impl Names {
    fn to_san(&self) -> Result<Vec<SanType>, IdentityError> {
        let mut out = Vec::new();
        for name in &self.dns {
            out.push(SanType::DnsName(name.as_str().try_into()?));
        }
        if self.loopback {
            out.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
            out.push(SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        }
        Ok(out)
    }
}

impl Claims {
    /// Values are raw, without an inner encoding, as existing clients of this arc read them.
    fn extensions(&self) -> Vec<CustomExtension> {
        let mut out = Vec::new();
        let mut add = |oid, value: Vec<u8>| out.push(CustomExtension::from_oid_content(oid, value));
        add(oid::CONFIGURATION_ROOT, self.configuration_root.to_vec());
        if let Some(apps) = &self.apps {
            add(oid::APP_NAMES, apps.names.clone().into_bytes());
            add(oid::ROUTE_PREFIXES, apps.route_prefixes.clone().into_bytes());
            add(oid::CODE_HASHES, apps.code_hashes.clone());
        }
        add(oid::WORKLOADS_HASH, self.workloads_hash.to_vec());
        if let Some(app) = &self.app {
            add(oid::APP_CONFIGURATION_ROOT, app.configuration_root.to_vec());
            add(oid::APP_CODE_HASH, app.code_hash.to_vec());
            add(oid::APP_KEY_SOURCE, app.key_source.clone().into_bytes());
        }
        out
    }
}
