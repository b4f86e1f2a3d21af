//! What is linked into the enclave, and what must not be: other crypto stacks, C code, an async
//! runtime, a compiler.

use std::collections::{BTreeSet, HashMap};

use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};

use super::Violation;

/// The crate whose dependencies are the trusted code base.
const IMAGE: &str = "enclave-image";
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
    ("cranelift-codegen", "no compiler where keys are (DESIGN D3)"),
    ("wasmtime-internal-cranelift", "no compiler where keys are (DESIGN D3)"),
];

/// Features of tokio that bring its runtime; hyper's HTTP/2 needs the traits and the channels only.
const TOKIO_RUNTIME: &[&str] = &["rt", "rt-multi-thread", "net", "fs", "process", "signal", "time"];

/// Crates that may compile C on some target, and why that does not reach the enclave.
const BUILDS_C: &[(&str, &str)] =
    &[("wasmtime", "its C helper is built for operating systems with signals, not for an enclave target")];

pub(super) fn check(metadata: &Metadata) -> Vec<Violation> {
    let packages: HashMap<&PackageId, &Package> = metadata.packages.iter().map(|p| (&p.id, p)).collect();
    let mut found = Vec::new();
    for id in reachable(metadata, IMAGE).into_iter().flatten() {
        let Some(package) = packages.get(&id) else { continue };
        let name = package.name.as_str();
        if let Some((_, why)) = FORBIDDEN.iter().find(|(forbidden, _)| *forbidden == name) {
            // Cargo's metadata unites the features of the whole workspace; `cargo tree` for the one
            // binary decides for crates that only a feature of another member brings.
            if links(metadata, name) {
                found.push(Violation::new("closure", IMAGE, format!("links `{name}`: {why}")));
            }
        }
        let builds_c = package.dependencies.iter().any(|d| {
            d.kind == DependencyKind::Build && matches!(d.name.as_str(), "cc" | "cmake" | "bindgen")
        });
        if builds_c && !d_optional_only(package) && !BUILDS_C.iter().any(|(known, _)| *known == name) {
            found.push(Violation::new("closure", IMAGE, format!("`{name}` compiles C code")));
        }
        if name == "tokio" {
            for feature in tokio_features(metadata) {
                found.push(Violation::new(
                    "closure",
                    IMAGE,
                    format!("links tokio with `{feature}`: no tokio runtime in an enclave (DESIGN D7)"),
                ));
            }
        }
    }
    found
}

/// True if every build dependency on a C compiler is behind a feature.
fn d_optional_only(package: &Package) -> bool {
    package
        .dependencies
        .iter()
        .filter(|d| d.kind == DependencyKind::Build && matches!(d.name.as_str(), "cc" | "cmake" | "bindgen"))
        .all(|d| d.optional)
}

/// Every package that the named member reaches through normal dependencies; `None` if it is absent.
fn reachable(metadata: &Metadata, from: &str) -> Option<BTreeSet<PackageId>> {
    let start = metadata.packages.iter().find(|p| p.name.as_str() == from)?;
    let resolve = metadata.resolve.as_ref()?;
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|n| (&n.id, n)).collect();
    let mut seen = BTreeSet::new();
    let mut next = vec![start.id.clone()];
    while let Some(id) = next.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        for dependency in nodes.get(&id).map(|n| n.deps.as_slice()).unwrap_or_default() {
            let normal = dependency.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
            let proc_macro = metadata.packages.iter().any(|p| {
                p.id == dependency.pkg && p.targets.iter().any(cargo_metadata::Target::is_proc_macro)
            });
            if normal && !proc_macro {
                next.push(dependency.pkg.clone());
            }
        }
    }
    Some(seen)
}

/// Whether the crate is really linked when the host (or, without one, the image) is built alone.
fn links(metadata: &Metadata, name: &str) -> bool {
    tree(metadata, "{p}").iter().any(|line| line.split(' ').next() == Some(name))
}

fn tokio_features(metadata: &Metadata) -> Vec<String> {
    let mut found = BTreeSet::new();
    for line in tree(metadata, "{p} features:{f}") {
        let Some((package, features)) = line.split_once(" features:") else { continue };
        if package.split(' ').next() == Some("tokio") {
            let features = features.split(' ').next().unwrap_or_default();
            found.extend(features.split(',').filter(|f| TOKIO_RUNTIME.contains(f)).map(str::to_owned));
        }
    }
    found.into_iter().collect()
}

/// `cargo tree` of the binary alone, one package a line. An unanswered question counts as a violation,
/// so an error shows as the forbidden thing being there.
fn tree(metadata: &Metadata, format: &str) -> Vec<String> {
    let member = [HOST, IMAGE]
        .into_iter()
        .find(|name| metadata.packages.iter().any(|p| p.name.as_str() == *name))
        .unwrap_or(IMAGE);
    let output =
        crate::tool::cargo(&["tree", "-p", member, "-e", "normal,no-proc-macro", "--prefix", "none"])
            .args(["--format", format])
            .current_dir(&metadata.workspace_root)
            .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
        }
        _ => FORBIDDEN.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
}
