//! An enclave as its clients see it: certificates shaped like those of `enclave/ratls`.

use anyhow::Result;
use attestation::{oid, workloads};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, NameConstraints, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::key::{Key, random};

/// A CA: an enclave's, or an operator's.
pub(crate) struct Ca {
    key: Key,
    params: CertificateParams,
    pub(crate) certificate: Vec<u8>,
}

/// How a CA is made.
pub(crate) struct CaShape {
    pub(crate) name: String,
    pub(crate) may_sign: bool,
    pub(crate) is_ca: bool,
    /// None: any number of authorities below it.
    pub(crate) path_length: Option<u8>,
    pub(crate) names: Option<NameConstraints>,
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    /// A critical extension that nobody knows.
    pub(crate) strange: bool,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl CaShape {
    pub(crate) fn new(name: &str, path_length: u8) -> Self {
        CaShape {
            name: name.to_owned(),
            may_sign: true,
            is_ca: true,
            path_length: Some(path_length),
            names: None,
            purposes: Vec::new(),
            strange: false,
            not_before: rcgen::date_time_ymd(2026, 1, 1),
            not_after: rcgen::date_time_ymd(9999, 12, 31),
        }
    }
}

impl Ca {
    pub(crate) fn self_signed(shape: &CaShape) -> Result<Self> {
        let key = Key::generate()?;
        let params = ca_params(shape, &key)?;
        let certificate = params.self_signed(&key)?.der().to_vec();
        Ok(Ca { key, params, certificate })
    }

    pub(crate) fn under(shape: &CaShape, issuer: &Ca) -> Result<Self> {
        let key = Key::generate()?;
        let params = ca_params(shape, &key)?;
        let certificate = params.signed_by(&key, &issuer.issuer())?.der().to_vec();
        Ok(Ca { key, params, certificate })
    }

    /// The same authority, its name and its key, in a certificate that names another issuer. Its signature is made
    /// with a key that nobody in the chain has, as one is that was put there on the way.
    pub(crate) fn reissued(&self, issuer: &Ca) -> Result<Vec<u8>> {
        Ok(self.params.signed_by(&self.key, &issuer.issuer())?.der().to_vec())
    }

    fn issuer(&self) -> Issuer<'_, &Key> {
        Issuer::from_params(&self.params, &self.key)
    }
}

fn ca_params(shape: &CaShape, key: &Key) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.distinguished_name = common_name(&shape.name);
    params.not_before = shape.not_before;
    params.not_after = shape.not_after;
    params.is_ca = if shape.is_ca {
        IsCa::Ca(shape.path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained))
    } else {
        IsCa::ExplicitNoCa
    };
    params.key_usages = if shape.may_sign {
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
    } else {
        vec![KeyUsagePurpose::CrlSign]
    };
    params.name_constraints = shape.names.clone();
    params.extended_key_usages = shape.purposes.clone();
    if shape.strange {
        params.custom_extensions.push(strange());
    }
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn strange() -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 2], vec![5, 0]);
    extension.set_criticality(true);
    extension
}

/// An app as certificates name it.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) name: &'static str,
    pub(crate) code_hash: [u8; 32],
    pub(crate) configuration_root: [u8; 32],
    pub(crate) key_source: &'static str,
}

/// What a leaf says.
#[derive(Clone)]
pub(crate) struct Claims {
    pub(crate) subject: &'static str,
    pub(crate) dns: Vec<&'static str>,
    pub(crate) loopback: bool,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) validity: Duration,
    pub(crate) configuration_root: [u8; 32],
    /// All apps of the enclave, in name order.
    pub(crate) apps: Vec<App>,
    /// For the leaf of one app: which.
    pub(crate) own: Option<usize>,
    /// Extensions that no leaf has.
    pub(crate) extra: Vec<(Vec<u64>, Vec<u8>)>,
    /// extendedKeyUsage.
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    /// A critical extension that nobody knows.
    pub(crate) strange: bool,
    /// In place of the hash over the apps.
    pub(crate) workloads_hash: Option<[u8; 32]>,
}

impl Claims {
    fn extensions(&self, quote: Option<&[u8]>) -> Result<Vec<CustomExtension>> {
        let mut out = Vec::new();
        let mut add = |oid: &[u64], value: Vec<u8>| out.push(CustomExtension::from_oid_content(oid, value));
        if let Some(quote) = quote {
            add(oid::QUOTE, quote.to_vec());
        }
        add(oid::CONFIGURATION_ROOT, self.configuration_root.to_vec());
        let own = self.own.and_then(|at| self.apps.get(at));
        let listed: Vec<&App> = own.map_or_else(|| self.apps.iter().collect(), |own| vec![own]);
        if !listed.is_empty() {
            let lines = |line: &dyn Fn(&App) -> String| {
                listed.iter().map(|app| line(app)).collect::<Vec<_>>().join("\n").into_bytes()
            };
            add(oid::APP_NAMES, lines(&|app| app.name.to_owned()));
            add(oid::ROUTE_PREFIXES, lines(&|app| format!("/{}", app.name)));
            add(oid::CODE_HASHES, listed.iter().flat_map(|app| app.code_hash).collect());
        }
        let workloads = workloads::hash(self.apps.iter().map(|app| (app.name, app.code_hash)));
        add(oid::WORKLOADS_HASH, self.workloads_hash.or(workloads).unwrap_or_default().to_vec());
        if let Some(own) = own {
            add(oid::APP_CONFIGURATION_ROOT, own.configuration_root.to_vec());
            add(oid::APP_CODE_HASH, own.code_hash.to_vec());
            add(oid::APP_KEY_SOURCE, own.key_source.as_bytes().to_vec());
        }
        for (oid, value) in &self.extra {
            add(oid, value.clone());
        }
        Ok(out)
    }
}

/// A leaf's certificate (DER), signed by that CA.
pub(crate) fn certify(ca: &Ca, key: &Key, claims: &Claims, quote: Option<&[u8]>) -> Result<Vec<u8>> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial()?));
    params.not_before = claims.not_before;
    params.not_after = claims.not_before + claims.validity;
    params.distinguished_name = common_name(claims.subject);
    for name in &claims.dns {
        params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
    }
    if claims.loopback {
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.subject_alt_names.push(SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = claims.purposes.clone();
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
    params.use_authority_key_identifier_extension = true;
    params.custom_extensions = claims.extensions(quote)?;
    if claims.strange {
        params.custom_extensions.push(strange());
    }
    Ok(params.signed_by(key, &ca.issuer())?.der().to_vec())
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn serial() -> Result<[u8; 16]> {
    let mut serial = random::<16>()?;
    serial[0] = serial[0] & 0x7f | 0x40;
    Ok(serial)
}
