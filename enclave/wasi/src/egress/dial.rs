//! From a URL's authority to a TLS connection, for every interface by which an application calls out.

use std::io;
use std::time::Duration;

use enclave_worker::{Connection, DialError, Handle};
use futures_lite::future;
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use http::uri::Authority;
use rustls_pki_types::ServerName;

use super::EgressPolicy;
use crate::cli::Lines;

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As the `Host` header says it.
    pub(crate) authority: String,
    server_name: ServerName<'static>,
}

/// Why an authority is no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoDestination {
    #[error("a user name or password in the URL is refused, use a header")]
    User,
    #[error("the port is not a number up to 65535")]
    Port,
    #[error("{0:?} is neither a DNS name nor an address")]
    Host(String),
    #[error("there is no port 0")]
    PortZero,
}

impl Destination {
    /// What the authority of an `https` URL names.
    pub(crate) fn parse(authority: &Authority) -> Result<Destination, NoDestination> {
        if authority.as_str().contains('@') {
            return Err(NoDestination::User);
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') => 443,
            None if authority.as_str() == authority.host() => 443,
            None => return Err(NoDestination::Port),
        };
        let shown = authority.host();
        let host = shown.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(shown);
        let server_name = ServerName::try_from(host.to_owned())
            .map_err(|_| NoDestination::Host(host.chars().take(80).collect()))?;
        if port == 0 {
            return Err(NoDestination::PortZero);
        }
        Ok(Destination {
            host: host.to_owned(),
            port,
            authority: if port == 443 { shown.to_owned() } else { format!("{shown}:{port}") },
            server_name,
        })
    }

    pub(crate) fn is_allowed_by(&self, egress: &EgressPolicy) -> bool {
        egress.allows(&self.host, self.port)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The handshake failed, or the certificate is not one of that server.
    #[error(transparent)]
    Tls(io::Error),
    #[error("connecting took longer than {} ms", .0.as_millis())]
    Late(Duration),
}

/// A connection whose TLS ends in the enclave, within `limit`. Whether the application may have it was asked before.
pub(crate) async fn connect(
    host: &Handle,
    egress: &EgressPolicy,
    to: &Destination,
    limit: Duration,
) -> Result<TlsStream<Connection>, ConnectError> {
    let connecting = async {
        let connection = host.dial(&to.host, to.port).await?;
        let connector = TlsConnector::from(egress.tls().config().clone());
        connector.connect(to.server_name.clone(), connection).await.map_err(ConnectError::Tls)
    };
    let late = async {
        host.sleep(limit).await;
        Err(ConnectError::Late(limit))
    };
    future::or(connecting, late).await
}

/// One line per request: where it went, how it ended, how much went and came. Neither paths nor headers nor bodies.
/// Method and status come from inside TLS, so the line goes where the application's own lines may go.
pub(crate) fn log(lines: &Lines, method: &str, to: &Destination, outcome: &str, bytes: [u64; 2]) {
    let [sent, received] = bytes;
    let Destination { host, port, .. } = to;
    let line = format!(
        "https egress: {method} {host}:{port} -> {outcome}, {sent} bytes sent, {received} bytes received"
    );
    lines.say(&line);
}
