//! What is linked into the enclave, and what must not be: other crypto stacks, C code, an async
//! runtime, a compiler.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use cargo_metadata::{DependencyKind, Metadata, Package};

use super::Violation;

/// The crate whose dependencies are the trusted code base.
const IMAGE: &str = "enclave-image";
/// The target of the image.
const SGX: &str = "x86_64-fortanix-unknown-sgx";
/// The binary that hosts it in-process: what it links is in the same address space as the keys.
const HOST: &str = "host-launcher";

/// Crates that no enclave may contain, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("ring", "its random source does not exist in an enclave; graviola is the one crypto library"),
    ("aws-lc-rs", "C code; graviola is the one crypto library"),
    ("aws-lc-sys", "C code; graviola is the one crypto library"),
    ("openssl", "C code; graviola is the one crypto library"),
    ("openssl-sys", "C code; graviola is the one crypto library"),
    ("mio", "there are no sockets in an enclave"),
    ("socket2", "there are no sockets in an enclave"),
    ("async-io", "there are no sockets in an enclave"),
    ("async-std", "no second runtime; tasks run on enclave/worker"),
    ("smol", "no second runtime; tasks run on enclave/worker"),
];

/// Nor the host, which shares its address space with the native enclave.
const COMPILERS: &[(&str, &str)] = &[
    ("cranelift-codegen", "no compiler where keys are (DESIGN D3)"),
    ("wasmtime-internal-cranelift", "no compiler where keys are (DESIGN D3)"),
];

/// Features of tokio that bring its runtime; hyper's HTTP/2 needs the traits and the channels only.
const TOKIO_RUNTIME: &[&str] = &["rt", "rt-multi-thread", "net", "fs", "process", "signal", "time"];

/// Crates that may compile C on some target, and why that does not reach the enclave.
const BUILDS_C: &[(&str, &str)] = &[
    ("wasmtime", "its C helper is built for operating systems with signals, not for an enclave target"),
    ("wasmtime-internal-fiber", "it compiles C for Windows only"),
];

pub(super) fn check(metadata: &Metadata) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut linked_into = |member, target| match tree(metadata, member, target) {
        Ok(linked) => linked,
        Err(error) => {
            found.push(Violation::new("closure", member, format!("cannot tell what is linked: {error}")));
            Vec::new()
        }
    };
    let host = linked_into(HOST, None);
    let image: BTreeSet<_> =
        linked_into(IMAGE, None).into_iter().chain(linked_into(IMAGE, Some(SGX))).collect();
    for Linked { name, .. } in host {
        if let Some((_, why)) = COMPILERS.iter().find(|(compiler, _)| *compiler == name) {
            found.push(Violation::new("closure", HOST, format!("links `{name}`: {why}")));
        }
    }
    for Linked { name, version, features } in image {
        if let Some((_, why)) = FORBIDDEN.iter().chain(COMPILERS).find(|(forbidden, _)| *forbidden == name) {
            found.push(Violation::new("closure", IMAGE, format!("links `{name}`: {why}")));
        }
        let package = metadata.packages.iter().find(|p| *p.name == name && p.version.to_string() == version);
        if package.is_some_and(compiles_c) && !BUILDS_C.iter().any(|(known, _)| *known == name) {
            found.push(Violation::new("closure", IMAGE, format!("`{name}` compiles C code")));
        }
        for feature in features.iter().filter(|f| name == "tokio" && TOKIO_RUNTIME.contains(&f.as_str())) {
            let what = format!("links tokio with `{feature}`: no tokio runtime in an enclave (DESIGN D7)");
            found.push(Violation::new("closure", IMAGE, what));
        }
    }
    found
}

/// True if its build script is given a C compiler by default.
fn compiles_c(package: &Package) -> bool {
    let compilers = ["cc", "cmake", "bindgen"];
    package
        .dependencies
        .iter()
        .any(|d| d.kind == DependencyKind::Build && !d.optional && compilers.contains(&d.name.as_str()))
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Linked {
    name: String,
    version: String,
    features: Vec<String>,
}

/// What is linked when `member` is built by itself, for this machine or another target. (`cargo metadata` would unite the features of the whole
/// workspace.)
fn tree(metadata: &Metadata, member: &str, target: Option<&str>) -> Result<Vec<Linked>> {
    let output =
        crate::tool::cargo(&["tree", "-p", member, "-e", "normal,no-proc-macro", "--prefix", "none"])
            .args(["--no-dedupe", "--format", "{p}|{f}"])
            .args(target.map(|target| ["--target", target]).iter().flatten())
            .current_dir(&metadata.workspace_root)
            .output()?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let lines: BTreeSet<_> = String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect();
    lines.iter().map(|line| linked(line).with_context(|| format!("cargo tree printed `{line}`"))).collect()
}

/// `name v1.2.3 (source)|feature,feature`
fn linked(line: &str) -> Option<Linked> {
    let (package, features) = line.split_once('|')?;
    let mut words = package.split(' ');
    Some(Linked {
        name: words.next()?.to_owned(),
        version: words.next()?.trim_start_matches('v').to_owned(),
        features: features.split(',').map(str::to_owned).collect(),
    })
}
