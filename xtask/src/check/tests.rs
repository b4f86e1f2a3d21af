//! One planted violation per rule must be found, and the tree without it must pass.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Violation, all, metadata};

/// A small workspace that keeps every rule.
fn house() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let members = [
        ("enclave/image", "enclave-image", "enclave-server = { path = \"../server\" }"),
        ("enclave/server", "enclave-server", "boundary-ring = { path = \"../../boundary/ring\" }"),
        ("boundary/ring", "boundary-ring", ""),
        ("host/services", "host-services", ""),
        ("host/launcher", "host-launcher", "launcher-native = { path = \"native\" }"),
        ("host/launcher/native", "launcher-native", "enclave-image = { path = \"../../../enclave/image\" }"),
        ("cli", "cli", ""),
    ];
    let list = members.map(|(path, ..)| format!("{path:?}")).join(", ");
    write(root, "Cargo.toml", &format!("[workspace]\nresolver = \"3\"\nmembers = [{list}]\n"));
    for (path, name, dependencies) in members {
        write(
            root,
            &format!("{path}/Cargo.toml"),
            &format!(
                "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
                 license = \"AGPL-3.0-or-later\"\n[dependencies]\n{dependencies}\n"
            ),
        );
        let allowed = path == "boundary/ring";
        write(root, &format!("{path}/src/lib.rs"), if allowed { "" } else { "#![forbid(unsafe_code)]\n" });
    }
    folder
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn add(root: &Path, path: &str, text: &str) {
    let old = fs::read_to_string(root.join(path)).unwrap_or_default();
    write(root, path, &format!("{old}{text}\n"));
}

fn violations(root: &Path) -> Vec<Violation> {
    let root = root.canonicalize().unwrap();
    all(&root, &metadata(&root).unwrap()).unwrap()
}

/// Plants one thing and expects exactly that rule to speak, with these words.
fn planted(rule: &str, words: &str, plant: impl FnOnce(&Path)) {
    let folder = house();
    plant(folder.path());
    let found = violations(folder.path());
    assert!(
        found.iter().any(|v| v.rule == rule && v.to_string().contains(words)),
        "expected `{rule}` to say `{words}`, found {found:#?}"
    );
}

#[test]
fn a_house_that_keeps_the_rules_passes() {
    let folder = house();
    let found = violations(folder.path());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn enclave_code_on_a_host_crate() {
    planted("edges", "depends on `host/services`", |root| {
        add(root, "enclave/server/Cargo.toml", "host-services = { path = \"../../host/services\" }");
    });
}

#[test]
fn host_code_on_an_enclave_crate() {
    planted("edges", "depends on `enclave/server`", |root| {
        add(root, "host/services/Cargo.toml", "enclave-server = { path = \"../../enclave/server\" }");
    });
}

#[test]
fn the_cli_on_the_launcher() {
    planted("edges", "depends on `host/launcher`", |root| {
        add(root, "cli/Cargo.toml", "host-launcher = { path = \"../host/launcher\" }");
    });
}

#[test]
fn boundary_on_enclave() {
    planted("edges", "depends on `enclave/extra`", |root| {
        extra(root, "enclave/extra", "enclave-extra", "AGPL-3.0-or-later");
        add(root, "boundary/ring/Cargo.toml", "enclave-extra = { path = \"../../enclave/extra\" }");
    });
}

#[test]
fn a_crate_nobody_made_a_rule_for() {
    planted("edges", "no rule says", |root| extra(root, "attic", "attic", "AGPL-3.0-or-later"));
}

#[test]
fn the_way_out_of_an_image_used_elsewhere() {
    let way_out = "use std::os::fortanix_sgx::usercalls::raw::do_usercall;";
    planted("std", "uses std::os", |root| add(root, "enclave/image/src/lib.rs", way_out));
    planted("std", "uses std::os", |root| {
        add(root, "enclave/image/src/main.rs", &format!("#![forbid(unsafe_code)]\n{way_out}"));
    });
    // Even the crate that has it has it in its one file, and nothing else of that module.
    let platform = |root: &Path| extra(root, "enclave/platform", "enclave-platform", "AGPL-3.0-or-later");
    planted("std", "enclave/platform/src/lib.rs:", |root| {
        platform(root);
        add(root, "enclave/platform/src/lib.rs", way_out);
    });
    planted("std", "enclave/platform/src/sgx.rs:1", |root| {
        platform(root);
        add(root, "enclave/platform/src/sgx.rs", "use std::os::unix::fs::PermissionsExt;");
    });
    planted("std", "enclave/platform/src/sgx/enclu.rs:1", |root| {
        platform(root);
        add(root, "enclave/platform/src/sgx/enclu.rs", way_out);
    });
}

#[test]
fn a_process_in_the_entry_point() {
    planted("std", "uses std::process", |root| {
        add(
            root,
            "enclave/image/src/main.rs",
            "#![forbid(unsafe_code)]\nfn main() { std::process::exit(1) }",
        );
    });
    let folder = house();
    add(
        folder.path(),
        "enclave/image/src/main.rs",
        "#![forbid(unsafe_code)]\nfn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }",
    );
    let found = violations(folder.path());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn something_that_only_the_image_links() {
    planted("closure", "links `ring`", |root| {
        extra(root, "enclave/ring", "ring", "AGPL-3.0-or-later");
        let only = "[target.'cfg(target_env = \"sgx\")'.dependencies]\nring = { path = \"../ring\" }";
        add(root, "enclave/server/Cargo.toml", only);
    });
}

#[test]
fn a_second_crypto_library_in_the_enclave() {
    planted("closure", "links `ring`", |root| {
        extra(root, "enclave/ring", "ring", "AGPL-3.0-or-later");
        add(root, "enclave/server/Cargo.toml", "ring = { path = \"../ring\" }");
    });
}

#[test]
fn a_compiler_in_the_enclave() {
    planted("closure", "links `cranelift-codegen`", |root| {
        extra(root, "enclave/codegen", "cranelift-codegen", "AGPL-3.0-or-later");
        add(root, "enclave/server/Cargo.toml", "cranelift-codegen = { path = \"../codegen\" }");
    });
}

#[test]
fn a_tokio_runtime_in_the_enclave() {
    planted("closure", "links tokio with `rt`", |root| {
        extra(root, "enclave/tokio", "tokio", "AGPL-3.0-or-later");
        add(root, "enclave/tokio/Cargo.toml", "[features]\nrt = []\ndefault = [\"rt\"]");
        add(root, "enclave/server/Cargo.toml", "tokio = { path = \"../tokio\" }");
    });
}

#[test]
fn c_code_in_the_enclave() {
    planted("closure", "`enclave-server` compiles C code", |root| {
        extra(root, "boundary/cc", "cc", "AGPL-3.0-or-later");
        add(root, "enclave/server/Cargo.toml", "[build-dependencies]\ncc = { path = \"../../boundary/cc\" }");
    });
}

#[test]
fn absent_parts_of_std() {
    for (code, words) in [
        ("use std::fs;", "uses std::fs"),
        ("use std::{io, fs::File};", "uses std::fs"),
        ("use std::net::TcpStream;", "uses std::net::Tcp"),
        ("pub fn f() { std::process::exit(1) }", "uses std::process"),
        ("pub fn f() -> Option<String> { std::env::var(\"A\").ok() }", "uses std::env"),
        ("use std::time::{Duration, Instant};", "uses std::time::Instant"),
        ("use std::time::SystemTime as T;", "uses std::time::SystemTime"),
        ("use std::time::*;", "hides what of it is used"),
        ("mod tests;", "must be #[cfg(test)]"),
    ] {
        planted("std", words, |root| {
            add(root, "enclave/server/src/lib.rs", code);
            write(root, "enclave/server/src/tests.rs", "");
        });
    }
}

#[test]
fn what_tests_use_is_free() {
    let folder = house();
    add(folder.path(), "enclave/server/src/lib.rs", "#[cfg(test)]\nmod tests { use std::fs; }");
    add(folder.path(), "enclave/server/src/lib.rs", "use std::net::{IpAddr, SocketAddr};");
    let found = violations(folder.path());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn unsafe_not_forbidden() {
    planted("unsafe", "lacks #![forbid(unsafe_code)]", |root| write(root, "cli/src/lib.rs", ""));
}

#[test]
fn unsafe_outside_its_one_file() {
    planted("unsafe", "outside its one file", |root| {
        add(root, "boundary/ring/src/lib.rs", "pub fn f(p: *const u8) -> u8 { unsafe { *p } }");
    });
}

#[test]
fn a_patched_dependency() {
    planted("manifest", "nothing is patched", |root| {
        add(root, "Cargo.toml", "[patch.crates-io]");
    });
}

#[test]
fn a_wrong_licence() {
    planted("manifest", "licence `Proprietary`", |root| {
        extra(root, "enclave/extra", "enclave-extra", "Proprietary");
    });
    planted("manifest", "must be AGPL-3.0-or-later", |root| {
        extra(root, "enclave/extra", "enclave-extra", "MIT")
    });
}

#[test]
fn a_file_too_long_to_read_in_one_sitting() {
    planted("length", "longer than", |root| {
        add(root, "cli/src/lib.rs", &"// line\n".repeat(1001));
    });
}

fn extra(root: &Path, path: &str, name: &str, licence: &str) {
    let text = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    write(root, "Cargo.toml", &text.replace("members = [", &format!("members = [{path:?}, ")));
    write(
        root,
        &format!("{path}/Cargo.toml"),
        &format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"{licence}\"\n"
        ),
    );
    write(root, &format!("{path}/src/lib.rs"), "#![forbid(unsafe_code)]\n");
}
