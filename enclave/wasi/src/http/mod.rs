//! `wasi:http@0.2`: requests to an app, and an app's requests to others. One file per resource.
//!
//! Bodies are streams in both directions: what is under way is bounded, and whoever is slow makes the other wait.
//! hyper frames messages on both sides; nothing that a guest sets can change where a message ends.

mod connections;
mod exchange;
mod fields;
mod incoming_body;
mod incoming_request;
mod incoming_response;
mod method;
mod outgoing_body;
mod outgoing_handler;
mod outgoing_request;
mod outgoing_response;
mod pipe;
mod progress;
mod quota;
mod request_options;

use std::fmt::Write as _;
use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::{Linker, Resource};

use crate::bindings::wasi::http::{outgoing_handler as outgoing, types};
use crate::{Wasi, WasiCtx, WasiView};

pub use connections::Connections;
pub use exchange::{Answer, Client, Done, Exchange, Left};
pub use fields::Fields;
pub use incoming_body::{Arriving, FutureTrailers, IncomingBody};
pub use incoming_request::IncomingRequest;
pub use incoming_response::{FutureIncomingResponse, IncomingResponse};
pub use outgoing_body::OutgoingBody;
pub use outgoing_request::OutgoingRequest;
pub use outgoing_response::{OutgoingResponse, ResponseOutparam};
pub use pipe::Aborted;
pub use progress::Progress;
pub use request_options::RequestOptions;
pub use types::ErrorCode;

use quota::Quota;
use types::{Method, Scheme};

/// What the HTTP interfaces of one call know.
pub(crate) struct HttpCtx {
    connections: Arc<Connections>,
    most_response: u64,
    quota: Quota,
}

impl HttpCtx {
    pub(crate) fn new(connections: Arc<Connections>) -> Self {
        HttpCtx { connections, most_response: u64::MAX, quota: Quota::new() }
    }

    fn most_response(&self) -> u64 {
        self.most_response
    }
}

impl WasiCtx {
    /// The arguments of `incoming-handler.handle`. The request's URI is what the guest is to see: path and query,
    /// and the authority.
    ///
    /// # Errors
    /// When the table of handles is full.
    pub fn handle(
        &mut self,
        exchange: Exchange,
        request: http::Request<Arriving>,
    ) -> Result<(Resource<IncomingRequest>, Resource<ResponseOutparam>)> {
        self.http.most_response = exchange.most_response;
        let request = IncomingRequest::new(request, &exchange, &self.http.quota)?;
        let request = self.table.push(request)?;
        let outparam = self.table.push(ResponseOutparam(exchange))?;
        Ok((request, outparam))
    }
}

impl types::Host for WasiCtx {
    fn http_error_code(&mut self, error: Resource<types::IoError>) -> Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<ErrorCode>().cloned())
    }
}

/// The word for an error in logs and answers.
#[must_use]
pub fn word(error: &ErrorCode) -> String {
    // The name of the case comes first; what a guest may have written into it is not even formatted.
    let mut name = Name(String::new());
    let _stopped = write!(name, "{error:?}");
    let variant = name.0.rsplit("::").next().unwrap_or_default();
    let mut word = String::new();
    for c in variant.chars() {
        if c.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(c.to_ascii_lowercase());
    }
    word
}

/// Takes text up to the first bracket or space, and no more of what is formatted.
struct Name(String);

impl std::fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = text.find(['(', ' ']);
        self.0.push_str(text.get(..end.unwrap_or(text.len())).unwrap_or_default());
        if end.is_some() { Err(std::fmt::Error) } else { Ok(()) }
    }
}

pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    let mut options = types::LinkOptions::default();
    options.informational_outbound_responses(true);
    types::add_to_linker::<T, Wasi>(linker, &options, T::wasi)?;
    outgoing::add_to_linker::<T, Wasi>(linker, T::wasi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_the_case_and_nothing_that_a_guest_wrote() {
        assert_eq!(word(&ErrorCode::ConnectionTimeout), "connection-timeout");
        let long = ErrorCode::InternalError(Some("(\u{1} Loop::".repeat(100)));
        assert_eq!(word(&long), "internal-error");
    }
}
