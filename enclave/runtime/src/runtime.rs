//! The engine with everything guests can import, and the way from an artifact to an app.

use std::sync::Arc;

use enclave_access::ApprovedArtifact;
use enclave_platform::Platform;
use enclave_wasi::http::Connections;
use enclave_wasi::keyvalue::MAX_KEYS;
use enclave_wasi::{EgressPolicy, EgressTls, Filesystem, KeyValue, KeyValueRoom};
use enclave_wasm_platform::{Machine, Sizes, Usage};
use enclave_worker::Account;
use wasmtime::component::Linker;

use crate::app::{App, CallState};
use crate::error::{LoadError, StartError};
use crate::exports::Exports;
use crate::http;
use crate::imports;
use crate::limits::Limits;
use crate::queue::Queue;
use crate::results::ResultRoom;
use crate::spec::AppSpec;

/// One per enclave, shared by all workers.
pub struct Runtime {
    machine: Machine,
    linker: Linker<CallState>,
    egress: EgressTls,
    results: ResultRoom,
    held: KeyValueRoom,
}

impl Runtime {
    /// Starts the engine and links the host's interfaces.
    ///
    /// # Errors
    /// [`StartError`] when the platform has no memory for code or no randomness.
    pub fn new(platform: &dyn Platform, egress: EgressTls, sizes: Sizes) -> Result<Self, StartError> {
        let mut canary = [0; 8];
        platform.random(&mut canary)?;
        let machine = Machine::new(sizes, u64::from_ne_bytes(canary))?;
        let mut linker = Linker::new(machine.engine());
        enclave_wasi::add_to_linker(&mut linker).map_err(|error| StartError::Linker(error.to_string()))?;
        Ok(Self { machine, linker, egress, results: ResultRoom::default(), held: KeyValueRoom::default() })
    }

    /// Makes an app of an artifact: checks what it says about itself, takes its code in, resolves its imports,
    /// reads its exports. An error leaves nothing behind. The code's memory is free again when the app and
    /// its last call are gone.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn prepare(&self, artifact: ApprovedArtifact, spec: AppSpec) -> Result<Arc<App>, LoadError> {
        usable(&spec.limits)?;
        let egress = EgressPolicy::new(self.egress.clone(), spec.egress.as_deref())?;
        let code_hash = artifact.code_hash();
        let artifact_bytes = artifact.bytes().len() as u64;
        let component = self.machine.load(&artifact)?;
        drop(artifact);
        let pre = imports::resolve(&self.linker, &component).map_err(LoadError::Imports)?;
        Ok(Arc::new(App {
            exports: Exports::of(&component, self.machine.engine()),
            handler: http::handler(&component, self.machine.engine()),
            pre,
            code_hash,
            artifact_bytes,
            filesystem: Filesystem::new(spec.namespace.clone()),
            keyvalue: KeyValue::new(spec.namespace.clone(), spec.limits.store_keys, self.held.clone()),
            egress: Arc::new(egress),
            env: environment(&spec),
            config: spec.env.iter().cloned().collect(),
            args: Arc::from([spec.name.clone()]),
            connections: Arc::new(Connections::default()),
            queue: Queue::new(spec.limits.concurrency, spec.limits.queue),
            account: Account::new(),
            memory: self.machine.memory(),
            results: self.results.clone(),
            spec,
        }))
    }

    /// How pages of native code are protected, as the `core.platform` leaf says it.
    pub fn code_pages(&self) -> &'static str {
        self.machine.code_pages()
    }

    /// What guests use at this moment, and what there is.
    pub fn usage(&self) -> Usage {
        self.machine.usage()
    }
}

/// Limits under which no call could run, or that nothing can keep, are refused at load, not found out by its callers.
fn usable(limits: &Limits) -> Result<(), LoadError> {
    let zero = [
        (limits.fuel, "max_fuel must be at least 1"),
        (limits.memory_bytes, "max_memory_bytes must be at least 1"),
        (limits.store_bytes, "max_store_bytes must be at least 1"),
        (limits.timeout_ms, "timeout_ms must be at least 1"),
        (u64::from(limits.instances), "instances must be at least 1"),
        (u64::from(limits.concurrency), "concurrency must be at least 1"),
        (limits.http.fuel, "http_max_fuel must be at least 1"),
        (limits.http.idle_timeout_ms, "http_idle_timeout_ms must be at least 1"),
        (limits.http.timeout_ms, "http_timeout_ms must be at least 1"),
    ];
    if limits.store_keys > MAX_KEYS {
        return Err(LoadError::Limits("max_store_keys must be at most 250000"));
    }
    match zero.iter().find(|(value, _)| *value == 0) {
        Some((_, rule)) => Err(LoadError::Limits(rule)),
        None => Ok(()),
    }
}

/// What `wasi:cli/environment` gives: the enclave's own variables, then the loader's, then the secrets.
fn environment(spec: &AppSpec) -> Arc<[(String, String)]> {
    let version = spec.version.clone().unwrap_or_default();
    let own =
        [("ENCLAVE_OS_APP".to_owned(), spec.name.clone()), ("ENCLAVE_OS_APP_VERSION".to_owned(), version)];
    let secrets = spec.secrets.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
    own.into_iter().chain(spec.env.iter().cloned()).chain(secrets).collect()
}
