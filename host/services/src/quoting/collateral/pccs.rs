//! Collateral from a PCCS, or from Intel's PCS: the same API (version 4).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use attestation::collateral::Collateral;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

use super::document::{Document, DocumentError, hex, unhex};
use super::platform::PlatformId;

/// A request, from the connection to the last byte.
const PATIENCE: Duration = Duration::from_secs(15);
/// TCB infos are the longest, and a few KiB.
const MAX_BODY: u64 = 256 * 1024;
const API: &str = "/sgx/certification/v4";

/// A service with the PCS API.
pub struct Pccs {
    /// Up to and with the version of the API.
    base: String,
    agent: Agent,
}

/// The service gave no collateral.
#[derive(Debug, thiserror::Error)]
pub enum PccsError {
    /// The URL is none.
    #[error(
        "--pccs-url {0} is no URL of a PCCS: it begins with https:// (or http:// for one on this machine), for \
         example https://localhost:8081"
    )]
    Url(String),
    /// The CA certificates do not read.
    #[error("--pccs-ca: no certificate (PEM) in it")]
    Ca,
    /// No answer.
    #[error(
        "the PCCS does not answer {url}: {reason}. See that it runs, and that --pccs-url names it; one with a \
         certificate of its own needs --pccs-ca"
    )]
    NoAnswer {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// It answered that it will not.
    #[error("the PCCS answers {status} to {url}: {advice}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What to do about it.
        advice: &'static str,
    },
    /// The answer is none of the API's.
    #[error("the PCCS's answer to {url} cannot be: {what}. See that it speaks version 4 of the API")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The parts do not make a document.
    #[error("what the PCCS answers does not fit together: {0}")]
    Document(String),
}

impl Pccs {
    /// The service at `url`, with or without the API's path. TLS is verified under Mozilla's roots, or under
    /// `ca_pem` alone.
    ///
    /// # Errors
    /// [`PccsError::Url`], [`PccsError::Ca`].
    pub fn new(url: &str, ca_pem: Option<&[u8]>) -> Result<Self, PccsError> {
        let base = url.trim_end_matches('/').trim_end_matches(API);
        let host = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains(['?', '#', ' '])) {
            return Err(PccsError::Url(url.escape_default().to_string()));
        }
        let roots = match ca_pem {
            None => RootCerts::WebPki,
            Some(pem) => {
                let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
                let read = read.ok().filter(|read| !read.is_empty()).ok_or(PccsError::Ca)?;
                let roots = read.iter().map(|der| Certificate::from_der(der).to_owned());
                RootCerts::Specific(Arc::new(roots.collect()))
            }
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider()))
            .root_certs(roots)
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .user_agent("enclave-os-host")
            .build()
            .new_agent();
        Ok(Self { base: format!("{base}{API}"), agent })
    }

    pub(super) fn fetch(&self, platform: &PlatformId) -> Result<Document, PccsError> {
        let pck_crl = self.get(&format!("/pckcrl?ca={}&encoding=der", platform.ca))?;
        let tcb = self.get(&format!("/tcb?fmspc={}", hex(&platform.fmspc)))?;
        let qe = self.get("/qe/identity")?;
        let (tcb_info, tcb_info_signature) = tcb.signed("tcbInfo")?;
        let (qe_identity, qe_identity_signature) = qe.signed("enclaveIdentity")?;
        let collateral = Collateral {
            pck_crl_issuer_chain: pck_crl.chain(&["SGX-PCK-CRL-Issuer-Chain"])?,
            root_ca_crl: self.root_ca_crl()?,
            pck_crl: pck_crl.der(),
            tcb_info_issuer_chain: tcb.chain(&["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"])?,
            tcb_info,
            tcb_info_signature,
            qe_identity_issuer_chain: qe.chain(&["SGX-Enclave-Identity-Issuer-Chain"])?,
            qe_identity,
            qe_identity_signature,
        };
        let document = Document::new(&collateral).map_err(|DocumentError(what)| PccsError::Document(what))?;
        if document.fmspc() == platform.fmspc {
            Ok(document)
        } else {
            Err(PccsError::Document("the TCB info is of another FMSPC".to_owned()))
        }
    }

    /// A PCCS has it as a resource of its own; Intel's PCS publishes it as a file.
    fn root_ca_crl(&self) -> Result<Vec<u8>, PccsError> {
        const INTELS: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";
        if self.base.starts_with("https://api.trustedservices.intel.com/") {
            return Ok(self.get_url(INTELS)?.der());
        }
        Ok(self.get("/rootcacrl")?.der())
    }

    fn get(&self, resource: &str) -> Result<Answer, PccsError> {
        self.get_url(&format!("{}{resource}", self.base))
    }

    fn get_url(&self, url: &str) -> Result<Answer, PccsError> {
        let no_answer =
            |error: ureq::Error| PccsError::NoAnswer { url: url.to_owned(), reason: error.to_string() };
        let mut response: Response<Body> = self.agent.get(url).call().map_err(no_answer)?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(PccsError::Status { url: url.to_owned(), status, advice: advice(status) });
        }
        let body = response.body_mut().with_config().limit(MAX_BODY).read_to_vec().map_err(no_answer)?;
        Ok(Answer { url: url.to_owned(), response, body })
    }
}

impl fmt::Debug for Pccs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pccs").field("base", &self.base).finish_non_exhaustive()
    }
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "it wants a credential, or its key for Intel's service is not valid; see its configuration"
        }
        404 => "it does not know this platform; register the platform with it (PCKIDRetrievalTool)",
        461 | 462 => {
            "it knows no PCK certificate of this platform; register the platform with it (PCKIDRetrievalTool)"
        }
        500..=599 => "it failed, or does not reach Intel's service; see its log",
        _ => "see its log",
    }
}

/// A successful answer.
struct Answer {
    url: String,
    response: Response<Body>,
    body: Vec<u8>,
}

impl Answer {
    fn wrong(&self, what: &'static str) -> PccsError {
        PccsError::Answer { url: self.url.clone(), what }
    }

    /// The first of these headers: a PEM chain, percent-encoded.
    fn chain(&self, names: &[&str]) -> Result<String, PccsError> {
        let header = names.iter().find_map(|name| self.response.headers().get(*name));
        let text =
            header.and_then(|value| value.to_str().ok()).ok_or_else(|| self.wrong("no issuer chain"))?;
        let chain =
            percent_decoded(text).ok_or_else(|| self.wrong("its issuer chain is not percent-encoded"))?;
        if chain.starts_with("-----BEGIN CERTIFICATE-----") {
            Ok(chain)
        } else {
            Err(self.wrong("its issuer chain is not PEM"))
        }
    }

    /// A CRL: DER, or the same in hex, as a PCCS has it.
    fn der(&self) -> Vec<u8> {
        let text = str::from_utf8(&self.body).ok();
        text.and_then(|text| unhex(text.trim())).unwrap_or_else(|| self.body.clone())
    }

    /// The text that was signed, byte for byte as it stands behind `member`, and the signature.
    fn signed(&self, member: &str) -> Result<(String, Vec<u8>), PccsError> {
        #[derive(serde::Deserialize)]
        struct Signature {
            signature: String,
        }
        let wrong = || self.wrong("it is not the signed JSON of the API");
        let Signature { signature } = serde_json::from_slice(&self.body).map_err(|_| wrong())?;
        let signature = unhex(&signature).filter(|signature| signature.len() == 64);
        let signature = signature.ok_or_else(|| self.wrong("its signature is none"))?;
        let text = str::from_utf8(&self.body).map_err(|_| wrong())?;
        let (_, rest) = text.split_once(&format!("\"{member}\":")).ok_or_else(wrong)?;
        let rest = rest.trim_start();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {}
            _ => return Err(wrong()),
        }
        let signed = rest.get(..values.byte_offset()).ok_or_else(wrong)?;
        Ok((signed.to_owned(), signature))
    }
}

/// RFC 3986 §2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let (digits, after) = after.split_first_chunk::<2>()?;
            out.extend(unhex(str::from_utf8(digits).ok()?)?);
            rest = after;
        } else {
            out.push(first);
            rest = after;
        }
    }
    String::from_utf8(out).ok()
}
