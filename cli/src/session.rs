//! Arguments made into what commands use.

use std::fs;

use enclave_os_client::{Connector, Framed, Http, danger};

use crate::args::Global;
use crate::failure::Failure;
use crate::output;

/// Where the server is, what is trusted, and how results are printed.
pub(crate) struct Session {
    connector: Connector,
    server: String,
    pub(crate) json: bool,
}

impl Session {
    pub(crate) fn resolve(global: &Global) -> Result<Self, Failure> {
        let mut connector = Connector::new(with_port(&global.server));
        if let Some(name) = &global.server_name {
            connector = connector.server_name(name);
        }
        connector = match &global.ca {
            Some(path) => {
                let pem = fs::read(path).map_err(|e| Failure::file(path, "read", &e))?;
                connector.trust_ca_pem(&pem)?
            }
            None => danger::accept_any_certificate(connector),
        };
        Ok(Self { connector, server: global.server.clone(), json: global.json })
    }

    pub(crate) fn framed(&self) -> Result<Framed, Failure> {
        Ok(self.connector.framed()?)
    }

    pub(crate) fn http(&self) -> Result<Http, Failure> {
        Ok(self.connector.http()?)
    }

    /// Whether certificates are checked against an authority.
    pub(crate) fn verifies(&self) -> bool {
        self.connector.verifies()
    }

    /// Said once by every command that talks to a server.
    pub(crate) fn warn(&self) {
        if self.verifies() {
            return;
        }
        output::warning(&format!(
            "not verified: whoever answers at {} is believed; --ca FILE checks its certificate",
            self.server
        ));
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
