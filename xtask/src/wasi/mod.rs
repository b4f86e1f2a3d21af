//! `cargo xtask wasi-docs`: what of each interface a guest finds, function by function.
//!
//! The functions come from the WIT texts, what is said of them from `table.toml` beside this file. A function without a
//! row, a row without a function, a row with neither a test nor a reason, and a test that is not there fail.

mod table;
#[cfg(test)]
mod tests;
mod text;
mod wit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::tool;
use table::{Row, Table};

/// The texts of the interfaces.
const WIT: &str = "sdk/wit";
/// What is said of them.
const TABLE: &str = "xtask/src/wasi/table.toml";
/// The page that comes of both.
const PAGE: &str = "docs/wasi.md";

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Write the page instead of comparing with it.
    #[arg(long)]
    write: bool,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let root = tool::root();
    if options.write {
        let page = root.join(PAGE);
        return std::fs::write(&page, whole(&root)?)
            .with_context(|| format!("cannot write {}", page.display()));
    }
    check(&root)
}

/// Fails if the page is not what the texts and the table give.
pub(crate) fn check(root: &Path) -> Result<()> {
    let page = root.join(PAGE);
    let committed =
        std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))?;
    if committed != whole(root)? {
        bail!("{PAGE} is not what {WIT} and {TABLE} give: `cargo xtask wasi-docs --write` writes it anew");
    }
    println!("wasi: {PAGE} has a row with a test or a reason for every function");
    Ok(())
}

/// The page, if nothing is missing from it.
fn whole(root: &Path) -> Result<String> {
    let interfaces = wit::interfaces(&root.join(WIT))?;
    let file = root.join(TABLE);
    let table = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let table = Table::parse(&table)?;
    let wrong = complaints(&interfaces, &table, &tests_of(root)?);
    if !wrong.is_empty() {
        bail!("{TABLE} does not say everything of {WIT}:\n  {}", wrong.join("\n  "));
    }
    Ok(text::page(&interfaces, &table))
}

/// Functions by interface, both as WIT names them.
type Interfaces = BTreeMap<String, Vec<String>>;

/// What is missing, or too much.
fn complaints(interfaces: &Interfaces, table: &Table, tests: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (interface, functions) in interfaces {
        let Some(said) = table.interfaces.get(interface) else {
            wrong.push(format!("nothing is said of the interface {interface}"));
            continue;
        };
        for function in functions {
            if !said.functions.contains_key(function) {
                wrong.push(format!("{interface} has no row for {function}"));
            }
        }
    }
    for (interface, said) in &table.interfaces {
        let functions = interfaces.get(interface);
        if functions.is_none() {
            wrong.push(format!("there is no interface {interface}"));
        }
        for (function, row) in &said.functions {
            if functions.is_some_and(|functions| !functions.contains(function)) {
                wrong.push(format!("{interface} has a row for {function}, which is no function of it"));
            }
            let lacks = row_lacks(row, tests).into_iter();
            wrong.extend(lacks.map(|what| format!("{interface}: the row of {function} {what}")));
        }
    }
    wrong
}

fn row_lacks(row: &Row, tests: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    if row.tests.is_empty() && row.reason.is_empty() {
        wrong.push("has neither a test nor a reason why there is none".to_owned());
    }
    for test in row.tests.iter().filter(|test| !tests.contains(*test)) {
        wrong.push(format!("names the test {test}, which is not there"));
    }
    wrong
}

/// Names of all functions in Rust files that could be tests: where there is a test there is such a function.
fn tests_of(root: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = ["enclave", "tests"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                names.extend(functions_in(&text));
            }
        }
    }
    Ok(names)
}

fn functions_in(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().filter_map(|line| {
        let rest =
            line.trim_start().strip_prefix("fn ").or_else(|| line.trim_start().strip_prefix("async fn "))?;
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        (!name.is_empty()).then_some(name)
    })
}
