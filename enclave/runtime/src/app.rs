//! A loaded app and the calls into it.

use std::sync::Arc;
use std::time::Duration;

use boundary_wire::client::{LogPolicy, Params, Storage};
use boundary_wire::rpc::LogLevel;
use enclave_sealed_store::{Backend, MAX_RECORDS, Usage};
use enclave_wasi::cli::Command;
use enclave_wasi::filesystem::StorageFailure;
use enclave_wasi::http::Connections;
use enclave_wasi::{
    EgressPolicy, Exit, Filesystem, KeyValue, LogSink, StandardStream, WasiCtx, WasiParams, WasiView,
};
use enclave_wasm_platform::GuestMemory;
use enclave_worker::{Account, Handle};
use futures_lite::future;
use serde_json::Value;
use wasmtime::component::{ComponentExportIndex, InstancePre, Val};

use crate::error::CallError;
use crate::exports::{Export, Exports};
use crate::invoke::{Ended, Invocation, Limited, classify, invoke};
use crate::limits::{Limiter, Limits};
use crate::place::Place;
use crate::queue::Queue;
use crate::results::ResultRoom;
use crate::spec::AppSpec;
use crate::value;

/// What a call runs on.
#[derive(Clone)]
pub struct CallHost {
    /// The worker.
    pub handle: Handle,
    /// Where records are kept.
    pub backend: Arc<dyn Backend>,
}

/// A component that is ready to be called, with its settings.
pub struct App {
    pub(crate) spec: AppSpec,
    pub(crate) code_hash: [u8; 32],
    pub(crate) artifact_bytes: u64,
    pub(crate) exports: Exports,
    /// `wasi:http/incoming-handler#handle`, if it has one.
    pub(crate) handler: Option<ComponentExportIndex>,
    pub(crate) pre: InstancePre<CallState>,
    pub(crate) filesystem: Filesystem,
    pub(crate) keyvalue: KeyValue,
    pub(crate) egress: Arc<EgressPolicy>,
    pub(crate) env: Arc<[(String, String)]>,
    pub(crate) config: Arc<[(String, String)]>,
    pub(crate) args: Arc<[String]>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) queue: Queue,
    pub(crate) account: Account,
    pub(crate) memory: GuestMemory,
    pub(crate) results: ResultRoom,
}

/// What a store holds for one call.
pub(crate) struct CallState {
    pub(crate) wasi: WasiCtx,
    pub(crate) limiter: Limiter,
}

impl WasiView for CallState {
    fn wasi(&mut self) -> &mut WasiCtx {
        &mut self.wasi
    }
}

impl Limited for CallState {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

impl App {
    /// Its settings.
    pub fn spec(&self) -> &AppSpec {
        &self.spec
    }

    /// SHA-256 of the artifact as it was sent.
    pub fn code_hash(&self) -> [u8; 32] {
        self.code_hash
    }

    /// Length of the artifact.
    pub fn artifact_bytes(&self) -> u64 {
        self.artifact_bytes
    }

    /// Its functions, in the component's order.
    pub fn exports(&self) -> &[Export] {
        self.exports.all()
    }

    /// `{"exports":[{"name","params","results"}]}` with WIT types
    /// ([`boundary_wire::client::AppSchema`] reads it).
    pub fn schema(&self) -> Value {
        self.exports.schema()
    }

    /// What it keeps in the store, and may keep.
    pub fn storage(&self) -> Storage {
        let Usage { records, bytes } = self.spec.namespace.usage();
        let Limits { store_bytes: max_bytes, store_keys: max_keys, .. } = self.spec.limits;
        let keys = self.keyvalue.keys();
        Storage { bytes, max_bytes, records, max_records: MAX_RECORDS, keys, max_keys }
    }

    /// Calls running at this moment.
    pub fn running(&self) -> u32 {
        self.queue.running()
    }

    /// Calls an export in a fresh instance, when it is its turn among the app's calls; results are `{"type":T,"value":V}`, none or one. What the call
    /// wrote is durable when this returns `Ok`.
    ///
    /// # Errors
    /// [`CallError`], one for each way a call can end without a result.
    pub async fn call(
        &self,
        host: &CallHost,
        function: &str,
        params: &Params,
    ) -> Result<Vec<Value>, CallError> {
        let export = self.exports.find(function)?;
        let prepare = || {
            let arguments = value::arguments(params, &export.params)
                .map_err(|source| CallError::BadParams { function: export.name.clone(), source })?;
            Ok((arguments, self.state(host)))
        };
        // At once, before anything is waited for: as the engine gives them they take more memory.
        let take = |values| self.results.take(values, &export.results);
        let held = self.enter(host, export, prepare, take).await?;
        Ok(held.results)
    }

    /// Runs an export in a fresh instance, when it is its turn. What it wrote is durable when this returns its
    /// results, or [`CallError::Exit`].
    pub(crate) async fn enter<R>(
        &self,
        host: &CallHost,
        export: &Export,
        prepare: impl FnOnce() -> Result<(Vec<Val>, CallState), CallError>,
        take: impl FnOnce(Vec<Val>) -> Result<R, CallError>,
    ) -> Result<R, CallError> {
        let limits = &self.spec.limits;
        let until = host.handle.monotonic().after(Duration::from_millis(limits.timeout_ms));
        let waiting = self.queue.join()?;
        let slot = future::or(async { Ok(waiting.slot().await) }, async {
            host.handle.deadline(until).await;
            Err(CallError::Overloaded(waited_in_vain(limits.timeout_ms)))
        })
        .await?;
        // After the wait: they take more memory than what the caller sent.
        let (arguments, state) = prepare()?;
        let place = Place::new(&host.handle, &self.account, slot.clone());
        let late = CallError::Deadline { limit_ms: limits.timeout_ms };
        let invocation = Invocation {
            pre: &self.pre,
            export: &export.index,
            arguments: arguments.as_slice(),
            results: &export.results,
            limits,
            memory: &self.memory,
            place,
        };
        let (results, mut state) = match invoke(invocation, state, host.handle.deadline(until)).await {
            Ended::Deadline => return Err(late),
            Ended::Returned(values, state) => (Ok(take(values)?), state),
            Ended::Failed(error, state) => match error.downcast_ref::<Exit>() {
                Some(Exit(code)) => (Err(CallError::Exit(*code)), state),
                None => {
                    return Err(storage(&error).unwrap_or_else(|| classify(&error, &state.limiter, limits)));
                }
            },
        };
        let flush = async { state.wasi.flush().await.map_err(|error| stored(error.code(), &error)) };
        future::or(flush, async {
            host.handle.deadline(until).await;
            Err(late)
        })
        .await?;
        drop(slot);
        results
    }

    /// Makes durable what calls have left behind: for when no call runs any more, before the app's records are
    /// given to its successor.
    ///
    /// # Errors
    /// [`CallError::Storage`] or [`CallError::HostMisbehaved`] when it did not reach the store.
    pub async fn settle(&self, host: &CallHost) -> Result<(), CallError> {
        self.keyvalue.settle().await;
        let settled = self.filesystem.settle(&host.handle, Arc::clone(&host.backend)).await;
        settled.map_err(|failure| stored(failure.code(), &failure))
    }

    /// Keeps what calls have left behind from the store until the next call starts: for when no call runs any
    /// more, before the app's records are erased.
    pub async fn abandon(&self) {
        self.keyvalue.abandon().await;
        self.filesystem.abandon().await;
    }

    /// Finds out what [`App::storage`] says of it that is not known yet.
    ///
    /// # Errors
    /// [`CallError::Storage`] or [`CallError::HostMisbehaved`] when the store does not say.
    pub async fn recall(&self, host: &CallHost) -> Result<(), CallError> {
        let recalled = self.keyvalue.recall(&host.handle, Arc::clone(&host.backend)).await;
        recalled.map_err(|failure| stored(failure.code(), &failure))
    }

    pub(crate) fn state(&self, host: &CallHost) -> CallState {
        self.state_with(host, Arc::clone(&self.args), None)
    }

    /// With arguments and, for a program, standard streams of its own.
    pub(crate) fn state_with(
        &self,
        host: &CallHost,
        args: Arc<[String]>,
        command: Option<Command>,
    ) -> CallState {
        CallState {
            wasi: WasiCtx::new(WasiParams {
                host: host.handle.clone(),
                backend: Arc::clone(&host.backend),
                filesystem: self.filesystem.clone(),
                keyvalue: self.keyvalue.clone(),
                env: Arc::clone(&self.env),
                config: Arc::clone(&self.config),
                args,
                egress: Arc::clone(&self.egress),
                connections: Arc::clone(&self.connections),
                log: self.log(host),
                command,
            }),
            limiter: Limiter::new(&self.spec.limits),
        }
    }

    /// Where its lines go.
    pub(crate) fn log(&self, host: &CallHost) -> Arc<dyn LogSink> {
        match self.spec.log_policy {
            LogPolicy::Host => Arc::new(ToHost { handle: host.handle.clone(), app: self.spec.name.clone() }),
            LogPolicy::None => Arc::new(Nowhere),
        }
    }
}

/// What a call is told that had no place in its time.
pub(crate) fn waited_in_vain(ms: u64) -> String {
    format!("the calls of this app that run have left no place for {ms} ms: try again later")
}

/// A failure of the store that ended the guest's call.
pub(crate) fn storage(error: &wasmtime::Error) -> Option<CallError> {
    error.downcast_ref::<StorageFailure>().map(|failure| stored(failure.code(), failure))
}

pub(crate) fn stored(code: &'static str, error: &dyn std::fmt::Display) -> CallError {
    if code == "host-misbehaved" {
        CallError::HostMisbehaved(error.to_string())
    } else {
        CallError::Storage { code, message: error.to_string() }
    }
}

/// What the guest prints goes to the host's log, under the app's name.
struct ToHost {
    handle: Handle,
    app: String,
}

impl LogSink for ToHost {
    fn line(&self, stream: StandardStream, line: &str) {
        let level = match stream {
            StandardStream::Out => LogLevel::Info,
            StandardStream::Err => LogLevel::Warn,
        };
        self.handle.log(level, &self.app, line);
    }

    fn entry(&self, level: LogLevel, line: &str) {
        self.handle.log(level, &self.app, line);
    }
}

struct Nowhere;

impl LogSink for Nowhere {
    fn line(&self, _stream: StandardStream, _line: &str) {}

    fn entry(&self, _level: LogLevel, _line: &str) {}
}
