//! One handshake: what is offered, what is asked afterwards, and the judgement. Without any input or output, so
//! that blocking and async connections share it.

use std::sync::Arc;

use attestation::collateral::Collateral;
use attestation::report_data::EXPORTER_LABEL;
use attestation::verify::{CheckId, Disclosed, Presented, Tier, Verdict, Verified};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use boundary_wire::client::{Attest, Command, Reply};
use rustls::ClientConnection;
use rustls::pki_types::CertificateDer;

use super::QuotedCertificates;
use super::demand::{Demand, now};
use crate::ClientError;

/// One connection's nonce, and what it is judged by.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    demand: &'a Demand,
    nonce: [u8; 32],
}

/// What the enclave said after the handshake.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    quote: Vec<u8>,
    collateral: Option<Arc<Collateral>>,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(demand: &'a Demand) -> Result<Self, ClientError> {
        let mut nonce = [0; 32];
        rustls_graviola::default_provider()
            .secure_random
            .fill(&mut nonce)
            .map_err(|_| ClientError::NoRandomness)?;
        Ok(Self { demand, nonce })
    }

    /// The protocols to offer: those of the connection, and on tier `challenge` the nonce.
    pub(crate) fn alpn(&self, protocol: &[u8]) -> Vec<Vec<u8>> {
        let mut offered = vec![protocol.to_vec()];
        if self.demand.tier == Tier::Challenge {
            offered.push(QuotedCertificates::alpn_name(&self.nonce));
        }
        offered
    }

    /// Whether [`Attempt::question`] has to be asked: for a quote over this channel, or for collateral.
    pub(crate) fn has_question(&self) -> bool {
        let known = self.demand.given().or_else(|| self.demand.learned());
        self.demand.tier == Tier::Channel || known.is_none()
    }

    /// What to ask after the handshake. It says nothing of the application.
    pub(crate) fn question(&self) -> Command {
        Command::Attest(Attest { nonce: URL_SAFE_NO_PAD.encode(self.nonce) })
    }

    /// That question for HTTP: the body of a POST to `/.enclave/v1/attest`.
    pub(crate) fn question_body(&self) -> String {
        serde_json::json!({ "nonce": URL_SAFE_NO_PAD.encode(self.nonce) }).to_string()
    }

    /// The exporter of this connection for this nonce (RFC 8446 §7.5).
    pub(crate) fn exporter(&self, tls: &ClientConnection) -> Result<[u8; 32], ClientError> {
        tls.export_keying_material([0; 32], EXPORTER_LABEL, Some(&self.nonce))
            .map_err(|error| ClientError::Protocol(format!("no exporter: {error}")))
    }

    /// The judgement over everything that was said.
    ///
    /// Collateral of the caller's is the only one that counts. What an earlier enclave told may have run out, or be
    /// another platform's: this one's own is tried then, if it is not older, and what does not verify is
    /// forgotten, so that the next connection asks.
    pub(crate) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        server_name: Option<&str>,
        exporter: [u8; 32],
        answer: Option<&Answer>,
        disclosed: Disclosed<'_>,
    ) -> Result<Verified, ClientError> {
        let judge = |collateral: Option<&Collateral>| {
            self.verdict(chain, server_name, exporter, answer, collateral, disclosed)
        };
        if let Some(given) = self.demand.given() {
            return accepted(judge(Some(&given)));
        }
        let (learned, told) = (self.demand.learned(), answer.and_then(|answer| answer.collateral.clone()));
        let told = told.filter(|told| learned.as_ref().is_none_or(|learned| !told.is_older_than(learned)));
        let mut verdict = None;
        for collateral in [learned, told].into_iter().flatten() {
            let judged = judge(Some(&collateral));
            if judged.checks().iter().any(|check| check.check == CheckId::Quote && check.passed) {
                self.demand.learn(Some(collateral));
                return accepted(judged);
            }
            verdict = Some(judged);
        }
        self.demand.learn(None);
        accepted(verdict.unwrap_or_else(|| judge(None)))
    }

    fn verdict(
        &self,
        chain: &[CertificateDer<'_>],
        server_name: Option<&str>,
        exporter: [u8; 32],
        answer: Option<&Answer>,
        collateral: Option<&Collateral>,
        disclosed: Disclosed<'_>,
    ) -> Verdict {
        let presented = match self.demand.tier {
            Tier::Certificate => Presented::Certificate { chain, server_name },
            Tier::Challenge => Presented::Challenge { chain, server_name, nonce: &self.nonce },
            Tier::Channel => Presented::Channel {
                chain,
                server_name,
                nonce: &self.nonce,
                exporter: &exporter,
                quote: answer.map_or(&[], |answer| &answer.quote),
            },
        };
        self.demand.verifier.judge(&presented, collateral, disclosed, now())
    }
}

fn accepted(verdict: Verdict) -> Result<Verified, ClientError> {
    verdict.into_verified().map_err(ClientError::Verification)
}

impl Answer {
    /// Reads the answer to [`Attempt::question`].
    pub(crate) fn from_reply(reply: Reply) -> Result<Self, ClientError> {
        let Reply::Attested { quote, collateral, .. } = reply else {
            return Err(ClientError::Protocol("the answer to `attest` is another reply".to_owned()));
        };
        let quote = STANDARD
            .decode(quote)
            .map_err(|error| ClientError::Protocol(format!("the quote is not base64: {error}")))?;
        let collateral = match collateral {
            Some(collateral) => Some(Arc::new(
                Collateral::from_json(&collateral.to_string())
                    .map_err(|error| ClientError::Protocol(format!("the collateral: {error}")))?,
            )),
            None => None,
        };
        Ok(Self { quote, collateral })
    }
}
