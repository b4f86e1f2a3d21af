//! Who may depend on whom (DESIGN §3). Test-only dependencies are free: they reach no product.

use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata};

use super::{Violation, place};

/// A folder, and the folders its crates may use. The longest matching folder decides.
const ALLOWED: &[(&str, &[&str])] = &[
    ("enclave", &["enclave", "boundary", "attestation", "compiler/config"]),
    ("boundary", &["boundary"]),
    ("image-tool", &["attestation"]),
    ("attestation", &[]),
    ("compiler", &["compiler/config"]),
    ("compiler/config", &[]),
    ("sgx-emu", &[]),
    ("host", &["host", "boundary", "attestation", "sgx-emu"]),
    // The one place where enclave code is linked into a host: the native platform.
    ("host/launcher/native", &["host/services", "boundary", "attestation", "sgx-emu", "enclave"]),
    // It sees an enclave from outside only, as a file.
    ("host/launcher/image", &["host/services", "attestation", "boundary", "sgx-emu"]),
    ("client", &["attestation", "boundary/wire"]),
    // A tool that plays enclaves, machines and liars, for verifiers to judge.
    ("clients/vectors", &["attestation", "sgx-emu"]),
    ("cli", &["attestation", "client", "compiler", "boundary/wire"]),
    ("sdk", &["sdk"]),
    // Not part of any product: they look at everything from outside.
    ("tests", &["attestation", "boundary", "client", "compiler", "host", "image-tool", "sgx-emu", "enclave"]),
    ("fuzz", &["attestation", "boundary", "sgx-emu"]),
    ("benches", &["attestation", "boundary", "client", "compiler", "host", "sgx-emu", "enclave", "tests"]),
    (
        "xtask",
        &["attestation", "boundary", "client", "compiler", "host/services", "image-tool", "sgx-emu", "tests"],
    ),
];

/// Crates that must not link the launcher, even where `host` is allowed.
const LAUNCHER: &str = "host/launcher";

pub(super) fn check(root: &Path, metadata: &Metadata) -> Vec<Violation> {
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let from = place(root, package.manifest_path.as_std_path());
        let Some(allowed) = rule(&from) else {
            found.push(Violation::new("edges", &from, "no rule says what this crate may depend on"));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            let Some(path) = &dependency.path else { continue };
            let to = place(root, &path.as_std_path().join("Cargo.toml"));
            let permitted = allowed.iter().any(|folder| within(&to, folder));
            let launcher = within(&to, LAUNCHER) && !within(&from, "host");
            if !permitted || launcher {
                found.push(Violation::new(
                    "edges",
                    &from,
                    format!("depends on `{to}`; it may depend on {}", list(allowed)),
                ));
            }
        }
    }
    found
}

fn rule(from: &str) -> Option<&'static [&'static str]> {
    ALLOWED
        .iter()
        .filter(|(folder, _)| within(from, folder))
        .max_by_key(|(folder, _)| folder.len())
        .map(|(_, allowed)| *allowed)
}

fn within(path: &str, folder: &str) -> bool {
    path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn list(allowed: &[&str]) -> String {
    if allowed.is_empty() { "no other crate of this workspace".to_owned() } else { allowed.join(", ") }
}
