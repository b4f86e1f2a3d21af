//! Blocking connections, judged.

use std::sync::Arc;
use std::time::Duration;

use attestation::collateral::Collateral;
use attestation::policy::VerificationPolicy;
use attestation::verify::{Tier, Verified};
use boundary_wire::client::MAX_FRAME;

use super::{Answer, Attempt, Attested, Demand, MAX_ATTESTED, Settings, Shown};
use crate::tls::Connection;
use crate::{ClientError, Connector, Framed, Http, danger};

/// How long a single read or write may stand still until the enclave is judged.
const JUDGEMENT: Duration = Duration::from_secs(30);
/// Most bytes of a manifest, or of a proof with its leaf's value.
const MAX_MANIFEST: u64 = 8 << 20;

/// How to reach an enclave, and the policy it has to pass before it gets a byte.
#[derive(Clone, Debug)]
pub struct VerifiedConnector {
    /// Takes any certificate: what decides is the judgement after the handshake.
    connector: Connector,
    server_name: Option<String>,
    demand: Arc<Demand>,
}

impl VerifiedConnector {
    /// A connector to `host:port` that asks for the strongest tier, `channel`.
    pub fn new(address: impl Into<String>, policy: VerificationPolicy) -> Self {
        let connector = danger::accept_any_certificate(Connector::new(address));
        Self { connector, server_name: None, demand: Arc::new(Demand::new(policy)) }
    }

    /// Sends this name (SNI) and demands it in the certificate: an application's hostname gets the
    /// application's own certificate. Without it, no name is demanded: identity is what the policy says.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.connector = self.connector.server_name(name.clone());
        self.server_name = Some(name);
        self
    }

    /// Asks for another tier of freshness. The policy's minimum stays what it is.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.demand = Arc::new(self.demand.at_tier(tier));
        self
    }

    /// Uses this collateral and no other: what an enclave tells cannot take its place.
    pub fn collateral(mut self, collateral: Collateral) -> Self {
        self.demand = Arc::new(self.demand.with_collateral(collateral));
        self
    }

    /// See [`Connector::connect_timeout`].
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connector = self.connector.connect_timeout(timeout);
        self
    }

    /// See [`Connector::io_timeout`].
    pub fn io_timeout(mut self, timeout: Duration) -> Self {
        self.connector = self.connector.io_timeout(timeout);
        self
    }

    /// Connects for framed JSON.
    ///
    /// # Errors
    /// [`ClientError::Verification`] if the enclave does not pass; else as [`Connector::framed`].
    pub fn framed(&self) -> Result<Attested<Framed>, ClientError> {
        let attempt = Attempt::new(&self.demand)?;
        let mut framed = Framed::new(self.open(&attempt, b"enclave-os/1")?);
        framed.set_limit(MAX_ATTESTED);
        let answer = match attempt.has_question() {
            true => Some(Answer::from_reply(framed.command(attempt.question())?)?),
            false => None,
        };
        framed.set_limit(MAX_FRAME);
        let verified = self.judge(&attempt, framed.connection(), answer.as_ref())?;
        self.connector.patience(framed.connection())?;
        Ok(Attested::new(framed, verified))
    }

    /// Connects for HTTP/1.1.
    ///
    /// # Errors
    /// As [`VerifiedConnector::framed`].
    pub fn http(&self) -> Result<Attested<Http>, ClientError> {
        let attempt = Attempt::new(&self.demand)?;
        let mut http = Http::new(self.open(&attempt, b"http/1.1")?, self.connector.host_field());
        http.set_limit(Some(MAX_ATTESTED as u64));
        let answer = match attempt.has_question() {
            true => Some(Answer::from_reply(http.attest(&attempt.question_body())?)?),
            false => None,
        };
        http.set_limit(None);
        let verified = self.judge(&attempt, http.connection(), answer.as_ref())?;
        self.connector.patience(http.connection())?;
        Ok(Attested::new(http, verified))
    }

    fn open(&self, attempt: &Attempt<'_>, protocol: &[u8]) -> Result<Connection, ClientError> {
        let offered = attempt.alpn(protocol);
        let hasty = self.connector.clone().default_io_timeout(JUDGEMENT);
        hasty.connect(&offered.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn judge(
        &self,
        attempt: &Attempt<'_>,
        connection: &Connection,
        answer: Option<&Answer>,
    ) -> Result<Verified, ClientError> {
        let exporter = attempt.exporter(connection.tls())?;
        let chain = connection.peer().chain();
        let shown = self.shown(self.demand.settings(chain.first()))?;
        attempt.judge(chain, self.server_name.as_deref(), exporter, answer, shown.disclosed())
    }

    /// What the policy wants to know of the configuration. Over a connection of its own, which needs no trust: the
    /// judgement demands that it leads to the root in the certificate. Without a name, because at an application's
    /// hostname there is that application's part of it alone.
    fn shown(&self, wanted: Settings) -> Result<Shown, ClientError> {
        let mut shown = Shown::default();
        if wanted == Settings::default() {
            return Ok(shown);
        }
        let connector = self.connector.clone().without_server_name().default_io_timeout(JUDGEMENT);
        let mut http = connector.http()?;
        http.set_limit(Some(MAX_MANIFEST));
        if wanted.manifest {
            shown.manifest = Some(http.manifest()?);
        }
        for leaf in &wanted.proofs {
            match http.proof(leaf) {
                Ok(proof) => shown.proofs.push(proof),
                // There is no such leaf, and the verdict says so.
                Err(ClientError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }
}
