//! What does a guest see of the world?
//!
//! The host side of WASI 0.2 and of `privasys:enclave-os/https`, one file per package. Nothing here touches
//! a file, a socket or a clock of an operating system: data goes through the sealed store, bytes and time
//! through the worker, randomness through the CPU. Everything a guest sends is bounded before it is kept.
//!
//! A runtime makes one [`Filesystem`], one [`KeyValue`] and one [`EgressPolicy`] per application, one [`WasiCtx`] per call,
//! and calls [`WasiCtx::flush`] when the call has succeeded.

#![forbid(unsafe_code)]

mod bindings;
pub mod cli;
mod clocks;
mod config;
mod drafts;
mod egress;
pub mod filesystem;
pub mod http;
mod https;
mod io;
pub mod keyvalue;
mod logging;
mod offered;
mod random;
mod room;
pub mod sockets;
mod turn;

use std::sync::Arc;

use enclave_sealed_store::Backend;
use enclave_worker::Handle;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};

pub use cli::{Captured, Exit, LogSink, StandardStream};
pub use egress::{EgressError, EgressPolicy, EgressTls};
pub use filesystem::{Filesystem, StorageFailure};
pub use keyvalue::{KeyValue, KeyValueRoom};
pub use offered::{INTERFACES, Offered, packages};

/// Live handles (descriptors, streams, pollables and what they refer to) in one call.
const MAX_RESOURCES: usize = 4 << 10;

/// What one call is given.
pub struct WasiParams {
    /// The worker that runs the call.
    pub host: Handle,
    /// Where records are kept.
    pub backend: Arc<dyn Backend>,
    /// The application's files, shared by all its calls.
    pub filesystem: Filesystem,
    /// Its keys and values, shared likewise.
    pub keyvalue: KeyValue,
    /// `wasi:cli/environment`.
    pub env: Arc<[(String, String)]>,
    /// `wasi:config`.
    pub config: Arc<[(String, String)]>,
    /// `wasi:cli/environment`, first the name of the program.
    pub args: Arc<[String]>,
    /// Where the application may call out to.
    pub egress: Arc<EgressPolicy>,
    /// Its connections to others, kept from one call to the next.
    pub connections: Arc<http::Connections>,
    /// Where its printed lines go.
    pub log: Arc<dyn LogSink>,
    /// Of a command: its standard streams. Otherwise input is at its end, and output goes to `log`.
    pub command: Option<cli::Command>,
}

/// What the guest of one call sees, and the table of its handles.
pub struct WasiCtx {
    table: ResourceTable,
    host: Handle,
    files: filesystem::CallFiles,
    buckets: keyvalue::CallBuckets,
    env: Arc<[(String, String)]>,
    config: Arc<[(String, String)]>,
    args: Arc<[String]>,
    egress: Arc<EgressPolicy>,
    http: http::HttpCtx,
    stdin: cli::Input,
    stdout: cli::Lines,
    /// What the enclave says of the call's requests to others: the guest's own lines do not use it up.
    requests: cli::Lines,
    stderr: cli::Lines,
    entries: cli::Lines,
    captured: Option<cli::Captured>,
    seed: Option<(u64, u64)>,
    turn: turn::Turn,
}

impl WasiCtx {
    /// The world of one call.
    pub fn new(params: WasiParams) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let buckets = params.keyvalue.for_call(&params.host, params.backend.clone());
        let (stdin, captured) = match params.command {
            Some(cli::Command { stdin, output }) => (cli::Input::new(stdin), Some(output)),
            None => (cli::Input::default(), None),
        };
        let files = params.filesystem.for_call(&params.host, params.backend);
        WasiCtx {
            table,
            turn: files.turn().clone(),
            files,
            buckets,
            host: params.host,
            env: params.env,
            config: params.config,
            args: params.args,
            egress: params.egress,
            http: http::HttpCtx::new(params.connections),
            stdin,
            captured,
            seed: None,
            stdout: cli::Lines::new(StandardStream::Out, params.log.clone()),
            requests: cli::Lines::new(StandardStream::Out, params.log.clone()),
            stderr: cli::Lines::new(StandardStream::Err, params.log.clone()),
            entries: cli::Lines::new(StandardStream::Err, params.log),
        }
    }

    /// The table of the guest's handles.
    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Prints unfinished lines and makes durable what the call wrote and did not sync. To be called when a
    /// call has succeeded (`exit` with code 0 included) and before its result is given out.
    ///
    /// # Errors
    /// [`StorageFailure`] when the data did not reach the store: the call must be answered as failed.
    pub async fn flush(&mut self) -> Result<(), StorageFailure> {
        self.stdout.finish();
        self.requests.finish();
        self.stderr.finish();
        self.entries.finish();
        self.files.flush().await
    }
}

impl Drop for WasiCtx {
    fn drop(&mut self) {
        self.stdout.finish();
        self.requests.finish();
        self.stderr.finish();
        self.entries.finish();
    }
}

/// Access to the [`WasiCtx`] inside a store's data.
pub trait WasiView: Send {
    /// What the guest sees.
    fn wasi(&mut self) -> &mut WasiCtx;

    /// The table of the guest's handles.
    fn table(&mut self) -> &mut ResourceTable {
        self.wasi().table()
    }
}

/// Links every interface that the enclave offers. Imports of any `0.2.x` find them.
///
/// # Errors
/// When the linker already holds one of them.
pub fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    use bindings::privasys::enclave_os::https;
    use bindings::wasi::{cli, clocks, filesystem, random, sockets};

    let mut timezone = clocks::timezone::LinkOptions::default();
    timezone.clocks_timezone(true);
    let mut network = sockets::network::LinkOptions::default();
    network.network_error_code(true);

    io::add_to_linker(linker)?;
    random::random::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    random::insecure::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    random::insecure_seed::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    clocks::monotonic_clock::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    clocks::wall_clock::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    clocks::timezone::add_to_linker::<T, Wasi>(linker, &timezone, T::wasi)?;
    cli::environment::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::exit::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::stdin::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::stdout::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::stderr::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::terminal_input::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::terminal_output::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::terminal_stdin::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::terminal_stdout::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    cli::terminal_stderr::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    filesystem::types::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    filesystem::preopens::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    sockets::network::add_to_linker::<T, Wasi>(linker, &network, T::wasi)?;
    sockets::instance_network::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    sockets::ip_name_lookup::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    sockets::tcp::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    sockets::tcp_create_socket::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    sockets::udp::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    sockets::udp_create_socket::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    http::add_to_linker(linker)?;
    logging::add_to_linker(linker)?;
    proposals(linker)?;
    https::add_to_linker::<T, Wasi>(linker, T::wasi)
}

/// What has no version of WASI 0.2 yet: its drafts, each for itself.
fn proposals<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    use drafts::{config_runtime, config_store, first, second};

    first::store::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    first::atomics::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    first::batch::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    second::store::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    second::atomics::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    second::batch::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    config_store::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    config_runtime::add_to_linker::<T, Wasi>(linker, T::wasi)
}

struct Wasi;

impl HasData for Wasi {
    type Data<'a> = &'a mut WasiCtx;
}
