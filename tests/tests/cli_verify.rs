//! The command line tool verifies: a report, a policy of what it sees, a shell, files without a server.
//!
//! Required: exit code 0 only if the policy holds; with a policy no command talks to an enclave that does not pass;
//! nothing of a file that is inspected is taken for true.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use enclave_os_client::Load;
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess, program};
use scenarios::platform::Platform;
use serde_json::Value;

scenarios::on_each_platform!(
    a_report_and_an_exit_code_say_whether_the_policy_holds,
    what_is_seen_can_be_pinned_and_holds_until_it_changes,
    with_a_policy_no_command_talks_to_another_enclave,
    a_shell_verifies_and_then_takes_commands_and_json,
    files_are_shown_and_judged_without_a_server,
);

struct Scene {
    folder: tempfile::TempDir,
    host: HostProcess,
    policy: PathBuf,
}

impl Scene {
    /// An enclave with the example as `app`, and a policy that it passes.
    fn start(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host =
            HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
        let bytes = example::artifact(platform).unwrap();
        host.framed().unwrap().load(Load { name: "app".into(), bytes, ..Load::default() }).unwrap();
        let policy = folder.path().join("policy.toml");
        std::fs::write(&policy, host.verification_policy().unwrap().to_toml().unwrap()).unwrap();
        Scene { folder, host, policy }
    }

    fn address(&self) -> String {
        self.host.address().to_string()
    }

    /// The policy with another text in place of one of its own.
    fn altered(&self, name: &str, from: &str, to: &str) -> String {
        let text = std::fs::read_to_string(&self.policy).unwrap();
        assert!(text.contains(from), "{text}");
        let path = self.folder.path().join(name);
        std::fs::write(&path, text.replace(from, to)).unwrap();
        shown(&path)
    }

    fn other_measurement(&self) -> String {
        let own: String = self.host.mrenclave().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        self.altered("other.toml", &own, &"07".repeat(32))
    }
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("enclave-os").unwrap());
    command.args(arguments);
    for variable in ["ENCLAVE_OS_CA", "ENCLAVE_OS_SERVER", "ENCLAVE_OS_VERIFY_POLICY"] {
        command.env_remove(variable);
    }
    command
}

fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    texts(&command(arguments).output().unwrap())
}

fn a_report_and_an_exit_code_say_whether_the_policy_holds(platform: Platform) {
    let scene = Scene::start(platform);
    let (address, policy) = (scene.address(), shown(&scene.policy));
    for tier in ["challenge", "channel"] {
        let (code, report, errors) = run(&["verify", &address, "--policy", &policy, "--tier", tier]);
        assert_eq!(code, 0, "{report}{errors}");
        assert!(report.contains("verified") && report.contains(tier), "{report}");
        assert!(report.contains("DEVELOPMENT") && report.contains("app at /app"), "{report}");
        assert!(!errors.contains("not verified"), "{errors}");
    }
    let (code, report, _) = run(&["verify", &address, "--policy", &policy, "--json", "--app", "app"]);
    let verdict: Value = serde_json::from_str(&report).unwrap();
    assert!(code == 0 && verdict["accepted"] == true && verdict["tier"] == "channel", "{verdict}");

    let (code, report, errors) = run(&["verify", &address, "--policy", &scene.other_measurement()]);
    assert_eq!(code, 4, "{report}{errors}");
    assert!(report.contains("refused") && report.contains("✘ measurement"), "{report}");
    let (code, report, _) = run(&["verify", &address, "--policy", &scene.other_measurement(), "--json"]);
    let verdict: Value = serde_json::from_str(&report).expect("one document");
    assert!(code == 4 && verdict["accepted"] == false, "{verdict}");
    let (code, report, _) = run(&["verify", &address, "--policy", &policy, "--tier", "certificate"]);
    assert!(code == 4 && report.contains("✘ tier"), "{report}");
    let (code, report, _) = run(&["verify", &address, "--policy", &policy, "--app", "another"]);
    assert!(code == 4 && report.contains("✘ app"), "{report}");

    let (code, _, errors) = run(&["verify", &address]);
    assert!(code == 2 && errors.contains("--policy FILE is missing"), "{errors}");
    let unknown = scene.altered("unknown.toml", "format = 1", "format = 1\nverify = false");
    let (code, _, errors) = run(&["verify", &address, "--policy", &unknown]);
    assert!(code == 2 && errors.contains("verify"), "{errors}");
}

fn what_is_seen_can_be_pinned_and_holds_until_it_changes(platform: Platform) {
    let scene = Scene::start(platform);
    let address = scene.address();
    let pinned = shown(&scene.folder.path().join("pinned.toml"));
    let (code, report, errors) = run(&["verify", &address, "--app", "app", "--write-policy", &pinned]);
    assert_eq!(code, 0, "{report}{errors}");
    assert!(errors.contains("Compare its MRENCLAVE"), "{errors}");
    assert_eq!(run(&["verify", &address, "--policy", &pinned]).0, 0);

    let text = r#"(component (core module $m (func (export "one") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func (export "one") (result u32) (canon lift (core func $i "one"))))"#;
    let target = platform.target().unwrap_or(enclave_os_compiler::NATIVE_TARGET);
    let bytes = enclave_os_compiler::compile(&wat::parse_str(text).unwrap(), target).unwrap();
    scene.host.framed().unwrap().load(Load { name: "app".into(), bytes, ..Load::default() }).unwrap();
    let (code, report, _) = run(&["verify", &address, "--policy", &pinned]);
    assert!(code == 4 && report.contains("✘ code-hash"), "{report}");
}

fn with_a_policy_no_command_talks_to_another_enclave(platform: Platform) {
    let scene = Scene::start(platform);
    let (address, policy, other) = (scene.address(), shown(&scene.policy), scene.other_measurement());
    let (code, printed, errors) = run(&["--server", &address, "--policy", &policy, "call", "app", "hello"]);
    assert_eq!((code, printed.as_str()), (0, "\"Hello, World!\"\n"), "{errors}");
    assert_eq!(errors, "", "nothing is left to warn of");
    for command in [vec!["call", "app", "hello"], vec!["list"], vec!["schema", "app"], vec!["status"]] {
        let arguments = [&["--server", &address, "--policy", &other][..], &command].concat();
        let (code, printed, errors) = run(&arguments);
        assert_eq!(code, 4, "{command:?}: {errors}");
        assert!(printed.is_empty() && errors.contains("measurement"), "{command:?}: {printed}{errors}");
    }
    let (_, _, errors) = run(&["--server", &address, "list"]);
    assert!(errors.contains("warning: not verified: "), "{errors}");
}

fn a_shell_verifies_and_then_takes_commands_and_json(platform: Platform) {
    let scene = Scene::start(platform);
    let (address, policy) = (scene.address(), shown(&scene.policy));
    let shell = |policy: &str, script: &str| {
        let mut child = command(&["shell", &address, "--policy", policy])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A shell that refuses reads nothing.
        drop(child.stdin.take().unwrap().write_all(script.as_bytes()));
        texts(&child.wait_with_output().unwrap())
    };
    let script = "call app 'kv-store(\"greeting\", \"hi\")'\n\n{\"wasm_call\":{\"app\":\"app\",\"function\":\
                  \"kv-read\",\"params\":[\"greeting\"]}}\n\"Ping\"\nquit\nlist\n";
    let (code, printed, errors) = shell(&policy, script);
    assert_eq!(code, 0, "{printed}{errors}");
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], "\"stored: greeting\"");
    let read: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(read["returns"][0]["value"], "hi");
    assert_eq!(lines[2..], ["\"Pong\""], "what follows `quit` is not read");
    let (code, printed, errors) = shell(&policy, "verify\n");
    assert!(code == 0 && printed.contains("verified"), "{printed}{errors}");

    let (code, _, errors) = shell(&policy, "call app 'no-such-function()'\n{not json}\n");
    assert!(code == 2 && errors.contains("no function") && errors.contains("not JSON"), "{code}: {errors}");
    let (code, _, errors) = shell(&policy, "--server elsewhere:1 list\n");
    assert!(code == 2 && errors.contains("started with"), "{code}: {errors}");
    let (code, printed, errors) = shell(&scene.other_measurement(), "list\n");
    assert!(code == 4 && printed.is_empty() && errors.contains("measurement"), "{code}: {printed}{errors}");
}

fn files_are_shown_and_judged_without_a_server(platform: Platform) {
    let scene = Scene::start(platform);
    let mut http = scene.host.connector().http().unwrap();
    let evidence = http.evidence().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = scene.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        shown(&path)
    };
    let document = file("evidence.json", evidence.to_json().unwrap().as_bytes());
    let leaf = file("leaf.der", &evidence.certificate_chain[0]);
    let quote = file("quote.bin", evidence.evidence_quote.as_ref().unwrap());
    let measured: String = scene.host.mrenclave().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    for path in [&document, &leaf, &quote] {
        let (code, shown, errors) = run(&["inspect", path]);
        assert!(code == 0 && shown.contains(&measured), "{path}: {shown}{errors}");
        assert!(errors.contains("nothing of this is verified"), "{errors}");
        assert_eq!(run(&["inspect", path, "--json"]).0, 0);
    }
    let (code, _, errors) = run(&["inspect", &file("nonsense", b"nonsense")]);
    assert!(code == 2 && errors.contains("cannot be read"), "{errors}");

    let offline = scene.altered("offline.toml", "min_tier = \"challenge\"", "min_tier = \"certificate\"");
    let (code, report, errors) = run(&["verify", "--evidence", &document, "--policy", &offline]);
    assert_eq!(code, 0, "{report}{errors}");
    let (code, report, _) =
        run(&["verify", "--evidence", &file("cut.json", b"{\"format\":1}"), "--policy", &offline]);
    assert!(code == 4 && report.contains("✘ evidence-format"), "{report}");
    let (code, report, _) = run(&["verify", "--evidence", &document, "--policy", &shown(&scene.policy)]);
    assert!(code == 4 && report.contains("✘ tier"), "{report}");
}
