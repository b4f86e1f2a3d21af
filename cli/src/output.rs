//! What a person or a program sees.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice, eprintln, println};
use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();
const BOLD: Style = Style::new().bold();

/// One JSON document on stdout.
pub(crate) fn json(value: &impl Serialize) {
    // A reader that went away wants nothing more.
    let mut out = std::io::stdout().lock();
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    drop(writeln!(out, "{text}"));
}

/// A line of a result, with control characters of the other side made visible.
pub(crate) fn line(text: &str) {
    println!("{}", clean(text));
}

/// Text as it is, for files and pipes: PEM.
pub(crate) fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()));
}

/// What a program printed: byte for byte into a file or a pipe, disarmed on a terminal.
pub(crate) fn streams(stdout: &[u8], stderr: &[u8]) {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    let shown = |bytes: &[u8], terminal: bool| match terminal {
        true => clean(&String::from_utf8_lossy(bytes).replace("\r\n", "\n")).into_bytes(),
        false => bytes.to_vec(),
    };
    // A reader that went away wants nothing more.
    drop(out.write_all(&shown(stdout, out.is_terminal())).and_then(|()| out.flush()));
    drop(err.write_all(&shown(stderr, err.is_terminal())));
}

/// `done test-app`: what was brought about.
pub(crate) fn done(what: &str, object: &str) {
    println!("{GREEN}{what}{GREEN:#} {BOLD}{}{BOLD:#}", clean(object));
}

/// `refused host`: what was not.
pub(crate) fn refused(what: &str, object: &str) {
    println!("{RED}{what}{RED:#} {BOLD}{}{BOLD:#}", clean(object));
}

/// `  ✘ check  why`: one thing that is wrong.
pub(crate) fn failed(check: &str, why: &str) {
    println!("  {RED}✘ {check}{RED:#} {}", clean(why));
}

/// `  name  value`, aligned.
pub(crate) fn field(name: &str, value: &str) {
    println!("  {CYAN}{name:<13}{CYAN:#} {}", clean(value));
}

/// What is under way, on stderr.
pub(crate) fn note(text: &str) {
    eprintln!("{}", clean(text));
}

pub(crate) fn warning(text: &str) {
    eprintln!("{YELLOW}warning{YELLOW:#}: {}", clean(text));
}

pub(crate) fn error(text: &str, hint: Option<&str>) {
    eprintln!("{RED}error{RED:#}: {}", clean(text));
    if let Some(hint) = hint {
        eprintln!("{CYAN}hint{CYAN:#}: {}", clean(hint));
    }
}

/// Rows under a header; wrapped to the width of a terminal, whole in a pipe.
pub(crate) fn table(header: &[&str], rows: Vec<Vec<String>>) {
    let stdout = std::io::stdout();
    let colours = AutoStream::choice(&stdout) != ColorChoice::Never;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if stdout.is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    if colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.iter().map(|text| Cell::new(clean(text))));
    }
    for line in table.lines() {
        println!("{}", line.trim_end());
    }
}

/// A bar of bytes on stderr; nothing where stderr is not a terminal.
pub(crate) fn upload_bar(bytes: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    if let Ok(style) =
        ProgressStyle::with_template("uploading {bar:32} {bytes}/{total_bytes} {bytes_per_sec}")
    {
        bar.set_style(style);
    }
    bar
}

/// `1.4 MiB`.
pub(crate) fn bytes(count: usize) -> String {
    indicatif::HumanBytes(count as u64).to_string()
}

/// `1.2 s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Names and messages come from the other side: no escape sequence of theirs reaches the terminal.
pub(crate) fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_the_other_side_are_disarmed() {
        assert_eq!(clean("a\x1b[31mb\u{9b}c\r"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}");
        assert_eq!(clean("two\nlines"), "two\nlines");
    }
}
