//! The resource `incoming-request`.

use http::uri::PathAndQuery;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::incoming_body::{Arriving, IncomingBody};
use super::quota::{Exhausted, Quota};
use super::{Exchange, Fields, Method, Scheme, method};
use crate::WasiCtx;
use crate::bindings::wasi::http::types::HostIncomingRequest;

/// The type of `incoming-request`.
pub struct IncomingRequest {
    method: Method,
    path: Option<String>,
    authority: Option<String>,
    headers: Fields,
    body: Option<IncomingBody>,
}

impl IncomingRequest {
    /// A request whose URI is what the guest is to see of it: path and query below its route, and the authority.
    pub(super) fn new(
        request: http::Request<Arriving>,
        exchange: &Exchange,
        quota: &Quota,
    ) -> Result<Self, Exhausted> {
        let (head, body) = request.into_parts();
        let body = IncomingBody::new(body, exchange.most_request, Some(exchange.progress.clone()));
        Ok(IncomingRequest {
            method: method::received(&head.method),
            path: head.uri.path_and_query().map(PathAndQuery::to_string),
            authority: head.uri.authority().map(ToString::to_string),
            headers: Fields::received(head.headers, quota)?,
            body: Some(body),
        })
    }
}

impl HostIncomingRequest for WasiCtx {
    fn method(&mut self, request: Resource<IncomingRequest>) -> Result<Method> {
        Ok(self.table.get(&request)?.method.clone())
    }

    fn path_with_query(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.path.clone())
    }

    /// There is no other way in than TLS.
    fn scheme(&mut self, request: Resource<IncomingRequest>) -> Result<Option<Scheme>> {
        self.table.get(&request)?;
        Ok(Some(Scheme::Https))
    }

    fn authority(&mut self, request: Resource<IncomingRequest>) -> Result<Option<String>> {
        Ok(self.table.get(&request)?.authority.clone())
    }

    fn headers(&mut self, request: Resource<IncomingRequest>) -> Result<Resource<Fields>> {
        let headers = self.table.get(&request)?.headers.copy()?;
        Ok(self.table.push(headers)?)
    }

    fn consume(&mut self, request: Resource<IncomingRequest>) -> Result<Result<Resource<IncomingBody>, ()>> {
        match self.table.get_mut(&request)?.body.take() {
            Some(body) => Ok(Ok(self.table.push(body)?)),
            None => Ok(Err(())),
        }
    }

    fn drop(&mut self, request: Resource<IncomingRequest>) -> Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}
