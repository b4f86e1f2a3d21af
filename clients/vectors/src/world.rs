//! The machines and the enclave that most cases are about.

use anyhow::{Context, Result};
use attestation::evidence::{CA_LEAF, EvidenceDocument, FORMAT as EVIDENCE_FORMAT, Generation};
use attestation::instant;
use attestation::manifest::{Leaf as Setting, Manifest};
use attestation::report_data::{self, Binding};
use attestation::vectors::{Input, Kind};
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};
use sgx_emu::EnclaveState;
use time::{Duration, OffsetDateTime};

use crate::enclave::{App, Ca, CaShape, Claims, certify};
use crate::key::{Key, random};
use crate::machine::Machine;
use crate::table::{Policy, list};

/// The moment of most cases: 2026-11-21T18:00:00Z.
const NOW: i64 = 1_795_284_000;

pub(crate) struct World {
    pub(crate) now: OffsetDateTime,
    pub(crate) machine: Machine,
    pub(crate) other_machine: Machine,
    pub(crate) state: EnclaveState,
    pub(crate) ca: Ca,
    pub(crate) operator: Ca,
    pub(crate) under_operator: Ca,
    pub(crate) manifest: Manifest,
    pub(crate) apps: Vec<App>,
    pub(crate) nonce: [u8; 32],
    pub(crate) exporter: [u8; 32],
}

/// Where a leaf is made: on which machine, in which enclave, under which CAs.
pub(crate) struct Site<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) state: EnclaveState,
    pub(crate) cas: Vec<&'a Ca>,
}

/// What the quote in a leaf binds.
#[derive(Clone, Copy)]
pub(crate) enum Bound<'a> {
    NoQuote,
    NotBefore,
    Nonce(&'a [u8; 32]),
}

/// A leaf as it is served.
pub(crate) struct Leaf {
    pub(crate) key: Key,
    pub(crate) claims: Claims,
    pub(crate) quote: Option<Vec<u8>>,
    pub(crate) der: Vec<u8>,
}

impl World {
    pub(crate) fn new() -> Result<Self> {
        let now = OffsetDateTime::from_unix_timestamp(NOW)?;
        let issued = now - Duration::days(1);
        let state = EnclaveState { isv_prod_id: 7, isv_svn: 3, ..EnclaveState::development() };
        let operator = Ca::self_signed(&CaShape::new("Example Operator Root", 1))?;
        let ca = Ca::self_signed(&CaShape::new("Enclave OS CA 5ca1ab1e", 0))?;
        let manifest = manifest("kv", &ca)?;
        let app = |name: &'static str, code, key_source| -> Result<App> {
            Ok(App {
                name,
                code_hash: [code; 32],
                configuration_root: manifest.of_app(name)?.root(),
                key_source,
            })
        };
        Ok(World {
            now,
            machine: Machine::new(issued)?,
            other_machine: Machine::new(issued)?,
            state,
            ca,
            under_operator: Ca::under(&CaShape::new("Enclave OS CA 0ddba115", 0), &operator)?,
            operator,
            apps: vec![app("kv-store", 0xaa, "generated")?, app("mail", 0xbb, "byok:0011223344556677")?],
            manifest,
            nonce: random()?,
            exporter: random()?,
        })
    }

    pub(crate) fn site(&self) -> Site<'_> {
        Site { machine: &self.machine, state: self.state.clone(), cas: vec![&self.ca] }
    }

    /// The leaf of the whole enclave.
    pub(crate) fn claims(&self) -> Claims {
        Claims {
            subject: "Enclave OS",
            dns: vec!["enclave.example.com", "localhost"],
            loopback: true,
            not_before: self.now - Duration::minutes(10),
            validity: Duration::hours(24),
            configuration_root: self.manifest.root(),
            apps: self.apps.clone(),
            own: None,
            extra: Vec::new(),
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth],
            strange: false,
            workloads_hash: None,
        }
    }

    /// The leaf of one app: 0 is `kv-store`, 1 is `mail`.
    pub(crate) fn app_claims(&self, own: usize) -> Claims {
        let (subject, name) =
            if own == 0 { ("kv-store", "kv.example.com") } else { ("mail", "mail.example.com") };
        Claims { subject, dns: vec![name], loopback: false, own: Some(own), ..self.claims() }
    }

    /// As the enclave makes it for one connection: good for five minutes.
    pub(crate) fn for_connection(&self, claims: Claims) -> Claims {
        Claims { not_before: self.now - Duration::minutes(1), validity: Duration::minutes(5), ..claims }
    }

    /// Names the development root of the machine and the measurement of the enclave.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            roots: format!("development = {}", list(&self.machine.root())),
            enclave: format!("mrenclave = {}", list(&self.state.mrenclave)),
            rest: String::new(),
        }
    }

    /// The same where the age of a certificate is enough.
    pub(crate) fn lax(&self) -> Policy {
        self.policy().with("[freshness]\nmin_tier = \"certificate\"")
    }

    pub(crate) fn certificate(&self, policy: &Policy, site: &Site<'_>, leaf: &Leaf) -> Input {
        Input { chain: Some(site.chain(leaf)), ..self.input(Kind::Certificate, policy) }
    }

    /// Presented to a client that offered the world's nonce.
    pub(crate) fn challenge(&self, policy: &Policy, site: &Site<'_>, leaf: &Leaf) -> Input {
        Input {
            chain: Some(site.chain(leaf)),
            nonce: Some(BASE64_URL.encode(self.nonce)),
            ..self.input(Kind::Challenge, policy)
        }
    }

    /// Presented on the world's connection, with that answer of `attest`.
    pub(crate) fn channel(&self, policy: &Policy, site: &Site<'_>, leaf: &Leaf, quote: &[u8]) -> Input {
        Input {
            chain: Some(site.chain(leaf)),
            nonce: Some(BASE64_URL.encode(self.nonce)),
            exporter: Some(attestation::hex::encode(&self.exporter)),
            attest_quote: Some(BASE64.encode(quote)),
            ..self.input(Kind::Channel, policy)
        }
    }

    pub(crate) fn quote(&self, policy: &Policy, quote: &[u8]) -> Input {
        Input { quote: Some(BASE64.encode(quote)), ..self.input(Kind::Quote, policy) }
    }

    pub(crate) fn evidence(&self, policy: &Policy, document: Value) -> Input {
        Input { evidence: Some(document), ..self.input(Kind::Evidence, policy) }
    }

    /// With the machine's collateral, at the usual moment.
    pub(crate) fn input(&self, tier: Kind, policy: &Policy) -> Input {
        Input {
            tier,
            policy: policy.text(),
            now: instant::format(self.now),
            chain: None,
            server_name: None,
            nonce: None,
            exporter: None,
            attest_quote: None,
            quote: None,
            collateral: None,
            collateral_ref: Some("development".to_owned()),
            manifest: None,
            proofs: None,
            evidence: None,
        }
    }

    /// What `attest` answers on a connection whose leaf and exporter are these.
    pub(crate) fn attest(
        &self,
        site: &Site<'_>,
        leaf: &Leaf,
        nonce: &[u8; 32],
        exporter: &[u8; 32],
    ) -> Result<Vec<u8>> {
        let data = report_data::compute(&leaf.key.spki_der(), Binding::Channel { nonce, exporter });
        site.machine.quote(&site.state, &data)
    }

    /// An evidence document as the enclave makes it.
    pub(crate) fn document(
        &self,
        site: &Site<'_>,
        leaf: &Leaf,
        manifest: &Manifest,
    ) -> Result<EvidenceDocument> {
        let data = report_data::evidence(&leaf.der, &manifest.root());
        let cas = site.cas.iter().map(|ca| ca.certificate.clone());
        Ok(EvidenceDocument {
            format: EVIDENCE_FORMAT,
            certificate_chain: std::iter::once(leaf.der.clone()).chain(cas).collect(),
            certificate_quote: leaf.quote.clone(),
            evidence_quote: Some(site.machine.quote(&site.state, &data)?),
            collateral: None,
            manifest: manifest.clone(),
            ca_proof: self.manifest.proof(CA_LEAF).context("the configuration names the CA")?,
            generations: vec![Generation {
                generation: 1,
                configuration_root: leaf.claims.configuration_root,
                since: leaf.claims.not_before,
                changed: Vec::new(),
            }],
            issued: self.now,
            interop: None,
        })
    }
}

impl Site<'_> {
    pub(crate) fn leaf(&self, claims: Claims, bound: Bound<'_>) -> Result<Leaf> {
        let key = Key::generate()?;
        let binding = match bound {
            Bound::NoQuote => None,
            Bound::NotBefore => Some(Binding::NotBefore(claims.not_before)),
            Bound::Nonce(nonce) => Some(Binding::Nonce(nonce)),
        };
        let data = binding.map(|binding| report_data::compute(&key.spki_der(), binding));
        let quote = data.map(|data| self.machine.quote(&self.state, &data)).transpose()?;
        self.leaf_with(key, claims, quote)
    }

    /// A leaf with a quote that may be anybody's.
    pub(crate) fn leaf_with(&self, key: Key, claims: Claims, quote: Option<Vec<u8>>) -> Result<Leaf> {
        let ca = self.cas.first().ok_or_else(|| anyhow::anyhow!("a site has a CA"))?;
        let der = certify(ca, &key, &claims, quote.as_deref())?;
        Ok(Leaf { key, claims, quote, der })
    }

    fn chain(&self, leaf: &Leaf) -> Vec<String> {
        let cas = self.cas.iter().map(|ca| ca.certificate.as_slice());
        std::iter::once(leaf.der.as_slice()).chain(cas).map(|der| BASE64.encode(der)).collect()
    }
}

/// A configuration; `version` makes it another one.
pub(crate) fn manifest(version: &str, ca: &Ca) -> Result<Manifest> {
    let mut settings = vec![
        Setting::raw(CA_LEAF, ca.certificate.clone())?,
        Setting::json("core.version", &json!({"enclave_os": version}))?,
        Setting::json("core.operator_policy", &json!({"development": false, "operators": ["example"]}))?,
        Setting::json("core.code_policy", &json!({"native": []}))?,
    ];
    for (name, code) in [("kv-store", 0xaa), ("mail", 0xbb)] {
        settings.push(Setting::raw(format!("app.{name}.code_hash"), [code; 32])?);
        settings.push(Setting::json(format!("app.{name}.limits"), &json!({"fuel": 1_000_000}))?);
        settings.push(Setting::salted(format!("app.{name}.env"), &[1; 32], &json!({}))?);
    }
    Ok(Manifest::new(settings)?)
}
