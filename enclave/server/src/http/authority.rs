//! Whom is a request for?

use enclave_ratls::Scope;
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::Authority;
use http::{Uri, Version};

use crate::refusal::Refusal;
use crate::session::Session;

/// Every request names one host, in `Host`, `:authority` or an absolute target; on an app's connection that app's
/// hostname (PROTOCOL, "HTTP").
pub(super) fn check<B>(session: &Session, request: &http::Request<B>) -> Result<(), Refusal> {
    let named = named(request.headers(), request.uri(), request.version())?;
    let Scope::App(app) = &session.scope else { return Ok(()) };
    let wanted = session.sni.as_deref().unwrap_or_default();
    // A name with its root's dot is the same name; the handshake has it without (RFC 6066 §3).
    let is_wanted = |host: &str| host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(wanted);
    if named.iter().all(|authority| is_wanted(authority.host())) {
        return Ok(());
    }
    Err(Refusal::new(
        "misdirected",
        format!("this connection is to {wanted:?}, app {app:?}; open another one for another host"),
    ))
}

/// What `Host` and the target name. None only before HTTP/1.1, where the handshake has to do.
fn named(headers: &HeaderMap, target: &Uri, version: Version) -> Result<Vec<Authority>, Refusal> {
    let bad = |message| Refusal::new("bad-host", message);
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(authority).transpose()?;
    if hosts.next().is_some() {
        return Err(bad("there is more than one Host header"));
    }
    let target = target.authority().map(|target| proper(target.clone())).transpose()?;
    let named: Vec<Authority> = host.into_iter().chain(target).collect();
    if named.is_empty() && version >= Version::HTTP_11 {
        return Err(bad(
            "a request names its host in `Host` or `:authority` (RFC 9112 §3.2, RFC 9113 §8.3.1)",
        ));
    }
    Ok(named)
}

fn authority(value: &HeaderValue) -> Result<Authority, Refusal> {
    let authority = Authority::try_from(value.as_bytes());
    proper(authority.map_err(|_| Refusal::new("bad-host", "Host is not a host and a port"))?)
}

/// A host and perhaps a port: `user@host` is no authority of HTTP (RFC 9110 §4.2.4).
fn proper(authority: Authority) -> Result<Authority, Refusal> {
    let text = authority.as_str();
    let port = text.strip_prefix(authority.host()).and_then(|rest| match rest.strip_prefix(':') {
        // "host:" has the port of its scheme (RFC 3986 §6.2.3).
        Some("") => Some(443),
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse::<u16>().ok(),
        Some(_) => None,
        None => rest.is_empty().then_some(443),
    });
    match port {
        Some(_) if !authority.host().is_empty() => Ok(authority),
        _ => {
            Err(Refusal::new("bad-host", "the host of a request is a name or an address, and perhaps a port"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hosts: &[&str], target: &str, version: Version) -> Result<Vec<String>, String> {
        let headers = hosts.iter().map(|host| (header::HOST, HeaderValue::from_str(host).unwrap()));
        let named = named(&headers.collect(), &target.parse().unwrap(), version);
        named
            .map(|named| named.iter().map(ToString::to_string).collect())
            .map_err(|refusal| refusal.code().to_owned())
    }

    #[test]
    fn a_host_and_perhaps_a_port() {
        for host in ["a", "a.example", "a.example:8443", "a.example:", "127.0.0.1:1", "[::1]", "[::1]:8443"] {
            assert_eq!(of(&[host], "/", Version::HTTP_11).unwrap(), [host]);
            let target = format!("https://{host}/x");
            assert_eq!(of(&[], &target, Version::HTTP_2).unwrap(), [host], "{target}");
        }
        assert_eq!(of(&["a"], "https://b/", Version::HTTP_2).unwrap(), ["a", "b"]);
        assert_eq!(of(&[], "/", Version::HTTP_10).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn nothing_else() {
        for host in
            ["", ":1", "a b", "a/b?c#d@e", "u@a", "u:p@a", "a:abc", "a:-1", "a:+1", "a:65536", "[::1", "::1"]
        {
            assert_eq!(of(&[host], "/", Version::HTTP_11), Err("bad-host".to_owned()), "{host:?}");
        }
        assert_eq!(of(&["a", "a"], "/", Version::HTTP_11), Err("bad-host".to_owned()));
        assert_eq!(of(&[], "https://u:p@a/", Version::HTTP_2), Err("bad-host".to_owned()));
        for version in [Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(of(&[], "/", version), Err("bad-host".to_owned()));
        }
    }
}
