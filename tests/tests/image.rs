//! What is special about a signed image: whom it belongs to, what it was signed as, how often it leaves.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use boundary_wire::client::{Load, Params};
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, program};
use scenarios::image;
use scenarios::platform::Platform;

const CLIENTS: u32 = 16;
const CALLS: u32 = 200;

/// How a host that must not start ended: its exit code and what it printed.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(program("enclave-os-host").unwrap())
        .args(["--port", "0", "--no-restart"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), text)
}

/// A copy of an image, to be damaged.
fn copy(image: &Path, folder: &Path) -> PathBuf {
    for ending in ["sgxs", "sig", "json"] {
        fs::copy(image.with_extension(ending), folder.join("enclave-os").with_extension(ending)).unwrap();
    }
    folder.join("enclave-os.sgxs")
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

/// Bug: each message costs a transition, as in an enclave that calls out to read and to write.
/// Required: under load less than one exit per request; the host says how many there were of each kind.
#[test]
fn under_load_there_is_less_than_one_exit_per_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = HostOptions::development(Platform::Emulated, folder.path().join("data"));
    options.arguments = vec!["--workers".into(), "1".into()];
    let host = HostProcess::start(&options).unwrap();
    let bytes = example::artifact(Platform::Emulated).unwrap();
    host.framed().unwrap().load(Load { name: "app".into(), bytes, ..Load::default() }).unwrap();
    let connector = host.connector();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = connector.framed().unwrap();
                for _ in 0..CALLS {
                    client.call("app", "hello", Params::default()).unwrap();
                }
            });
        }
    });
    let output = host.stop_with_output().unwrap();
    let line = output.lines().find_map(|line| line.split_once("exits from the enclave: ")).unwrap().1;
    let kinds: Vec<(&str, u32)> = line
        .split(", ")
        .map(|kind| kind.rsplit_once(' ').map(|(name, count)| (name, count.parse().unwrap())).unwrap())
        .collect();
    let exits: u32 = kinds.iter().map(|(_, count)| count).sum();
    println!("{} calls, {exits} exits: {line}", CLIENTS * CALLS);
    assert!(exits < CLIENTS * CALLS, "{exits} exits for {} calls: {line}", CLIENTS * CALLS);
    assert!(kinds.iter().any(|(name, count)| *name == "wait" && *count > 0), "{line}");
}

/// Bug: an operator changes the policy of an image that others have approved, or a file is damaged.
/// Required: EINIT measures another enclave than was signed, and the host says so.
#[test]
fn an_image_that_was_changed_after_signing_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let good = image::with_policy("development = true\n").unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let start = |image: &Path| {
        refused(&["--platform", "emulated", "--image", image.to_str().unwrap(), "--data-dir", data])
    };

    let image = copy(&good, folder.path());
    // The policy page holds canonical JSON: `true` becomes one of the same length.
    change(&image, |bytes| {
        let at = find(bytes, br#""development":true"#).unwrap();
        bytes[at + 14..at + 18].copy_from_slice(b"null");
    });
    let (code, why) = start(&image);
    assert_eq!(code, 6, "{why}");
    assert!(why.contains("MRENCLAVE") || why.contains("measure"), "{why}");

    let image = copy(&good, folder.path());
    change(&image, |bytes| {
        let middle = bytes.len() / 3;
        let at = bytes[middle..].iter().position(|byte| *byte == 0xcc).unwrap() + middle;
        bytes[at] ^= 1;
    });
    let (code, why) = start(&image);
    assert_eq!(code, 6, "{why}");

    let image = copy(&good, folder.path());
    change(&image.with_extension("sig"), |sig| sig[600] ^= 1);
    let (code, why) = start(&image);
    assert_eq!(code, 6, "{why}");
    assert!(why.contains("signature") || why.contains("SIGSTRUCT"), "{why}");

    let image = copy(&good, folder.path());
    change(&image, |bytes| bytes.truncate(bytes.len() / 2));
    assert_eq!(start(&image).0, 6);
    fs::remove_file(image.with_extension("sig")).unwrap();
    let (code, why) = start(&image);
    assert_eq!(code, 6, "{why}");
    assert!(why.contains("enclave-os.sig"), "{why}");
}

/// Bug: the host gives an image a policy, or one platform's or image's data to another.
/// Required: refused, with both named.
#[test]
fn data_belongs_to_one_platform_and_one_image() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let options = HostOptions::development(Platform::Emulated, &data);
    HostProcess::start(&options).unwrap().stop().unwrap();
    let ours = image::with_policy(&options.policy).unwrap();
    let other = image::with_policy("development = true\nserved_names = [\"other.example.com\"]\n").unwrap();
    let data_dir = data.to_str().unwrap();

    let (code, why) = refused(&["--platform", "native", "--data-dir", data_dir]);
    assert_eq!(code, 4, "{why}");
    assert!(why.contains("emulated") && why.contains("native"), "{why}");

    let other_image = ["--platform", "emulated", "--image", other.to_str().unwrap(), "--data-dir", data_dir];
    let (code, why) = refused(&other_image);
    assert_eq!(code, 4, "{why}");
    for image in [&ours, &other] {
        assert!(why.contains(&mrenclave(image)), "{why}");
    }
    // A host that lies about whose data it is: the enclave finds out by itself.
    fs::write(data.join("platform"), format!("emulated {}\n", mrenclave(&other))).unwrap();
    let (code, why) = refused(&other_image);
    assert_eq!(code, 7, "{why}");
    for image in [&ours, &other] {
        assert!(why.contains(&mrenclave(image)), "{why}");
    }

    let policy = folder.path().join("policy.toml");
    fs::write(&policy, "development = true\n").unwrap();
    let (code, why) = refused(&[
        "--platform",
        "emulated",
        "--image",
        ours.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
    ]);
    assert_eq!(code, 2, "{why}");
    assert!(why.contains("cargo xtask image --policy"), "{why}");
}

fn mrenclave(image: &Path) -> String {
    let manifest = fs::read_to_string(image.with_extension("json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    manifest["mrenclave"].as_str().unwrap().to_owned()
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
