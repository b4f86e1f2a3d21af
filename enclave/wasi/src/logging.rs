//! `wasi:logging`: messages with a level and a context, to where the application's printed lines go and under the same
//! bounds.

use boundary_wire::rpc::LogLevel;
use wasmtime::Result;
use wasmtime::component::Linker;

use crate::drafts::logging::{self, Level};
use crate::{Wasi, WasiCtx, WasiView};

/// The same interface as it was before it had a version, which some toolchains still import.
const UNVERSIONED: &str = "wasi:logging/logging";

pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    logging::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    linker.instance(UNVERSIONED)?.func_wrap_async(
        "log",
        |mut store, (level, context, message): (Level, String, String)| {
            Box::new(async move {
                store.data_mut().wasi().entry(level, &context, &message).await;
                Ok(())
            })
        },
    )
}

impl logging::Host for WasiCtx {
    async fn log(&mut self, level: Level, context: String, message: String) -> Result<()> {
        self.entry(level, &context, &message).await;
        Ok(())
    }
}

impl WasiCtx {
    /// One line for each of the message's. The log has four levels: what is finer or graver says so itself.
    async fn entry(&mut self, level: Level, context: &str, message: &str) {
        let (level, word) = match level {
            Level::Trace => (LogLevel::Debug, "trace: "),
            Level::Debug => (LogLevel::Debug, ""),
            Level::Info => (LogLevel::Info, ""),
            Level::Warn => (LogLevel::Warn, ""),
            Level::Error => (LogLevel::Error, ""),
            Level::Critical => (LogLevel::Error, "critical: "),
        };
        self.turn.spend(1).await;
        let context = if context.is_empty() { String::new() } else { format!("[{context}] ") };
        self.entries.entry(level, &format!("{word}{context}"), message);
    }
}
