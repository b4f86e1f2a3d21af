//! What does a client say, and who answers?
//!
//! A [`Server`] serves the connections of one worker: TLS handshake, then framed JSON or HTTP by the first
//! byte. Whatever changes which apps there are goes to [`Control`] on the control thread.
//!
//! ```text
//! connection ─ handshake ─┬─ framed ─┬─ commands ─┬─ runtime: calls
//!                         └─ http ───┘            └─ control: load, unload, CA ─ sealed registry
//! ```
//!
//! Clients are hostile here: what they make the enclave hold is bounded before it is held, every wait ends,
//! and every refusal has a code and says how to mend it.

#![forbid(unsafe_code)]

mod attest;
mod bucket;
mod budget;
mod catalog;
mod commands;
mod connection;
mod control;
mod framed;
mod gate;
mod hex;
mod http;
mod limits;
mod places;
mod prefixed;
mod refusal;
mod session;
mod shared;
mod timeout;

use std::sync::Arc;

use enclave_access::Policy;
use enclave_platform::Kind;
use enclave_ratls::Identities;
use enclave_sealed_store::{Backend, Store};
use enclave_worker::Handle;

pub use crate::budget::{Budget, Overloaded, Share};
pub use crate::catalog::{Catalog, Entry, State};
pub use crate::control::{BootError, Booted, Control};
pub use crate::gate::Gate;
pub use crate::http::{ROUTES, RouteInfo};
pub use crate::refusal::Refusal;
pub use enclave_runtime::Sizes;

/// How much of the enclave's memory its users may fill together.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Apps and their calls.
    pub guests: Sizes,
    /// Bytes of requests and of answers not yet taken, of all connections. A JSON request counts 33 times its
    /// bytes while it is parsed, so this bounds the largest one.
    pub requests: usize,
}

/// The OpenAPI document of the HTTP interface.
pub const OPENAPI: &str = include_str!("openapi.json");

/// What `ready` says of the enclave.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) version: &'static str,
    pub(crate) platform: Kind,
    pub(crate) mrenclave: String,
    pub(crate) target: &'static str,
    pub(crate) engine: &'static str,
    pub(crate) engine_version: &'static str,
    pub(crate) development: bool,
    pub(crate) workers: u16,
}

/// What answers are made of, on one worker.
pub(crate) struct Services {
    pub(crate) policy: Arc<Policy>,
    /// What operators' tokens name as their audience.
    pub(crate) audience: Arc<str>,
    pub(crate) identities: Arc<Identities>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) info: Arc<Info>,
    pub(crate) budget: Budget,
    pub(crate) control: control::Mailbox,
    pub(crate) quotes: control::QuoteDesk,
    pub(crate) buckets: Arc<attest::Buckets>,
    pub(crate) refused: Arc<attest::Refused>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) store: Store,
    /// For calls that wait at a gate.
    pub(crate) waiting: budget::Permits,
}

/// Serves the connections of one worker.
pub struct Server {
    services: Arc<Services>,
    handle: Handle,
}

impl Server {
    /// A server on the worker of `handle`, whose records go through `backend`.
    pub fn new(booted: Booted, handle: Handle, backend: Arc<dyn Backend>) -> Server {
        let Booted {
            policy,
            audience,
            identities,
            catalog,
            info,
            budget,
            mailbox,
            quotes,
            buckets,
            refused,
            store,
        } = booted;
        let services = Services {
            policy,
            audience,
            identities,
            catalog,
            info,
            budget,
            control: mailbox,
            quotes,
            buckets,
            refused,
            backend,
            store,
            waiting: budget::Permits::new(limits::WAITING_CALLS),
        };
        Server { services: Arc::new(services), handle }
    }

    /// Accepts and serves until the worker drains; returns when the open connections have ended or their
    /// grace is over.
    pub async fn serve(self) {
        connection::accept_all(self.services, self.handle).await;
    }
}
