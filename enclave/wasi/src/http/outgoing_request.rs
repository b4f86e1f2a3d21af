//! The resource `outgoing-request`.

use http::uri::{Authority, PathAndQuery};
use wasmtime::Result;
use wasmtime::component::Resource;

use super::pipe::{Bounds, Of, Reader};
use super::quota::Held;
use super::{Fields, Method, OutgoingBody, Scheme, method};
use crate::WasiCtx;
use crate::bindings::wasi::http::types::HostOutgoingRequest;

/// What a request costs beside its fields, path and body: method, scheme and authority are at most this long.
const COST: usize = 512;
/// A host of 253 characters, user information that is refused later, a port.
const MAX_AUTHORITY: usize = 300;

/// The type of `outgoing-request`.
pub struct OutgoingRequest {
    pub(super) method: Method,
    pub(super) path: Option<String>,
    pub(super) scheme: Option<Scheme>,
    pub(super) authority: Option<String>,
    pub(super) headers: Fields,
    pub(super) body: Option<Reader>,
    /// What it holds outside the guest's memory.
    held: Held,
}

impl HostOutgoingRequest for WasiCtx {
    fn new(&mut self, headers: Resource<Fields>) -> Result<Resource<OutgoingRequest>> {
        let headers = self.table.delete(headers)?.freeze();
        let request = OutgoingRequest {
            method: Method::Get,
            path: None,
            scheme: None,
            authority: None,
            headers,
            body: None,
            held: self.http.quota.take(COST)?,
        };
        Ok(self.table.push(request)?)
    }

    fn body(&mut self, request: Resource<OutgoingRequest>) -> Result<Result<Resource<OutgoingBody>, ()>> {
        let this = self.table.get_mut(&request)?;
        if this.body.is_some() {
            return Ok(Err(()));
        }
        let announced = this.headers.content_length();
        let bounds = Bounds { announced, most: u64::MAX, of: Of::Request };
        let (body, reader) = OutgoingBody::new(bounds, &self.http.quota)?;
        this.body = Some(reader);
        Ok(Ok(self.table.push(body)?))
    }

    async fn method(&mut self, request: Resource<OutgoingRequest>) -> Result<Method> {
        self.turn.spend(1).await;
        Ok(self.table.get(&request)?.method.clone())
    }

    async fn set_method(
        &mut self,
        request: Resource<OutgoingRequest>,
        method: Method,
    ) -> Result<Result<(), ()>> {
        self.turn.take_in(if let Method::Other(name) = &method { name.len() } else { 0 }).await;
        let this = self.table.get_mut(&request)?;
        if method::sent(&method).is_none() {
            return Ok(Err(()));
        }
        this.method = method;
        Ok(Ok(()))
    }

    async fn path_with_query(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        let this = self.table.get(&request)?;
        self.turn.take_in(this.path.as_ref().map_or(0, String::len)).await;
        Ok(this.path.clone())
    }

    async fn set_path_with_query(
        &mut self,
        request: Resource<OutgoingRequest>,
        path: Option<String>,
    ) -> Result<Result<(), ()>> {
        self.turn.take_in(path.as_ref().map_or(0, String::len)).await;
        let this = self.table.get_mut(&request)?;
        if path.as_ref().is_some_and(|path| path.parse::<PathAndQuery>().is_err()) {
            return Ok(Err(()));
        }
        // The parser takes 64 KiB at most.
        this.held.resize(COST + path.as_ref().map_or(0, String::len))?;
        this.path = path;
        Ok(Ok(()))
    }

    async fn scheme(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<Scheme>> {
        self.turn.spend(1).await;
        Ok(self.table.get(&request)?.scheme.clone())
    }

    async fn set_scheme(
        &mut self,
        request: Resource<OutgoingRequest>,
        scheme: Option<Scheme>,
    ) -> Result<Result<(), ()>> {
        self.turn.take_in(if let Some(Scheme::Other(name)) = &scheme { name.len() } else { 0 }).await;
        let this = self.table.get_mut(&request)?;
        if let Some(Scheme::Other(other)) = &scheme
            && other.parse::<http::uri::Scheme>().is_err()
        {
            return Ok(Err(()));
        }
        this.scheme = scheme;
        Ok(Ok(()))
    }

    async fn authority(&mut self, request: Resource<OutgoingRequest>) -> Result<Option<String>> {
        self.turn.spend(1).await;
        Ok(self.table.get(&request)?.authority.clone())
    }

    async fn set_authority(
        &mut self,
        request: Resource<OutgoingRequest>,
        authority: Option<String>,
    ) -> Result<Result<(), ()>> {
        self.turn.take_in(authority.as_ref().map_or(0, String::len)).await;
        let this = self.table.get_mut(&request)?;
        if authority.as_ref().is_some_and(|authority| !is_authority(authority)) {
            return Ok(Err(()));
        }
        this.authority = authority;
        Ok(Ok(()))
    }

    fn headers(&mut self, request: Resource<OutgoingRequest>) -> Result<Resource<Fields>> {
        let headers = self.table.get(&request)?.headers.copy()?;
        Ok(self.table.push(headers)?)
    }

    fn drop(&mut self, request: Resource<OutgoingRequest>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

/// Whether it is a host with a port, if any, that is a number up to 65535 (RFC 3986 §3.2).
fn is_authority(text: &str) -> bool {
    if text.len() > MAX_AUTHORITY {
        return false;
    }
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let after_host = authority.as_str().rsplit_once(authority.host()).map(|(_, rest)| rest);
    !authority.host().is_empty() && (after_host == Some("") || authority.port().is_some())
}

#[cfg(test)]
mod tests {
    use super::{MAX_AUTHORITY, is_authority};

    #[test]
    fn ports_are_numbers() {
        for good in ["example.org", "example.org:443", "192.0.2.1:1", "[2001:db8::1]", "[2001:db8::1]:8443"] {
            assert!(is_authority(good), "{good}");
        }
        for bad in ["", ":", "example.org:", "example.org:https", "example.org:65536", "a b", "example.org/x"]
        {
            assert!(!is_authority(bad), "{bad}");
        }
        assert!(!is_authority(&"a".repeat(MAX_AUTHORITY + 1)));
    }
}
