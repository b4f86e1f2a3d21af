//! `wasi:cli@0.2`: environment and arguments of the call, standard streams to the log or to the caller, exit.

mod captured;
mod input;
mod lines;

use boundary_wire::rpc::LogLevel;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::WasiCtx;
use crate::bindings::wasi::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
pub use captured::{Captured, MAX_CAPTURED, Output, Room};
pub(crate) use input::Input;
pub(crate) use lines::{Lines, MAX_PREFIX};

/// A copy of the environment in units of work ([`Turn`](crate::turn::Turn)).
const ENVIRONMENT_UNITS: u32 = 8;
/// Bytes of arguments that are one unit of work to copy, and what an argument counts beside its bytes.
const COPIED_PER_UNIT: usize = 4096;
/// See [`COPIED_PER_UNIT`].
const ARGUMENT_COST: usize = 64;
/// What a guest may write at once.
const PERMIT: usize = 16 << 10;

/// Which standard stream a line was printed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardStream {
    /// `wasi:cli/stdout`.
    Out,
    /// `wasi:cli/stderr`.
    Err,
}

/// Where the lines go that a guest prints. Must not block.
pub trait LogSink: Send + Sync {
    /// One line, without its end, at most 4096 bytes before control characters were replaced.
    fn line(&self, stream: StandardStream, line: &str);

    /// One line of `wasi:logging`, bounded in the same way.
    fn entry(&self, level: LogLevel, line: &str);
}

/// The guest ended itself by `wasi:cli/exit`. Found by `downcast_ref` in the error of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest exited with code {0}")]
pub struct Exit(
    /// The exit code: 0 is success.
    pub i32,
);

/// There are no terminals, so none of these is ever made.
pub enum Terminal {}

/// What a call is given on standard input, and where what it prints is kept for its caller.
pub struct Command {
    /// All of standard input.
    pub stdin: Vec<u8>,
    /// Where standard output and standard error go, in place of the log.
    pub output: Captured,
}

impl WasiCtx {
    fn printer(&self, stream: StandardStream) -> DynOutputStream {
        match (&self.captured, stream) {
            (Some(captured), stream) => Box::new(captured.stream(stream)),
            (None, StandardStream::Out) => Box::new(self.stdout.clone()),
            (None, StandardStream::Err) => Box::new(self.stderr.clone()),
        }
    }
}

impl environment::Host for WasiCtx {
    async fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        self.turn.spend(ENVIRONMENT_UNITS).await;
        Ok(self.env.to_vec())
    }

    async fn get_arguments(&mut self) -> Result<Vec<String>> {
        let bytes: usize = self.args.iter().map(|argument| ARGUMENT_COST + argument.len()).sum();
        self.turn.spend(u32::try_from(bytes / COPIED_PER_UNIT).unwrap_or(u32::MAX)).await;
        Ok(self.args.to_vec())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(Some("/".to_owned()))
    }
}

impl exit::Host for WasiCtx {
    fn exit(&mut self, status: Result<(), ()>) -> Result<()> {
        Err(Exit(i32::from(status.is_err())).into())
    }

    fn exit_with_code(&mut self, status_code: u8) -> Result<()> {
        Err(Exit(i32::from(status_code)).into())
    }
}

impl stdin::Host for WasiCtx {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(self.stdin.clone());
        Ok(self.table.push(stream)?)
    }
}

impl stdout::Host for WasiCtx {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = self.printer(StandardStream::Out);
        Ok(self.table.push(stream)?)
    }
}

impl stderr::Host for WasiCtx {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        let stream: DynOutputStream = self.printer(StandardStream::Err);
        Ok(self.table.push(stream)?)
    }
}

impl terminal_input::Host for WasiCtx {}
impl terminal_input::HostTerminalInput for WasiCtx {
    fn drop(&mut self, terminal: Resource<Terminal>) -> Result<()> {
        match self.table.delete(terminal)? {}
    }
}

impl terminal_output::Host for WasiCtx {}
impl terminal_output::HostTerminalOutput for WasiCtx {
    fn drop(&mut self, terminal: Resource<Terminal>) -> Result<()> {
        match self.table.delete(terminal)? {}
    }
}

impl terminal_stdin::Host for WasiCtx {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for WasiCtx {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for WasiCtx {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<Terminal>>> {
        Ok(None)
    }
}
