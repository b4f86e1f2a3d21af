//! How is a component loaded, called and limited?
//!
//! [`Runtime::prepare`] makes an [`App`] of an approved artifact: its metadata is checked, all imports
//! are resolved, its exports are read with their types. [`App::call`] runs one export in a fresh store
//! and instance, on a fiber stack of its own, under [`Limits`]; nothing of one call is visible to the
//! next but what it stored. [`App::serve`] does the same for an HTTP request. A long call yields to the other
//! tasks of its worker.
//!
//! Clients, guests and the host are hostile here: parameters are bounded and checked against the
//! signature, results are bounded by the engine, and every way a call can end is one [`CallError`] with
//! a stable code.

#![forbid(unsafe_code)]

mod app;
mod command;
mod error;
mod exports;
mod http;
mod imports;
mod invoke;
mod limits;
mod place;
mod queue;
mod results;
mod runtime;
mod spec;
mod value;

pub use app::{App, CallHost};
pub use boundary_wire::client::{Access, DataPolicy, LogPolicy, Params};
pub use command::Ran;
pub use enclave_wasi::cli::Output;
pub use error::{CallError, LoadError, StartError};
pub use exports::Export;
pub use http::{Delivered, HttpFailure, Request, Serving};
pub use limits::{HttpLimits, Limits};
pub use runtime::Runtime;
pub use spec::{AppSpec, KeySource};
pub use value::{BadParams, MAX_VALUES};

pub use enclave_wasm_platform::{Sizes, Usage};

/// The triple of the artifacts that this enclave takes.
pub const ARTIFACT_TARGET: &str = compiler_config::NATIVE_TARGET;
/// The engine and its major version, as `ready` reports them.
pub const ENGINE: &str = "wasmtime 48";
/// The engine's major version alone.
pub const ENGINE_VERSION: &str = compiler_config::ENGINE_VERSION;
