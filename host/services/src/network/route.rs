//! Where a name leads, when not where DNS says: `--resolve`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use boundary_wire::frame::is_host;

/// `HOST:PORT:ADDRESS:PORT`: a dial of the first two goes to the last two. Untrusted, like all routing: TLS
/// says who answers there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The name that the enclave dials.
    pub host: String,
    /// The port that it dials.
    pub port: u16,
    /// Where that leads.
    pub to: SocketAddr,
}

/// A text that is no [`Route`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no route: give HOST:PORT:ADDRESS:PORT, like www.example.org:443:127.0.0.1:8080")]
pub struct RouteError(String);

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        parse(text).ok_or_else(|| RouteError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Route> {
    let (host, rest) = text.split_once(':')?;
    let (port, rest) = rest.split_once(':')?;
    let (address, to_port) = rest.rsplit_once(':')?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    let address: IpAddr = address.parse().ok()?;
    let (port, to_port): (u16, u16) = (port.parse().ok()?, to_port.parse().ok()?);
    let right = is_host(host) && port != 0 && to_port != 0;
    right.then(|| Route { host: host.to_ascii_lowercase(), port, to: SocketAddr::new(address, to_port) })
}

impl Route {
    pub(super) fn matches(&self, host: &str, port: u16) -> bool {
        self.port == port && self.host.eq_ignore_ascii_case(host.strip_suffix('.').unwrap_or(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_both_families() {
        let route: Route = "www.Example.org:443:127.0.0.1:8080".parse().unwrap();
        assert_eq!(route.to, "127.0.0.1:8080".parse().unwrap());
        assert!(route.matches("WWW.example.org", 443) && route.matches("www.example.org.", 443));
        assert!(!route.matches("www.example.org", 80) && !route.matches("example.org", 443));
        let route: Route = "a:443:[::1]:8080".parse().unwrap();
        assert_eq!(route.to, "[::1]:8080".parse().unwrap());
    }

    #[test]
    fn everything_else_is_refused_with_an_example() {
        for text in [
            "",
            "a",
            "a:443",
            "a:443:127.0.0.1",
            "a:x:127.0.0.1:1",
            "a:443:b:1",
            "a:0:127.0.0.1:1",
            "é:1:::1:1",
        ] {
            let error = text.parse::<Route>().unwrap_err();
            assert!(error.to_string().contains("HOST:PORT:ADDRESS:PORT"), "{error}");
        }
    }
}
