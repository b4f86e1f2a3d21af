//! `wasi:logging`: messages with a level and a context, to where the application's printed lines go and under the same
//! bounds.

use boundary_wire::rpc::LogLevel;
use wasmtime::Result;
use wasmtime::component::Linker;

use crate::cli::{Lines, MAX_PREFIX};
use crate::drafts::logging::{self, Level};
use crate::turn::{Turn, taken};
use crate::{Wasi, WasiCtx, WasiView};

/// The same interface as it was before it had a version, which some toolchains still import.
const UNVERSIONED: &str = "wasi:logging/logging";

pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    logging::add_to_linker::<T, Wasi>(linker, T::wasi)?;
    linker.instance(UNVERSIONED)?.func_wrap_async(
        "log",
        |mut store, (level, context, message): (Level, String, String)| {
            Box::new(async move {
                store.data_mut().wasi().entry(level, context, message).await;
                Ok(())
            })
        },
    )
}

/// Lines that are one unit of work ([`Turn`]).
const LINES_PER_UNIT: usize = 16;

impl logging::Host for WasiCtx {
    async fn log(&mut self, level: Level, context: String, message: String) -> Result<()> {
        self.entry(level, context, message).await;
        Ok(())
    }
}

impl WasiCtx {
    async fn entry(&mut self, level: Level, context: String, message: String) {
        log(&self.turn, &self.entries, level, context, message).await;
    }
}

/// One line for each of the message's. The log has four levels: what is finer or graver says so itself.
async fn log(turn: &Turn, lines: &Lines, level: Level, context: String, message: String) {
    let (level, word) = match level {
        Level::Trace => (LogLevel::Debug, "trace: "),
        Level::Debug => (LogLevel::Debug, ""),
        Level::Info => (LogLevel::Info, ""),
        Level::Warn => (LogLevel::Warn, ""),
        Level::Error => (LogLevel::Error, ""),
        Level::Critical => (LogLevel::Error, "critical: "),
    };
    turn.owe(taken(context.len().saturating_add(message.len())));
    let start = &context[..context.floor_char_boundary(MAX_PREFIX)];
    let prefix = if start.is_empty() { word.to_owned() } else { format!("{word}[{start}] ") };
    let printed = lines.entry(level, &prefix, &message);
    turn.owe(u32::try_from(printed / LINES_PER_UNIT).unwrap_or(u32::MAX));
    // Neither is held while the turn is waited for.
    drop((context, message));
    turn.spend(0).await;
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_lite::future::{block_on, poll_once};

    use super::*;
    use crate::cli::{LogSink, StandardStream};

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl LogSink for Kept {
        fn line(&self, _: StandardStream, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }

        fn entry(&self, _: LogLevel, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    /// Whether the call waits for its turn after it logged this.
    fn waits(turn: &Turn, lines: &Lines, context: usize, message: &str) -> bool {
        let logging = log(turn, lines, Level::Info, "c".repeat(context), message.to_owned());
        block_on(poll_once(logging)).is_none()
    }

    #[test]
    fn long_messages_and_many_lines_let_others_run() {
        let kept = Arc::new(Kept::default());
        let lines = Lines::new(StandardStream::Err, kept.clone());
        let turn = || Turn::default();
        assert!(!waits(&turn(), &lines, 10, "short"));
        assert!(waits(&turn(), &lines, 10, &"\n".repeat(2000)));
        assert!(waits(&turn(), &lines, 2 << 20, "short"));
        assert!(waits(&turn(), &lines, 10, &"m".repeat(2 << 20)), "whether it is printed or not");
        let longest = kept.0.lock().unwrap().iter().map(String::len).max();
        assert_eq!(longest, Some(4096));
    }
}
