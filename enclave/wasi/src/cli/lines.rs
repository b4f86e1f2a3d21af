//! What a guest prints, cut into lines for the log.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use boundary_wire::rpc::LogLevel;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamResult};

use super::{LogSink, PERMIT, StandardStream};

/// A line is cut here.
const MAX_LINE: usize = 4096;
/// What one call may print on one stream, [`LINE_COST`] for each line included.
const MAX_OUTPUT: usize = 1 << 20;
/// What a line counts beside its bytes: it costs more than they do on its way to the log.
const LINE_COST: usize = 64;
/// What stands in front of a logged line is cut here.
pub(crate) const MAX_PREFIX: usize = 256;

/// Bytes of one stream, cut into lines.
#[derive(Clone)]
pub(crate) struct Lines {
    stream: StandardStream,
    sink: Arc<dyn LogSink>,
    pending: Arc<Mutex<Pending>>,
}

#[derive(Default)]
struct Pending {
    line: Vec<u8>,
    printed: usize,
    /// Bytes that were not printed.
    dropped: u64,
}

impl Lines {
    pub(crate) fn new(stream: StandardStream, sink: Arc<dyn LogSink>) -> Self {
        Lines { stream, sink, pending: Arc::default() }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, bytes: &[u8]) {
        let mut pending = self.pending();
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let length = end.unwrap_or(rest.len()).min(MAX_LINE - pending.line.len());
            let (part, after) = rest.split_at(length);
            // The end of a line that is cut here begins the next piece.
            let ends = end == Some(length) || length + pending.line.len() == MAX_LINE;
            let cost = length + if ends { LINE_COST } else { 0 };
            if pending.printed + cost > MAX_OUTPUT {
                // Nothing after it is printed either, however short.
                pending.printed = MAX_OUTPUT;
                pending.dropped = pending.dropped.saturating_add(rest.len() as u64);
                return;
            }
            pending.printed += cost;
            pending.line.extend_from_slice(part);
            if ends {
                self.print(&mut pending.line);
            }
            rest = if end == Some(length) { after.get(1..).unwrap_or_default() } else { after };
        }
    }

    /// Prints a line of the enclave's own about the call, which counts as one of the call's.
    pub(crate) fn say(&self, line: &str) {
        let mut pending = self.pending();
        if pending.printed + line.len() + LINE_COST > MAX_OUTPUT {
            pending.dropped = pending.dropped.saturating_add(line.len() as u64);
            return;
        }
        pending.printed += line.len() + LINE_COST;
        self.sink.line(self.stream, line);
    }

    /// Logs a message line by line, with `prefix` in front of each. Counts as if it were printed. How many lines it
    /// was.
    pub(crate) fn entry(&self, level: LogLevel, prefix: &str, message: &str) -> usize {
        let mut pending = self.pending();
        let prefix = &prefix[..prefix.floor_char_boundary(MAX_PREFIX)];
        let most = MAX_LINE - prefix.len();
        let (mut rest, mut lines) = (message, 0);
        loop {
            // No further than a line goes: each byte is looked at once, however long the message is.
            let start = &rest[..rest.floor_char_boundary(most + 1)];
            let end = start.find('\n').unwrap_or(rest.len());
            let cut = rest.floor_char_boundary(end.min(most));
            let cost = prefix.len() + cut + LINE_COST;
            if pending.printed + cost > MAX_OUTPUT {
                pending.printed = MAX_OUTPUT;
                pending.dropped = pending.dropped.saturating_add(rest.len() as u64);
                return lines;
            }
            pending.printed += cost;
            lines += 1;
            let (line, after) = rest.split_at(cut);
            self.sink.entry(level, &shown(&format!("{prefix}{line}")));
            rest = after.strip_prefix('\n').unwrap_or(after);
            if rest.is_empty() {
                return lines;
            }
        }
    }

    /// Prints what is left of an unfinished line, and how much was not printed. To be called at the end.
    pub(crate) fn finish(&self) {
        let mut pending = self.pending();
        if !pending.line.is_empty() {
            self.print(&mut pending.line);
        }
        let dropped = std::mem::take(&mut pending.dropped);
        if dropped > 0 {
            let line = format!("[this call printed more than is kept: {dropped} bytes were dropped]");
            self.sink.line(self.stream, &line);
        }
    }

    fn print(&self, line: &mut Vec<u8>) {
        let text = String::from_utf8_lossy(line);
        self.sink.line(self.stream, &shown(text.strip_suffix('\r').unwrap_or(&text)));
        line.clear();
    }
}

/// A line without what could do something to a terminal.
fn shown(line: &str) -> Cow<'_, str> {
    let unsafe_to_show = |c: char| c.is_control() && c != '\t';
    if line.contains(unsafe_to_show) {
        Cow::Owned(line.replace(unsafe_to_show, "\u{fffd}"))
    } else {
        Cow::Borrowed(line)
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl LogSink for Kept {
        fn line(&self, _: StandardStream, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }

        fn entry(&self, level: LogLevel, line: &str) {
            self.0.lock().unwrap().push(format!("{}: {line}", level.name()));
        }
    }

    fn printed(parts: &[&[u8]]) -> Vec<String> {
        let kept = Arc::new(Kept::default());
        let lines = Lines::new(StandardStream::Out, kept.clone());
        for part in parts {
            lines.push(part);
        }
        lines.finish();
        let lines = kept.0.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn lines_are_put_together_from_parts() {
        assert_eq!(printed(&[b"one\ntw", b"o\r\n", b"\nlast"]), ["one", "two", "", "last"]);
    }

    #[test]
    fn long_lines_are_cut_and_no_byte_is_lost() {
        let long = vec![b'x'; 3 * MAX_LINE + 1];
        let lines = printed(&[b"ab", &long]);
        assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
        assert_eq!(lines.concat().len(), long.len() + 2);
    }

    #[test]
    fn control_characters_do_not_reach_the_log() {
        assert_eq!(printed(&[b"a\x1b[2Jb\tc\n"]), ["a\u{fffd}[2Jb\tc"]);
    }

    #[test]
    fn endless_output_is_dropped_once_and_said_so() {
        let part = vec![b'y'; PERMIT];
        let parts: Vec<&[u8]> = (0..100).map(|_| part.as_slice()).collect();
        let lines = printed(&parts);
        let (text, told): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.starts_with('y'));
        let bytes: usize = text.iter().map(|line| line.len()).sum();
        assert!((MAX_OUTPUT - 20 * MAX_LINE..MAX_OUTPUT).contains(&bytes), "{bytes}");
        let dropped = 100 * PERMIT - bytes;
        assert_eq!(told, [&format!("[this call printed more than is kept: {dropped} bytes were dropped]")]);
    }

    #[test]
    fn a_million_tiny_lines_cost_what_they_are_and_not_their_letters() {
        let tiny = vec![b'\n'; PERMIT];
        let parts: Vec<&[u8]> = (0..64).map(|_| tiny.as_slice()).collect();
        let lines = printed(&parts);
        assert_eq!(lines.iter().filter(|line| line.is_empty()).count(), MAX_OUTPUT / LINE_COST);
        let dropped = 64 * PERMIT - MAX_OUTPUT / LINE_COST;
        assert!(lines.last().unwrap().contains(&format!("{dropped} bytes were dropped")), "{lines:?}");
    }

    #[test]
    fn lines_about_the_call_are_lines_of_the_call() {
        let kept = Arc::new(Kept::default());
        let lines = Lines::new(StandardStream::Out, kept.clone());
        for _ in 0..MAX_OUTPUT {
            lines.say("a request");
        }
        lines.finish();
        let printed = kept.0.lock().unwrap();
        assert_eq!(printed.len(), MAX_OUTPUT / (LINE_COST + 9) + 1);
        assert!(printed.last().unwrap().contains("dropped"));
    }

    #[test]
    fn logged_messages_are_lines_with_their_level_and_context() {
        let kept = Arc::new(Kept::default());
        let lines = Lines::new(StandardStream::Err, kept.clone());
        lines.entry(LogLevel::Warn, "[a] ", "one\ntwo\n");
        lines.entry(LogLevel::Info, "", "");
        lines.entry(LogLevel::Error, "[x\ny] ", "\x1b[2J");
        let long = "\u{e9}".repeat(3 * MAX_LINE);
        lines.entry(LogLevel::Debug, &"c".repeat(2 * MAX_PREFIX), &long);
        let kept = kept.0.lock().unwrap();
        assert_eq!(
            kept[..4],
            ["warn: [a] one", "warn: [a] two", "info: ", "error: [x\u{fffd}y] \u{fffd}[2J"]
        );
        assert!(kept.iter().all(|line| line.len() <= MAX_LINE + "debug: ".len()));
        let text: String = kept[4..].iter().map(|line| &line["debug: ".len() + MAX_PREFIX..]).collect();
        assert_eq!(text, long, "no letter is lost or cut in two");
    }

    #[test]
    fn endless_logging_is_dropped_once_and_said_so() {
        let kept = Arc::new(Kept::default());
        let lines = Lines::new(StandardStream::Err, kept.clone());
        for _ in 0..3 {
            lines.entry(LogLevel::Info, "", &"\n".repeat(MAX_OUTPUT));
        }
        lines.finish();
        let kept = kept.0.lock().unwrap();
        assert_eq!(kept.len(), MAX_OUTPUT / LINE_COST + 1);
        let dropped = 3 * MAX_OUTPUT - MAX_OUTPUT / LINE_COST;
        assert!(kept.last().unwrap().contains(&format!("{dropped} bytes were dropped")), "{:?}", kept.last());
    }
}
