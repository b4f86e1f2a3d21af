//! The host's log: lines of the host and of its enclave on standard error, as text or JSON.
//!
//! A thread of its own writes, so that a slow reader of standard error holds up nothing. Lines that do not fit
//! into its queue are lost, counted, and the count is written. Control characters never reach the terminal.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use boundary_wire::rpc::LogLevel;

use crate::clock;

/// Lines that may wait to be written.
const WAITING: usize = 1024;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `2026-11-20T21:51:00.123Z  info  [2] enclave: message`
    #[default]
    Text,
    /// One JSON object per line: `time`, `level`, `source`, `thread`, `target`, `message`.
    Json,
}

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This program.
    Host,
    /// The enclave's thread of that number.
    Enclave(u16),
}

/// A log that threads share. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Line),
    Flush(SyncSender<()>),
}

struct Line {
    unix_ns: u64,
    level: LogLevel,
    source: Source,
    target: String,
    text: String,
}

impl Log {
    /// A log on standard error.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn to_stderr(format: Format) -> std::io::Result<Log> {
        Self::to(std::io::stderr(), format)
    }

    /// A log into any writer.
    ///
    /// # Errors
    /// When its thread cannot be started.
    pub fn to(out: impl Write + Send + 'static, format: Format) -> std::io::Result<Log> {
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || write(out, format, &waiting, &counted))?;
        Ok(Log { lines, lost })
    }

    /// Writes a line; loses it if too many wait.
    pub fn line(&self, level: LogLevel, source: Source, target: &str, text: &str) {
        let (target, text) = (target.to_owned(), text.to_owned());
        let line = Line { unix_ns: clock::now().unix_ns, level, source, target, text };
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(line)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A line of the host itself.
    pub fn host(&self, level: LogLevel, text: &str) {
        self.line(level, Source::Host, "host", text);
    }

    /// Waits, not for long, until what was written before is out.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.lines.send(Message::Flush(done)).is_ok() {
            // Late or never is the same here: the process is about to end.
            wait.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        }
    }
}

fn write(mut out: impl Write, format: Format, waiting: &Receiver<Message>, lost: &AtomicU64) {
    // A closed standard error is no reason to stop serving: what cannot be written is dropped.
    let mut put = |line: &Line| {
        out.write_all(render(line, format).as_bytes()).and_then(|()| out.flush()).unwrap_or_default();
    };
    for message in waiting {
        match message {
            Message::Line(line) => put(&line),
            Message::Flush(done) => drop(done.send(())),
        }
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            put(&Line {
                unix_ns: clock::now().unix_ns,
                level: LogLevel::Warn,
                source: Source::Host,
                target: "host".into(),
                text: format!("{lost} log lines were lost: standard error is read too slowly"),
            });
        }
    }
}

fn render(line: &Line, format: Format) -> String {
    let mut out = String::with_capacity(line.text.len() + 64);
    match format {
        Format::Text => {
            timestamp(line.unix_ns, &mut out);
            push(&mut out, format_args!(" {:>5} ", line.level.name()));
            if let Source::Enclave(thread) = line.source {
                push(&mut out, format_args!("[{thread}] "));
            }
            escape(&line.target, &mut out, text_escape);
            out.push_str(": ");
            escape(&line.text, &mut out, text_escape);
        }
        Format::Json => {
            out.push_str("{\"time\":\"");
            timestamp(line.unix_ns, &mut out);
            push(&mut out, format_args!("\",\"level\":\"{}\",", line.level.name()));
            match line.source {
                Source::Host => out.push_str("\"source\":\"host\","),
                Source::Enclave(thread) => {
                    push(&mut out, format_args!("\"source\":\"enclave\",\"thread\":{thread},"));
                }
            }
            out.push_str("\"target\":\"");
            escape(&line.target, &mut out, json_escape);
            out.push_str("\",\"message\":\"");
            escape(&line.text, &mut out, json_escape);
            out.push_str("\"}");
        }
    }
    out.push('\n');
    out
}

/// Formatting into a `String` cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).unwrap_or_default();
}

/// RFC 3339, UTC, milliseconds.
fn timestamp(unix_ns: u64, out: &mut String) {
    let (seconds, millis) = (unix_ns / 1_000_000_000, unix_ns / 1_000_000 % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    push(
        out,
        format_args!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        ),
    );
}

/// The date that lies `days` after 1970-01-01, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // In years that begin in March, so that the leap day is the last one; 719 468 days before the epoch.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn escape(text: &str, out: &mut String, special: fn(char) -> bool) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '"' | '\\' if special(c) => {
                out.push('\\');
                out.push(c);
            }
            c if special(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    push(out, format_args!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
}

/// What could drive a terminal: control characters, and those that reorder text.
fn text_escape(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn json_escape(c: char) -> bool {
    text_escape(c) || matches!(c, '"' | '\\')
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Line {
        let unix_ns = 1_795_211_460_123_456_789;
        let (level, source) = (LogLevel::Warn, Source::Enclave(2));
        Line { unix_ns, level, source, target: "app:a".into(), text: text.into() }
    }

    #[test]
    fn lines_read_as_documented() {
        assert_eq!(
            render(&line("say \"hi\"\n\x1b[31m"), Format::Text),
            "2026-11-20T21:51:00.123Z  warn [2] app:a: say \"hi\"\\n\\u001b[31m\n"
        );
        assert_eq!(
            render(&line("say \"hi\"\n"), Format::Json),
            "{\"time\":\"2026-11-20T21:51:00.123Z\",\"level\":\"warn\",\"source\":\"enclave\",\"thread\":2,\
             \"target\":\"app:a\",\"message\":\"say \\\"hi\\\"\\n\"}\n"
        );
    }

    #[test]
    fn dates_are_right() {
        let date = |days| civil(days);
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(59), (1970, 3, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(20_777), (2026, 11, 20));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn a_line_is_one_line_without_control_characters(text in any::<String>()) {
            for format in [Format::Text, Format::Json] {
                let out = render(&line(&text), format);
                let body = out.strip_suffix('\n').unwrap();
                prop_assert!(!body.chars().any(char::is_control));
            }
        }
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_flushed_is_out() {
        let out = Shared::default();
        let log = Log::to(out.clone(), Format::Text).unwrap();
        log.host(LogLevel::Info, "hello");
        log.flush();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        assert!(text.ends_with(" info host: hello\n"), "{text}");
    }
}
