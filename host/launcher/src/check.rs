//! `--check-platform`: the checklist, for people or as JSON.

use std::fmt::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use launcher_image::check::{Finding, Status, check, is_ready};

use crate::args::Args;
use crate::launch;

pub(crate) fn run(args: &Args) -> ExitCode {
    let findings = check(launch::find(args).ok().as_deref());
    if args.json {
        let report = serde_json::json!({ "ready": is_ready(&findings), "findings": findings });
        anstream::println!("{report}");
    } else {
        anstream::print!("{}", render(&findings));
    }
    if is_ready(&findings) { ExitCode::SUCCESS } else { ExitCode::from(6) }
}

fn render(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or_default();
    let mut out = String::new();
    for finding in findings {
        let (word, colour) = match finding.status {
            Status::Ok => ("ok      ", AnsiColor::Green),
            Status::Optional => ("optional", AnsiColor::Yellow),
            Status::Missing => ("missing ", AnsiColor::Red),
        };
        let style = Style::new().fg_color(Some(colour.into()));
        let (name, seen) = (finding.name, &finding.seen);
        line(&mut out, format_args!("{style}{word}{style:#}  {name:width$}  {seen}"));
        if let Some(advice) = finding.advice {
            line(&mut out, format_args!("{:10}{:width$}  -> {advice}", "", ""));
        }
    }
    let verdict = if is_ready(findings) {
        "This machine can run the image on SGX hardware (a path that has not been tried on hardware yet)."
    } else {
        "This machine cannot run the image on SGX hardware; --platform emulated runs it and protects nothing."
    };
    line(&mut out, format_args!("\n{verdict}"));
    out
}

/// Formatting into a `String` cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_is_said_with_what_to_do() {
        let finding = |status, advice| Finding { name: "EPC", status, seen: "0 MiB".to_owned(), advice };
        let text = render(&[finding(Status::Missing, Some("give memory to SGX"))]);
        assert!(
            text.contains("missing") && text.contains("-> give memory") && text.contains("cannot run"),
            "{text}"
        );
        assert!(render(&[finding(Status::Ok, None)]).contains("can run the image"));
    }
}
