//! What the demo prints.

use anstyle::{AnsiColor, Style};
use anyhow::{Result, bail};

const WIDTH: usize = 64;

const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// One function of the example, and what became of it.
pub(crate) struct Row {
    /// Its name for people.
    pub(crate) test: &'static str,
    /// Whether the answer is what the table of the documentation says.
    pub(crate) passed: bool,
    /// The answer, or what was wrong with it.
    pub(crate) details: String,
}

/// A chapter of the demo.
pub(crate) fn chapter(title: &str) {
    anstream::println!("\n{}", paint(Style::new().bold(), title));
}

/// Something that was checked and holds.
pub(crate) fn holds(what: &str) {
    anstream::println!("  {} {what}", paint(GOOD, "✔"));
}

/// A fact that is not a check.
pub(crate) fn note(what: &str) {
    anstream::println!("  {}", paint(DIM, what));
}

/// The table of the six functions.
pub(crate) fn table(rows: &[Row]) {
    let line = "-".repeat(WIDTH);
    anstream::println!("\n{line}\n {:<3}{:<21}{:<8}Details\n{line}", "#", "Test", "Result");
    for (number, row) in rows.iter().enumerate() {
        let mark = if row.passed { paint(GOOD, "✔") } else { paint(BAD, "✘") };
        anstream::println!(" {:<3}{:<21}{mark}       {}", number + 1, row.test, row.details);
    }
    anstream::println!("{line}");
}

/// The closing line; an error unless all passed.
pub(crate) fn result(passed: usize, of: usize) -> Result<()> {
    if passed == of {
        anstream::println!("{} Result: ALL {of} TESTS PASSED", paint(GOOD, "✔"));
        return Ok(());
    }
    bail!("{passed} of {of} tests passed")
}

/// The line that a failed demo ends with.
pub(crate) fn failure(what: &str) -> String {
    format!("{} Result: {what}", paint(BAD, "✘"))
}

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
