//! Arguments made into what commands use.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use attestation::policy::VerificationPolicy;
use attestation::verify::{Tier, Verdict};
use enclave_os_client::{ClientError, Connector, Framed, Http, OperatorKey, VerifiedConnector, danger};

use crate::args::{self, Global, Trust};
use crate::failure::Failure;
use crate::{key_file, output};

/// Where the server is, what is demanded of it, and how results are printed.
pub(crate) struct Session {
    reach: Reach,
    server: String,
    server_name: Option<String>,
    tier: Option<Tier>,
    policy: Option<Policy>,
    key: Option<Arc<OperatorKey>>,
    pub(crate) json: bool,
}

/// What is demanded, and the file that says so.
pub(crate) struct Policy {
    pub(crate) file: PathBuf,
    pub(crate) demand: VerificationPolicy,
    /// Typed, and not from the environment.
    pub(crate) named: bool,
}

enum Reach {
    /// Nothing is demanded.
    Anyone(Connector),
    /// The certificate leads to an authority; no quote is looked at.
    Authority(Connector),
    /// The enclave passes a policy.
    Policy(VerifiedConnector),
}

impl Session {
    pub(crate) fn resolve(global: &Global) -> Result<Self, Failure> {
        let server = with_port(&global.server);
        let mut connector = Connector::new(&server);
        if let Some(name) = &global.server_name {
            connector = connector.server_name(name);
        }
        let tier = global.tier.map(tier);
        let mut session = Session {
            reach: Reach::Anyone(danger::accept_any_certificate(connector.clone())),
            server,
            server_name: global.server_name.clone(),
            tier,
            policy: None,
            key: global.key.as_deref().map(key_file::read).transpose()?.map(Arc::new),
            json: global.json,
        };
        match global.trust(|name| std::env::var_os(name)) {
            Trust::Policy { file: path, named } => {
                let path = &path;
                let text = fs::read_to_string(path).map_err(|e| Failure::file(path, "read", &e))?;
                let demand = VerificationPolicy::from_toml(&text).map_err(|error| {
                    Failure::usage(format!("the policy {}: {error}", path.display())).hint(POLICY_HINT)
                })?;
                session.reach = Reach::Policy(session.verified(demand.clone()));
                session.policy = Some(Policy { file: path.clone(), demand, named });
            }
            Trust::Authority(path) => {
                let pem = fs::read(&path).map_err(|e| Failure::file(&path, "read", &e))?;
                session.reach = Reach::Authority(connector.trust_ca_pem(&pem)?);
            }
            Trust::Nobody => {}
        }
        Ok(session)
    }

    /// A connector to this session's server that demands `policy`.
    pub(crate) fn verified(&self, policy: VerificationPolicy) -> VerifiedConnector {
        let mut connector = VerifiedConnector::new(&self.server, policy);
        if let Some(name) = &self.server_name {
            connector = connector.server_name(name);
        }
        match self.tier {
            Some(tier) => connector.tier(tier),
            None => connector,
        }
    }

    /// A connector to this session's server that demands nothing.
    pub(crate) fn unverified(&self) -> Connector {
        let connector = danger::accept_any_certificate(Connector::new(&self.server));
        match &self.server_name {
            Some(name) => connector.server_name(name),
            None => connector,
        }
    }

    /// This session's policy, if it has one.
    pub(crate) fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// The verdict on what this session's server shows on a connection of its own.
    pub(crate) fn verdict(&self, policy: VerificationPolicy) -> Result<Verdict, Failure> {
        match self.verified(policy).http() {
            Ok(connection) => Ok(connection.verified().verdict().clone()),
            Err(ClientError::Verification(verdict)) => Ok(*verdict),
            Err(error) => Err(error.into()),
        }
    }

    /// The operator's key, if there is one.
    pub(crate) fn key(&self) -> Option<&OperatorKey> {
        self.key.as_deref()
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn framed(&self) -> Result<Framed, Failure> {
        let connection = match &self.reach {
            Reach::Anyone(connector) | Reach::Authority(connector) => connector.framed()?,
            Reach::Policy(connector) => connector.framed()?.into_inner(),
        };
        Ok(match &self.key {
            Some(key) => connection.operator(key.clone())?,
            None => connection,
        })
    }

    pub(crate) fn http(&self) -> Result<Http, Failure> {
        let connection = match &self.reach {
            Reach::Anyone(connector) | Reach::Authority(connector) => connector.http()?,
            Reach::Policy(connector) => connector.http()?.into_inner(),
        };
        Ok(match &self.key {
            Some(key) => connection.operator(key.clone())?,
            None => connection,
        })
    }

    /// Whether the enclave has to pass a policy.
    pub(crate) fn verifies(&self) -> bool {
        matches!(self.reach, Reach::Policy(_))
    }

    /// Said once by every command that talks to a server.
    pub(crate) fn warn(&self) {
        let server = &self.server;
        match self.reach {
            Reach::Policy(_) => {}
            Reach::Authority(_) => output::warning(&format!(
                "no quote verified: {server} has a certificate of the authority in --ca, and that is all; \
                 --policy FILE checks the enclave"
            )),
            Reach::Anyone(_) => output::warning(&format!(
                "not verified: whoever answers at {server} is believed; --policy FILE checks the enclave"
            )),
        }
    }
}

pub(crate) const POLICY_HINT: &str = "`enclave-os verify --write-policy FILE` writes one of what it sees; docs/formats/policy.md has every key";

fn tier(given: args::Tier) -> Tier {
    match given {
        args::Tier::Certificate => Tier::Certificate,
        args::Tier::Challenge => Tier::Challenge,
        args::Tier::Channel => Tier::Channel,
    }
}

/// A host without a port means the default one.
fn with_port(server: &str) -> String {
    let bare_v6 = server.matches(':').count() > 1 && !server.starts_with('[');
    if bare_v6 {
        format!("[{server}]:8443")
    } else if server.contains("]:") || (server.contains(':') && !server.ends_with(']')) {
        server.to_owned()
    } else {
        format!("{server}:8443")
    }
}

#[cfg(test)]
mod tests {
    use super::with_port;

    #[test]
    fn a_missing_port_is_the_default_one() {
        for (given, meant) in [
            ("localhost", "localhost:8443"),
            ("localhost:1", "localhost:1"),
            ("::1", "[::1]:8443"),
            ("[::1]", "[::1]:8443"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(given), meant);
        }
    }
}
