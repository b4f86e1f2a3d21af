//! The command line tool against the real host, as a person and as a script use it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::path::Path;
use std::process::{Command, Output};

use scenarios::host::{HostOptions, HostProcess, guest, program};
use scenarios::platform::Platform;
use serde_json::{Value, json};

scenarios::on_each_platform!(
    an_application_from_component_to_unload,
    wave_is_the_same_on_both_ways,
    loading_is_closed_unless_the_policy_opens_it,
    a_pinned_authority_is_checked,
);

struct Cli {
    server: String,
}

impl Cli {
    fn new(host: &HostProcess) -> Self {
        Self { server: host.address().to_string() }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(program("enclave-os").unwrap())
            .args(arguments)
            .env("ENCLAVE_OS_SERVER", &self.server)
            .env_remove("ENCLAVE_OS_CA")
            .env_remove("ENCLAVE_OS_VERIFY_POLICY")
            .env_remove("ENCLAVE_OS_KEY")
            .output()
            .unwrap()
    }

    /// What it prints on stdout; anything but success fails the test.
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}:\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let all: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.ok(&all)).unwrap()
    }

    /// Its exit code and what it prints on stderr.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

fn start(platform: Platform, folder: &Path) -> HostProcess {
    HostProcess::start(&HostOptions::development(platform, folder.join("data"))).unwrap()
}

fn an_application_from_component_to_unload(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = start(platform, folder.path());
    let cli = Cli::new(&host);
    let component = guest("examples/wasm-example", "wasm_example.wasm").unwrap();
    let component = component.to_str().unwrap();

    assert_eq!(cli.json(&["list"]), json!({ "status": "apps", "apps": [] }));

    // A component is compiled for the target the server names, and that is said.
    let output = cli.run(&["load", component, "--env", "GREETING=hi", "--max-fuel", "20_000_000"]);
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("compiling ") && notes.contains("warning: not verified: "), "{notes}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("loaded wasm-example\n"));

    assert_eq!(cli.ok(&["call", "wasm-example", "hello"]), "\"Hello, World!\"");
    let stored = cli.ok(&["call", "wasm-example", "kv-store(\"greeting\", \"a \\\"b\\\"\")"]);
    assert_eq!(stored, "\"stored: greeting\"");
    assert_eq!(cli.ok(&["call", "wasm-example", "kv-read(\"greeting\")"]), "\"a \\\"b\\\"\"");
    let named = cli.json(&["call", "wasm-example", "kv-read", "--params", "{\"key\":\"greeting\"}"]);
    assert_eq!(named, json!({ "status": "ok", "returns": [{ "type": "string", "value": "a \"b\"" }] }));

    let schema = cli.ok(&["schema", "wasm-example"]);
    assert!(schema.contains("kv-store: func(key: string, value: string) -> string;"), "{schema}");
    let list = cli.ok(&["list"]);
    assert!(list.starts_with(" NAME") && list.contains("wasm-example"), "{list}");

    // The certificate names the code, and the proof of the same leaf leads to its root.
    let apps = cli.json(&["list"]);
    let hash = &apps["apps"][0]["code_hash"];
    let status = cli.json(&["status"]);
    assert_eq!(&status["certificate"]["apps"][0]["code_hash"], hash);
    let proof = cli.json(&["proof", "app.wasm-example.code_hash"]);
    assert_eq!(&proof["leaves"][0]["value"], hash);
    assert_eq!(proof["root"], status["certificate"]["configuration_root"]);
    assert!(cli.ok(&["proof"]).contains("app.wasm-example.limits"));

    assert_eq!(cli.ok(&["unload", "wasm-example"]), "unloaded wasm-example");
    let (code, error) = cli.fails(&["unload", "wasm-example"]);
    assert_eq!(code, 1, "{error}");
    let (code, error) = cli.fails(&["call", "wasm-example", "hello"]);
    assert!(code == 1 && error.contains("hint: "), "{code}: {error}");
}

/// Every type goes in as WAVE and comes out as the same WAVE.
fn wave_is_the_same_on_both_ways(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = start(platform, folder.path());
    let cli = Cli::new(&host);
    let component = guest("tests/guests", "echo.wasm").unwrap();
    cli.ok(&["load", component.to_str().unwrap(), "--no-egress"]);
    for (function, value) in [
        ("echo-bool", "true"),
        ("echo-s8", "-128"),
        ("echo-s64", "-9223372036854775808"),
        ("echo-u64", "18446744073709551615"),
        ("echo-f32", "0.1"),
        ("echo-f64", "-inf"),
        ("echo-f64", "nan"),
        ("echo-char", "'é'"),
        ("echo-string", r#""two\nlines and \"quotes\"""#),
        ("echo-bytes", "[0, 127, 255]"),
        ("echo-list", r#"[["a"], [], ["b", "c"]]"#),
        ("echo-tuple", r#"(true, -1, "x")"#),
        ("echo-option", "some(7)"),
        ("echo-option", "none"),
        ("echo-nested-option", "some(none)"),
        ("echo-result", "ok(1)"),
        ("echo-result", r#"err("no")"#),
        ("echo-bare-result", "err"),
        ("echo-half-result", "ok"),
        ("shapes#echo-point", "{x: -1, y: 2}"),
        ("shapes#echo-shape", "polygon([{x: 0, y: 0}, {x: 1, y: 1}])"),
        ("shapes#echo-shape", "nothing"),
        ("test:echo/shapes@1.2.0#echo-colour", "dark-blue"),
        ("echo-permissions", "{read, execute-all}"),
    ] {
        let call = format!("{function}({value})");
        assert_eq!(cli.ok(&["call", "echo", &call]), value, "{call}");
    }
    assert_eq!(cli.ok(&["call", "echo", "join(\"a\", 2, false)"]), "\"a/2/false\"");
    assert_eq!(cli.ok(&["call", "echo", "nothing"]), "");
    assert_eq!(cli.ok(&["call", "echo", "only-here"]), "\"here\"");

    let (code, error) = cli.fails(&["call", "echo", "which"]);
    assert!(code == 1 && error.contains("test:echo/others@1.2.0#which"), "{code}: {error}");
    let (code, error) = cli.fails(&["call", "echo", "echo-u8(256)"]);
    assert!(code == 2 && error.contains("echo-u8: func(value: u8) -> u8;"), "{code}: {error}");
    let (code, error) = cli.fails(&["call", "echo", "walk"]);
    assert!(code == 1 && error.contains("enclave-os schema echo"), "{code}: {error}");
}

/// Without a development policy nothing can be loaded, and the error says how it can.
fn loading_is_closed_unless_the_policy_opens_it(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = HostOptions::development(platform, folder.path().join("data"));
    options.policy = "development = false\n".into();
    let host = HostProcess::start(&options).unwrap();
    let component = guest("tests/guests", "plain.wasm").unwrap();
    let (code, error) = Cli::new(&host).fails(&["load", component.to_str().unwrap()]);
    assert!(code == 1 && error.contains("development"), "{code}: {error}");
}

/// With the enclave's own CA pinned, another enclave in its place is noticed.
fn a_pinned_authority_is_checked(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = start(platform, folder.path());
    let cli = Cli::new(&host);
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, ca_pem(&host)).unwrap();
    let ca = ca.to_str().unwrap();
    let output = cli.run(&["--ca", ca, "list"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("not verified"), "{errors}");
    let (code, error) = cli.fails(&["--ca", ca, "--server-name", "elsewhere.example", "list"]);
    assert_eq!(code, 4, "{error}");

    let other = HostProcess::start(&HostOptions::development(platform, folder.path().join("other"))).unwrap();
    let (code, error) = Cli::new(&other).fails(&["--ca", ca, "list"]);
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("hint: --ca "), "{error}");
}

/// The second certificate of the chain the server shows.
fn ca_pem(host: &HostProcess) -> String {
    let connector = enclave_os_client::Connector::new(host.address().to_string());
    let http = enclave_os_client::danger::accept_any_certificate(connector).http().unwrap();
    scenarios::operator::pem(http.peer().chain_der().nth(1).unwrap())
}
