//! Programs: `wasi:cli/run` with arguments, input, output and an exit code.

use std::sync::Arc;

use boundary_wire::client::{CommandInput, WitType};
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
    /// Runs an export of the shape of `wasi:cli/run#run` as a program, in a fresh instance. What it wrote is durable
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
        let end = match self
            .enter(host, export, || Ok((Vec::new(), self.state_with(host, args, Some(command)))), code)
            .await
        {
            Ok(code) => Ok(code),
            // A status has eight bits, as in `exit-with-code`.
            Err(CallError::Exit(code)) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
            Err(error) => Err(error),
        };
        Ok(Ran { end, output: captured.take() })
    }
}

/// Whether the export takes nothing and gives nothing, or at most word of success.
fn is_program(export: &Export) -> bool {
    let gives_word = match export.results.as_slice() {
        [] => true,
        [WitType::Result { ok, err }] => ok.is_none() && err.is_none(),
        _ => false,
    };
    export.params.is_empty() && gives_word
}
