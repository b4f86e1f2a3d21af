//! Programs of others against the real host: curl and openssl know nothing of enclaves.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use enclave_os_client::Load;
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess};
use scenarios::operator::Operator;
use scenarios::platform::Platform;

scenarios::on_each_platform!(
    curl_speaks_both_versions_of_http,
    problems_are_told_as_problem_json,
    openssl_gets_tls_1_3_and_no_ticket,
    an_operator_and_the_served_name_are_enough_for_others,
);

fn host(platform: Platform, folder: &tempfile::TempDir) -> HostProcess {
    HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap()
}

fn curl(host: &HostProcess, arguments: &[&str], path: &str) -> Output {
    Command::new("curl")
        .args(["--silent", "--show-error", "--insecure", "--max-time", "30"])
        .args(arguments)
        .arg(format!("https://{}{path}", host.address()))
        .output()
        .expect("curl is needed for this test: install it with the system's package manager")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn curl_speaks_both_versions_of_http(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = host(platform, &folder);
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let output =
            curl(&host, &[flag, "--write-out", "\n%{http_version} %{http_code}"], "/.enclave/v1/health");
        let text = text(&output);
        assert!(text.ends_with(&format!("\n{version} 200")), "{text}");
        assert!(text.contains("\"status\""), "{text}");
    }
}

fn problems_are_told_as_problem_json(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = host(platform, &folder);
    let output = curl(&host, &["--write-out", "\n%{content_type} %{http_code}"], "/nothing/here");
    let text = text(&output);
    assert!(text.ends_with("\napplication/problem+json 404"), "{text}");
    // A path that is more than one path to somebody is refused as it stands.
    for path in ["/.enclave/v1/../v1/health", "//.enclave/v1/health", "/.enclave/v1/%2e%2e/health"] {
        let output = curl(&host, &["--path-as-is", "--write-out", "\n%{http_code}"], path);
        let text = self::text(&output);
        assert!(!text.ends_with("200"), "{path}: {text}");
    }
}

fn openssl_gets_tls_1_3_and_no_ticket(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let host = host(platform, &folder);
    let connect = |arguments: &[&str]| {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &host.address().to_string(), "-servername", "localhost"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl is needed for this test: install it with the system's package manager");
        let request = b"GET /.enclave/v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        // A refused handshake closes the pipe first.
        drop(child.stdin.take().unwrap().write_all(request));
        let output = child.wait_with_output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let text = connect(&["-ign_eof"]);
    assert!(text.contains("TLSv1.3"), "{text}");
    assert!(text.contains("HTTP/1.1 200 OK"), "{text}");
    assert!(!text.contains("Post-Handshake New Session Ticket"), "{text}");
    let old = connect(&["-tls1_2"]);
    assert!(!old.contains("HTTP/1.1"), "{old}");
}

/// Under a CA that programs of others trust, they connect with the names that the certificates have, quotes in them
/// or not.
fn an_operator_and_the_served_name_are_enough_for_others(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = HostOptions::development(platform, folder.path().join("data"));
    options.policy = "development = true\nserved_names = [\"enclave.example.com\"]\n".to_owned();
    let host = HostProcess::start(&options).unwrap();
    let operator = Operator::new().unwrap();
    let mut http = host.connector().http().unwrap();
    let chain = operator.sign(&http.ca_csr().unwrap()).unwrap();
    http.ca_install(chain.as_bytes()).unwrap();
    let load = Load {
        name: "notes".into(),
        hostname: Some("notes.example.com".into()),
        bytes: example::artifact(platform).unwrap(),
        ..Load::default()
    };
    host.framed().unwrap().load(load).unwrap();

    let other = Operator::new().unwrap();
    let asks = |operator: &Operator, name: &str| {
        let (port, root) = (host.address().port(), operator.root());
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "30", "--cacert"])
            .arg(root)
            .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
            .arg(format!("https://{name}:{port}/.enclave/v1/health"))
            .output()
            .expect("curl is needed for this test: install it with the system's package manager")
    };
    for name in ["enclave.example.com", "notes.example.com"] {
        let peer = host.connector().server_name(name).http().unwrap().peer().clone();
        assert!(peer.claims().unwrap().quote.is_some(), "the leaf for {name} has no quote");
        operator.verify_strictly(peer.chain_der(), name).unwrap();
        operator.verify_strictly(peer.chain_der(), "elsewhere.example.com").unwrap_err();
        other.verify_strictly(peer.chain_der(), name).unwrap_err();
        assert!(text(&asks(&operator, name)).contains("\"status\""));
        let refused = asks(&other, name);
        assert_eq!(refused.status.code(), Some(60), "{refused:?}");
    }
    let refused = asks(&operator, "elsewhere.example.com");
    assert_eq!(refused.status.code(), Some(60), "{refused:?}");
}
