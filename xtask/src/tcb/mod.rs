//! `cargo xtask tcb`: every crate that is measured into the image.

mod count;
mod list;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::image::{TARGET, Toolchain};
use crate::tool;
use count::Count;

/// The committed list.
const LIST: &str = "enclave/image/tcb.txt";

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Write the committed list instead of comparing with it.
    #[arg(long)]
    write: bool,
}

/// One crate of the image.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    origin: Origin,
    name: String,
    version: String,
    folder: PathBuf,
}

/// Whose code it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Ours,
    CratesIo,
    Std,
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let members = counted()?;
    if options.write {
        let file = tool::root().join(LIST);
        std::fs::write(&file, list::text(&members))
            .with_context(|| format!("cannot write {}", file.display()))?;
    } else {
        compare(&members)?;
    }
    print!("{}", table(&members));
    Ok(())
}

/// Fails if the image consists of other crates than the committed list says.
pub(crate) fn check() -> Result<()> {
    compare(&counted()?)?;
    println!("tcb: the image consists of what {LIST} says");
    Ok(())
}

fn compare(members: &[(Member, Count)]) -> Result<()> {
    let file = tool::root().join(LIST);
    let committed =
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let differences = list::differences(&committed, &list::text(members));
    if differences.is_empty() {
        return Ok(());
    }
    differences.iter().for_each(|line| eprintln!("{line}"));
    bail!("what is in the image is not what {LIST} says; `cargo xtask tcb --write` accepts it")
}

fn counted() -> Result<Vec<(Member, Count)>> {
    let with_count = |member: Member| {
        let count = Count::of(&member.folder)
            .with_context(|| format!("the sources of {} {}", member.name, member.version))?;
        Ok((member, count))
    };
    members()?.into_iter().map(with_count).collect()
}

fn members() -> Result<Vec<Member>> {
    let toolchain = Toolchain::pinned()?;
    let (root, library) = (tool::root(), toolchain.library());
    let mut members = Vec::new();
    let image = tree(&root, &["-p", "enclave-image"])?;
    let std = tree(&library, &["-p", "std", "--no-default-features"])?;
    for (lines, own, version) in [(image, Origin::Ours, None), (std, Origin::Std, Some(&toolchain.release))] {
        for line in lines {
            let package = Package::parse(&line).with_context(|| format!("cargo tree printed `{line}`"))?;
            // Names for core and alloc that std's dependencies use; there is nothing in them.
            if package.name.starts_with("rustc-std-workspace") {
                continue;
            }
            members.push(match package.folder {
                Some(folder) => Member {
                    origin: own,
                    name: package.name,
                    version: version.cloned().unwrap_or(package.version),
                    folder,
                },
                None => Member {
                    origin: Origin::CratesIo,
                    folder: unpacked(&package.name, &package.version)?,
                    name: package.name,
                    version: package.version,
                },
            });
        }
    }
    members.sort();
    members.dedup();
    Ok(members)
}

struct Package {
    name: String,
    version: String,
    /// Where it lies, if it does not come from crates.io.
    folder: Option<PathBuf>,
}

impl Package {
    /// `name v1.2.3` or `name v1.2.3 (/folder)`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        let folder = words.next().map(|rest| rest.trim_start_matches('(').trim_end_matches(')'));
        Some(Self { name: name.to_owned(), version: version.to_owned(), folder: folder.map(PathBuf::from) })
    }
}

/// What is linked for the enclave's target: no build scripts, no procedural macros.
fn tree(workspace: &Path, what: &[&str]) -> Result<BTreeSet<String>> {
    let output = tool::cargo(&["tree", "--locked", "--target", TARGET])
        .args(["-e", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe", "--format", "{p}"])
        .args(what)
        .current_dir(workspace)
        // std's own workspace uses what nightly toolchains have.
        .env("RUSTC_BOOTSTRAP", "1")
        .output()?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

/// Where cargo has unpacked a crate; asking for the tree has brought it there.
fn unpacked(name: &str, version: &str) -> Result<PathBuf> {
    let sources = crate::image::cargo_home()?.join("registry/src");
    let registries = std::fs::read_dir(&sources).with_context(|| format!("{}", sources.display()))?;
    for registry in registries {
        let folder = registry?.path().join(format!("{name}-{version}"));
        if folder.is_dir() {
            return Ok(folder);
        }
    }
    bail!("{name} {version} is not unpacked under {}", sources.display())
}

fn table(members: &[(Member, Count)]) -> String {
    let mut text = String::new();
    let mut row = |name: &str, version: &str, Count { lines, unsafes }| {
        text += &format!("{name:<38} {version:<10} {lines:>8} lines {unsafes:>6} unsafe\n");
    };
    let mut all = Count::default();
    for (origin, title) in [
        (Origin::Ours, "this repository"),
        (Origin::CratesIo, "crates.io"),
        (Origin::Std, "Rust's standard library"),
    ] {
        let mut total = Count::default();
        for (member, count) in members.iter().filter(|(member, _)| member.origin == origin) {
            total = total + *count;
            row(&member.name, &member.version, *count);
        }
        all = all + total;
        row(&format!("= {title}"), "", total);
    }
    row("= all of the image", "", all);
    text
}

#[cfg(test)]
mod tests;
