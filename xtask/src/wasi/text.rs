//! The page.

use std::fmt::Write;

use super::Interfaces;
use super::table::{Row, Status, Table};

const HEAD: &str = "\
# WASI, function by function

What a component finds when it imports a standard interface inside the enclave. Written by `cargo xtask wasi-docs --write`
from the texts in `sdk/wit` and the table in `xtask/src/wasi/table.toml`; the gate fails if a function has no row, or a row has
neither a test nor a reason.

- **complete**: it does what the text says.
- **deviates**: it does not do all of it; the column says what.
- **denied**: it links, so that any standard component starts, and says `access-denied`.
- **called**: the app exports it and the enclave calls it.
- **not offered**: a component that imports it is refused when it is loaded, with everything else that is missing.

Interfaces of WASI 0.2 link by any version `0.2.x`; proposals, which have other versions, by exactly the one that is named.
Limits of each are in [enclave/wasi](../enclave/wasi/README.md).
";

pub(super) fn page(interfaces: &Interfaces, table: &Table) -> String {
    let mut page = HEAD.to_owned();
    for (interface, functions) in interfaces {
        let Some(said) = table.interfaces.get(interface) else { continue };
        // Writing to a string does not fail.
        _ = write!(page, "\n## `{interface}`\n");
        if !said.note.is_empty() {
            _ = write!(page, "\n{}\n", said.note);
        }
        if functions.is_empty() {
            _ = write!(page, "\nTypes only.\n");
            continue;
        }
        page.push_str("\n| function | status | deviation | test |\n|---|---|---|---|\n");
        for function in functions {
            let Some(row) = said.functions.get(function) else { continue };
            let status = said.status.word(!row.deviation.is_empty());
            _ = writeln!(
                page,
                "| `{function}` | {status} | {} | {} |",
                row.deviation,
                tested(row, said.status)
            );
        }
    }
    page
}

fn tested(row: &Row, status: Status) -> String {
    let tests: Vec<_> = row.tests.iter().map(|test| format!("`{test}`")).collect();
    match (tests.is_empty(), status) {
        (false, _) => tests.join(", "),
        (true, Status::NotOffered) => row.reason.clone(),
        (true, _) => format!("none: {}", row.reason),
    }
}
