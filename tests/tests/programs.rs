//! Programs: `wasi:cli/run` with arguments, input, output and an exit code, over every way in.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use boundary_wire::client::{Call, CommandInput, Exited, Load, LogPolicy, Params};
use enclave_os_client::{ClientError, Framed, Reply};
use scenarios::example::compile;
use scenarios::host::{HostOptions, HostProcess, guest, program};
use scenarios::platform::Platform;
use serde_json::json;

scenarios::on_each_platform!(
    a_program_is_given_arguments_and_input_and_gives_output_and_a_code,
    the_command_line_passes_streams_and_the_code_through,
    a_program_that_is_ended_says_what_it_printed_and_why,
);

struct Tool {
    client: Framed,
    host: HostProcess,
    _data: tempfile::TempDir,
}

impl Tool {
    fn start(platform: Platform, log_policy: LogPolicy) -> Self {
        let data = tempfile::tempdir().unwrap();
        let host = HostProcess::start(&HostOptions::development(platform, data.path().join("data"))).unwrap();
        let mut client = host.framed().unwrap();
        for name in ["tool", "coded"] {
            let file = format!("{name}.wasm");
            let bytes = compile(platform, &guest("tests/guests/std-probe", &file).unwrap()).unwrap();
            let (max_fuel, log_policy) = (Some(2_000_000_000), Some(log_policy));
            client.load(Load { name: name.into(), bytes, max_fuel, log_policy, ..Load::default() }).unwrap();
        }
        Self { client, host, _data: data }
    }

    fn run(&mut self, args: &[&str], stdin: &[u8]) -> Exited {
        let args = args.iter().map(|argument| (*argument).to_owned()).collect();
        self.client.run("tool", CommandInput { args, stdin: stdin.to_vec() }).unwrap()
    }

    fn refusal(&mut self, call: Call) -> String {
        match self.client.command(enclave_os_client::Command::Call(call)) {
            Err(ClientError::Refused(error)) => error.code,
            other => panic!("{other:?}"),
        }
    }

    /// `enclave-os run tool …` with that on its standard input.
    fn cli(&self, options: &[&str], stdin: &[u8]) -> Output {
        self.cli_of("tool", options, stdin)
    }

    fn cli_of(&self, app: &str, options: &[&str], stdin: &[u8]) -> Output {
        let mut child = Command::new(program("enclave-os").unwrap())
            .args(["--server", &self.host.address().to_string(), "run", app])
            .args(options)
            .env_remove("ENCLAVE_OS_CA")
            .env_remove("ENCLAVE_OS_VERIFY_POLICY")
            .env_remove("ENCLAVE_OS_KEY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that does not read its input is no failure.
        drop(child.stdin.take().unwrap().write_all(stdin));
        child.wait_with_output().unwrap()
    }
}

fn a_program_is_given_arguments_and_input_and_gives_output_and_a_code(platform: Platform) {
    let mut tool = Tool::start(platform, LogPolicy::Host);
    let shown = tool.run(&["show", "a b", ""], b"");
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "[\"tool\", \"show\", \"a b\", \"\"]\n");
    assert_eq!((shown.exit_code, shown.stderr.as_slice()), (Some(0), &b"2 variables\n"[..]));

    let large: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 253) as u8).collect();
    assert!(tool.run(&["cat"], &large).stdout == large, "a megabyte comes back as it was sent");
    // The standard library knows success and failure only.
    assert_eq!(tool.run(&["exit", "42"], b"").exit_code, Some(1));
    assert_eq!(tool.run(&["fail"], b"").exit_code, Some(1));

    // What a program stored is there, whatever its code was.
    assert_eq!(tool.run(&["store", "kept"], b"").exit_code, Some(1));
    assert_eq!(tool.run(&["stored"], b"").stdout, b"kept");

    // Without `command` the same export is an ordinary call, and prints to the log.
    let returned = tool.client.call("tool", "run", Params::default()).unwrap();
    assert_eq!(returned, [json!({"type": "result", "value": {"ok": null}})]);

    let with_params =
        Call { params: Params::Positional(vec![json!(1)]), ..Call::run("tool", CommandInput::default()) };
    assert_eq!(tool.refusal(with_params), "bad-request");
    let many = CommandInput { args: vec![String::new(); 1025], ..CommandInput::default() };
    assert_eq!(tool.refusal(Call::run("tool", many)), "too-many-arguments");
    let long = CommandInput { args: vec!["x".repeat(129 << 10)], ..CommandInput::default() };
    assert_eq!(tool.refusal(Call::run("tool", long)), "too-many-arguments");
    assert_eq!(tool.refusal(Call::run("none", CommandInput::default())), "unknown-app");

    let bytes = compile(platform, &guest("tests/guests/std-probe", "std_probe.wasm").unwrap()).unwrap();
    tool.client.load(Load { name: "probe".into(), bytes, ..Load::default() }).unwrap();
    assert_eq!(tool.refusal(Call::run("probe", CommandInput::default())), "unknown-function");
    let no_program = Call { function: "arguments".into(), ..Call::run("probe", CommandInput::default()) };
    assert_eq!(tool.refusal(no_program), "not-a-program");

    // What was captured is nobody else's: the log has none of it.
    let output = tool.host.stop_with_output().unwrap();
    for printed in ["variables", "on purpose", "before"] {
        assert!(!output.contains(printed), "`{printed}` is in the log: {output}");
    }
}

fn the_command_line_passes_streams_and_the_code_through(platform: Platform) {
    let tool = Tool::start(platform, LogPolicy::None);
    let shown = tool.cli(&["--", "show", "-n", "--json"], b"");
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "[\"tool\", \"show\", \"-n\", \"--json\"]\n");
    assert!(String::from_utf8_lossy(&shown.stderr).ends_with("2 variables\n"), "{shown:?}");
    assert_eq!(shown.status.code(), Some(0));

    let bytes = [0, 255, 10, 27, 13];
    assert_eq!(tool.cli(&["--stdin", "-", "--", "cat"], &bytes).stdout, bytes);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    std::fs::write(&file, "from a file").unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(tool.cli(&["--stdin", file, "--", "cat"], b"").stdout, b"from a file");
    assert!(tool.cli(&["--", "cat"], b"not asked for").stdout.is_empty());

    assert_eq!(tool.cli(&["--", "exit", "42"], b"").status.code(), Some(1));
    let ended = tool.cli_of("coded", &[], b"");
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(42), &b"before\n"[..]));
    assert!(
        !String::from_utf8_lossy(&ended.stderr).contains("error"),
        "the program has said what there is to say"
    );
    let trapped = tool.cli(&["--", "panic"], b"");
    let told = String::from_utf8_lossy(&trapped.stderr).into_owned();
    assert_eq!(trapped.status.code(), Some(1));
    assert!(told.contains("on purpose") && told.contains("error: ") && told.contains("trap"), "{told}");
    assert_eq!(tool.cli(&["--stdin", "/no/such/file"], b"").status.code(), Some(5));

    let json = tool.cli_of("coded", &["--json"], b"");
    assert_eq!(json.status.code(), Some(42));
    let reply: Reply = serde_json::from_slice(&json.stdout).unwrap();
    let wanted = Exited { exit_code: Some(42), stdout: b"before\n".to_vec(), ..Exited::default() };
    assert_eq!(reply, Reply::Exited(wanted));
}

fn a_program_that_is_ended_says_what_it_printed_and_why(platform: Platform) {
    let mut tool = Tool::start(platform, LogPolicy::Host);
    let trapped = tool.run(&["panic"], b"");
    assert_eq!((trapped.exit_code, trapped.error.unwrap().code.as_str()), (None, "trap"));
    assert!(String::from_utf8_lossy(&trapped.stderr).contains("on purpose"));
    let spun = tool.run(&["spin"], b"");
    assert_eq!((spun.exit_code, spun.stdout.as_slice()), (None, &b"started"[..]));
    assert_eq!(spun.error.unwrap().code, "fuel-exhausted");

    let flooded = tool.run(&["flood"], b"");
    assert_eq!((flooded.exit_code, flooded.truncated), (Some(0), true), "{:?}", flooded.error);
    assert_eq!(flooded.stdout.len(), 4 << 20);
    assert_eq!(tool.run(&["flooded"], b"").stdout, b"4194304", "the program knows what was taken");
}
