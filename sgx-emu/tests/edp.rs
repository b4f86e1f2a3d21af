//! Programs that are not ours run, and their images measure what EDP's library says.
//!
//! An ordinary EDP program is compiled here, and run by EDP's own runner from crates.io; the image of the crate
//! `report-test` is taken as it was published. What these need lies under `tests/edp`, outside the workspace.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sgx_emu::{PAGE_SIZE, Secinfo, Secs, Sgxs, UninitializedEnclave, attributes};
use sgxs::crypto::SgxHashOps;
use sgxs::sigstruct::EnclaveHash;
use sha2::{Digest, Sha256};

const TARGET: &str = "x86_64-fortanix-unknown-sgx";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("edp")
}

fn key() -> PathBuf {
    root().join("image-tool/tests/keys/test-only.pem")
}

/// A command without what is set for the build of these tests.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        let network = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"];
        let of_cargo = text.starts_with("CARGO") && !network.iter().any(|prefix| text.starts_with(prefix));
        if of_cargo || text == "RUSTFLAGS" || text == "RUSTC_WRAPPER" {
            command.env_remove(&variable);
        }
    }
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    output
}

fn rustc(arguments: &[&str]) -> String {
    let output = done(tool("rustc").args(arguments).current_dir(root()));
    String::from_utf8(output.stdout).unwrap()
}

/// The compiled program, and the folder that its runner is in.
fn programs() -> (PathBuf, PathBuf) {
    let sysroot = PathBuf::from(rustc(&["--print", "sysroot"]).trim());
    assert!(
        sysroot.join("lib/rustlib/src/rust/library").is_dir(),
        "std's sources are missing: `rustup component add rust-src` adds them"
    );
    let about = rustc(&["-vV"]);
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let linker = sysroot.join("lib/rustlib").join(host).join("bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: OsString =
        std::env::join_paths(std::iter::once(linker).chain(std::env::split_paths(&path))).unwrap();

    // std asks the linker for an unwinder, even where panics abort.
    let unwind = folder().join("unwind");
    std::fs::create_dir_all(&unwind).unwrap();
    // Each test compiles its own, and the last one stays: compilers in one folder would disturb each other.
    let draft = tempfile::tempdir_in(&unwind).unwrap();
    let archive = draft.path().join("libunwind.a");
    done(
        tool("rustc")
            .args(["--edition", "2024", "--crate-name", "unwind", "--crate-type", "staticlib"])
            .args(["--target", TARGET, "-Cpanic=abort", "-o"])
            .args([&archive, &root().join("enclave/image/unwind/unwind.rs")])
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(root()),
    );
    std::fs::rename(archive, unwind.join("libunwind.a")).unwrap();

    let build = |manifest: &str| {
        let mut cargo = tool("cargo");
        let manifest = root().join("sgx-emu/tests/edp").join(manifest).join("Cargo.toml");
        cargo.args(["build", "--manifest-path"]).arg(manifest);
        cargo.current_dir(root()).env("CARGO_TARGET_DIR", folder());
        cargo
    };
    done(build("runner").arg("--bins"));
    done(
        build("hello")
            .args(["--release", "--target", TARGET, "-Zbuild-std=std,panic_abort"])
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", format!("-L{}", unwind.display()))
            .env("PATH", path),
    );
    (folder().join(TARGET).join("release/hello"), folder().join("debug"))
}

/// The image that the crate `report-test` carries.
fn foreign_image() -> PathBuf {
    let manifest = root().join("sgx-emu/tests/edp/runner/Cargo.toml");
    let output = done(
        tool("cargo")
            .args(["metadata", "--format-version", "1", "--features", "foreign-image"])
            .arg("--manifest-path")
            .arg(manifest)
            .current_dir(root()),
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "report-test").unwrap();
    let manifest = Path::new(package["manifest_path"].as_str().unwrap());
    manifest.with_file_name("enclave").join("report.sgxs")
}

#[test]
fn an_edp_program_with_threads_runs_under_edps_own_runner() {
    let (program, runner) = programs();
    let run = |argument: &str| {
        let image = folder().join(format!("run-{argument}.elf"));
        std::fs::copy(&program, &image).unwrap();
        let mut command = Command::new(runner.join("edp-runner"));
        let output = command.args([image, key()]).arg(argument).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let said = |name| format!("hello, {name}\nworkers [1, 2, 3] made 45150\n");

    let (success, out, err) = run("world");
    assert!(success, "{err}");
    assert_eq!(out, said("world"));
    let (success, out, err) = run("panic");
    assert!(!success && err.contains("Enclave panicked"), "{err}");
    assert_eq!(out, said("panic"));
    let (success, out, err) = run("fault");
    assert!(
        !success && err.contains("exception_vector: 14") && err.contains("exception_addr: 0x4000"),
        "{err}"
    );
    assert_eq!(out, said("fault"));
}

#[test]
fn a_published_image_that_is_not_ours_runs() {
    let (_, runner) = programs();
    let output = done(Command::new(runner.join("foreign-report")).args([foreign_image(), key()]));
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("a report of "));
}

/// The hash that EDP's library asks its user for.
struct Hash(Sha256);

impl SgxHashOps for Hash {
    fn new() -> Self {
        Self(Sha256::new())
    }
    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }
    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// What our leaves make of a file.
fn measured(file: &[u8]) -> [u8; 32] {
    let sgxs = Sgxs::parse(file).unwrap();
    let mut enclave = UninitializedEnclave::ecreate(Secs {
        size: sgxs.size,
        ssa_frame_size: sgxs.ssa_frame_size,
        attributes: attributes(sgx_emu::ATTRIBUTE_MODE64BIT, 7),
        misc_select: 0,
    })
    .unwrap();
    for page in sgxs.pages() {
        let page = page.unwrap();
        let mut content = [0; PAGE_SIZE];
        for chunk in page.chunks() {
            let at = (chunk.offset - page.offset) as usize;
            content[at..at + chunk.data.len()].copy_from_slice(chunk.data);
        }
        enclave.eadd(page.offset, Secinfo::from_bytes(&page.secinfo).unwrap(), &mut content).unwrap();
        for chunk in page.chunks().filter(|chunk| chunk.measured) {
            enclave.eextend(chunk.offset, chunk.data).unwrap();
        }
    }
    enclave.mrenclave()
}

/// The program compiled here, with heap, stacks and threads; the same without its last page; the published one.
#[test]
fn three_images_measure_what_edps_library_says() {
    let (program, runner) = programs();
    let laid_out = folder().join("measured.elf");
    std::fs::copy(&program, &laid_out).unwrap();
    done(Command::new(runner.join("edp-runner")).args([&laid_out, &key()]).arg("nobody"));
    let image = std::fs::read(laid_out.with_extension("sgxs")).unwrap();
    // The last page is a state save area, unmeasured: one block.
    let shorter = image[..image.len() - 64].to_vec();
    let foreign = std::fs::read(foreign_image()).unwrap();
    let mut seen = Vec::new();
    for file in [image, shorter, foreign] {
        let theirs = EnclaveHash::from_stream::<_, Hash>(&mut &file[..]).unwrap().hash();
        assert_eq!(measured(&file), theirs);
        assert!(!seen.contains(&theirs));
        seen.push(theirs);
    }
}
