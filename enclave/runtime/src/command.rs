//! Programs: `wasi:cli/run` with arguments, input, output and an exit code.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use boundary_wire::client::CommandInput;
use enclave_wasi::cli::{Captured, Command, Output};
use wasmtime::component::Val;

use crate::app::{App, CallHost};
use crate::error::CallError;
use crate::exports::Export;

/// Arguments of one program, and their bytes together.
const MAX_ARGUMENTS: usize = 1024;
/// See [`MAX_ARGUMENTS`].
const MAX_ARGUMENT_BYTES: usize = 128 << 10;

/// How a program ended, with what it printed until then.
pub struct Ran {
    /// Its exit code, or why it has none.
    pub end: Result<u8, CallError>,
    /// What it printed.
    pub output: Output,
}

impl App {
    /// Runs an export `wasi:cli/run#run` as a program, in a fresh instance. What it wrote is durable
    /// when this returns an exit code. What it printed goes to the caller alone, not to the log.
    ///
    /// # Errors
    /// [`CallError`] when it was not started; how it ended is in [`Ran`].
    pub async fn run(&self, host: &CallHost, function: &str, input: CommandInput) -> Result<Ran, CallError> {
        let export = self.exports.find(function)?;
        if !is_program(export) {
            return Err(CallError::NotAProgram { function: export.name.clone() });
        }
        let bytes: usize = input.args.iter().map(String::len).sum();
        if input.args.len() > MAX_ARGUMENTS || bytes > MAX_ARGUMENT_BYTES {
            return Err(CallError::TooManyArguments);
        }
        let captured = Captured::new(Box::new(self.results.growing()));
        let args: Arc<[String]> = self.args.iter().cloned().chain(input.args).collect();
        let command = Command { stdin: input.stdin, output: captured.clone() };
        let code = |values: Vec<Val>| Ok(u8::from(matches!(values.as_slice(), [Val::Result(Err(_))])));
        let started = AtomicBool::new(false);
        let prepare = || {
            started.store(true, Ordering::Relaxed);
            Ok((Vec::new(), self.state_with(host, args, Some(command))))
        };
        let end = match self.enter(host, export, prepare, code).await {
            Err(error) if !started.load(Ordering::Relaxed) => return Err(error),
            Ok(code) => Ok(code),
            // A status has eight bits, as in `exit-with-code`.
            Err(CallError::Exit(code)) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            Err(error) => Err(error),
        };
        Ok(Ran { end, output: captured.take() })
    }
}

/// Whether the export is `wasi:cli/run@0.2.x#run`. What else takes no parameters (a clean-up, say) prints for the log, and
/// no caller takes that away.
fn is_program(export: &Export) -> bool {
    let rest = export.name.strip_prefix("wasi:cli/run@0.2.");
    rest.and_then(|rest| rest.strip_suffix("#run"))
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|digit| digit.is_ascii_digit()))
        && export.params.is_empty()
}
