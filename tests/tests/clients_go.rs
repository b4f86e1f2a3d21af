//! The Go client (`clients/go`): its own tests, and against a running enclave. Where the system has no Go that
//! is new enough, one is installed under `target/`, as the client's `toolchain.txt` pins it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, workspace};
use scenarios::platform::Platform;
use sgx_emu::quoting::DevelopmentPki;
use time::OffsetDateTime;

scenarios::on_each_platform!(it_verifies_and_calls_a_running_enclave, the_printed_command_runs);

#[test]
fn its_own_tests_and_the_shared_vectors_pass() {
    let unformatted = run(go_tool("gofmt").arg("-l").args(sources(&client())));
    assert_eq!(unformatted, "", "`gofmt -w` mends these");
    run(go().args(["vet", "./..."]));
    run(go().args(["test", "./..."]));
}

/// `enclaveos/live_test.go` and `live_refused_test.go`: every tier, native values, HTTP, settings, evidence, refusals.
fn it_verifies_and_calls_a_running_enclave(platform: Platform) {
    let scene = Scene::new(platform);
    let component = scene.folder.path().join("example.cwasm");
    fs::write(&component, example::artifact(platform).unwrap()).unwrap();
    let output = go()
        .args(["test", "./enclaveos", "-run", "^TestLive", "-count=1", "-v"])
        .env("ENCLAVE_OS_ADDRESS", scene.host.address().to_string())
        .env("ENCLAVE_OS_POLICY", &scene.policy)
        .env("ENCLAVE_OS_COMPONENT", &component)
        .output()
        .unwrap();
    let printed = finished(&output, &scene.host.output());
    assert!(printed.contains("--- PASS: TestLiveCallsAtEveryTier"), "{printed}");
    assert!(!printed.contains("--- SKIP"), "{printed}");
}

/// `go run . --host … --port …`, as the specification prints it, and under a policy.
fn the_printed_command_runs(platform: Platform) {
    let scene = Scene::new(platform);
    let commands = "\"Ping\"\n{\"wasm_list\":{}}\n";
    let answers = "\"Pong\"\n{\n  \"status\": \"apps\",\n  \"apps\": []\n}\n";

    let output = scene.command(&[], commands);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("WARNING: not verified against a policy"), "{told}");
    assert_eq!(finished(&output, &scene.host.output()), answers);

    let policy = scene.folder.path().join("policy.toml");
    fs::write(&policy, &scene.policy).unwrap();
    let output = scene.command(&["--policy", text(&policy)], commands);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("the policy holds, tier channel"), "{told}");
    assert_eq!(finished(&output, &scene.host.output()), answers);

    fs::write(&policy, scene.policy.replace(&scene.mrenclave, &"00".repeat(32))).unwrap();
    let output = scene.command(&["--policy", text(&policy)], commands);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(told.contains("measurement: "), "{told}");
}

/// A running host under a development PKI of its own.
struct Scene {
    folder: tempfile::TempDir,
    host: HostProcess,
    mrenclave: String,
    /// The text of a policy that names the development root and the enclave that runs.
    policy: String,
}

impl Scene {
    fn new(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pki = folder.path().join("pki");
        let root =
            DevelopmentPki::open_or_create(&pki, OffsetDateTime::now_utc()).unwrap().root_fingerprint();
        let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut options = HostOptions::development(platform, folder.path().join("data"));
        options.arguments.extend(["--dev-pki".to_owned(), text(&pki).to_owned()]);
        let host = HostProcess::start(&options).unwrap();
        let line = host.ready_line();
        let (_, measured) = line.split_once("MRENCLAVE ").expect(line);
        let mrenclave = measured.get(..64).expect(line).to_owned();
        let policy = format!(
            "format = 1\n[roots]\ndevelopment = [\"{root}\"]\n[enclave]\nmrenclave = [\"{mrenclave}\"]\n"
        );
        Scene { folder, host, mrenclave, policy }
    }

    /// Runs the client's command with these arguments and this input.
    fn command(&self, arguments: &[&str], input: &str) -> Output {
        let address = self.host.address();
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut child = go()
            .args(["run", ".", "--host", &host, "--port", &port])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A refused enclave ends the command before it reads; then there is nobody to write to.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }
}

fn client() -> PathBuf {
    workspace().join("clients/go")
}

/// The client's own packages, without what is vendored.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| {
            !path.ends_with("vendor") && (path.is_dir() || path.extension() == Some("go".as_ref()))
        })
        .collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in Unicode")
}

fn go() -> Command {
    go_tool("go")
}

/// A program of the toolchain, in the client's folder, without a network.
fn go_tool(name: &str) -> Command {
    let mut tool = Command::new(toolchain().map_or_else(|| name.into(), |folder| folder.join(name)));
    tool.current_dir(client())
        .env("GOCACHE", target().join("clients-go/cache"))
        .env("GOFLAGS", "-mod=vendor")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local");
    tool
}

/// The folder of an installed toolchain; none if the system's will do.
fn toolchain() -> Option<PathBuf> {
    let system =
        Command::new("go").args(["list", "./..."]).current_dir(client()).env("GOTOOLCHAIN", "local").output();
    let gofmt = Command::new("gofmt").arg("-h").output();
    if system.is_ok_and(|output| output.status.success()) && gofmt.is_ok() {
        return None;
    }
    let folder = target().join("clients-go");
    fs::create_dir_all(&folder).unwrap();
    // Tests are processes of their own: one of them installs it, the others wait.
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let pinned = client().join("toolchain.txt");
    let (made, complete) = (folder.join("toolchain"), folder.join("toolchain.complete"));
    let wanted = fs::read(&pinned).unwrap();
    if fs::read(&complete).ok().as_ref() != Some(&wanted) {
        if made.exists() {
            fs::remove_dir_all(&made).unwrap();
        }
        let venv = Command::new("python3").args(["-m", "venv"]).arg(&made).output();
        finished(
            &venv.expect("Go, or python3 with venv to install it: use the system's package manager"),
            "",
        );
        let mut pip = Command::new(made.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
        ]);
        run(pip.args(["--require-hashes", "--requirement"]).arg(&pinned));
        fs::write(&complete, &wanted).unwrap();
    }
    let libraries = fs::read_dir(made.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let found = libraries.map(|library| library.join("site-packages/go/bin")).find(|folder| folder.is_dir());
    Some(found.expect("the package has the programs of Go in go/bin"))
}

/// The build folder: the test runs in `<target>/<profile>/deps`.
fn target() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(3).expect("a build folder").to_path_buf()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    finished(&output, "")
}

/// What it printed; anything but success fails the test.
fn finished(output: &Output, beside: &str) -> String {
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}\n{beside}");
    printed.into_owned()
}
