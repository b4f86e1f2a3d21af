//! Clients that do not follow the protocol: each gets a typed error or is let go, and others are served.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Host, answer, artifact};

/// Sends `frame` on a connection of its own: the error's code, and whether the connection goes on.
fn refused(host: &Host, frame: &[u8]) -> (String, bool) {
    let mut client = host.framed();
    let reply = client.raw(frame);
    let inner: Value = match reply.get("Data") {
        Some(data) => {
            serde_json::from_slice(&serde_json::from_value::<Vec<u8>>(data.clone()).unwrap()).unwrap()
        }
        None => reply,
    };
    assert_eq!(inner["status"], "error", "{inner}");
    assert!(!inner["message"].as_str().unwrap().is_empty());
    client.send(b"\"Ping\"");
    let goes_on = client.receive() == Some(json!("Pong"));
    (inner["code"].as_str().unwrap().to_owned(), goes_on)
}

#[test]
fn bad_frames_get_a_typed_error_and_the_connection_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(dir.path());
    host.framed().load("a", &artifact(1));
    let deep = "[".repeat(100_000);
    let deep_params =
        format!(r#"{{"wasm_call":{{"app":"a","function":"twice","params":{}}}}}"#, "[".repeat(5_000));
    let huge =
        format!(r#"{{"wasm_call":{{"app":"a","function":"twice","params":[{}]}}}}"#, "9".repeat(5_000));
    let wrapped = |inner: &str| json!({ "Data": inner.as_bytes() }).to_string();
    for (frame, code) in [
        ("", "bad-request"),
        ("{", "bad-request"),
        ("nul", "bad-request"),
        ("\"ping\"", "bad-request"),
        ("[]", "bad-request"),
        ("{}", "bad-request"),
        (r#"{"wasm_list":{}} x"#, "bad-request"),
        (r#"{"wasm_list":{},"wasm_list":{}}"#, "bad-request"),
        (r#"{"wasm_list":{},"challenge":{}}"#, "bad-request"),
        (r#"{"wasm_fly":{}}"#, "bad-request"),
        (r#"{"wasm_call":{"app":1,"function":"f"}}"#, "bad-request"),
        (r#"{"wasm_call":{"app":"a","function":"f","params":"x"}}"#, "bad-request"),
        (r#"{"wasm_call":{"app":"a","function":"f","parms":[]}}"#, "bad-request"),
        (r#"{"wasm_load":{"name":"x"}}"#, "bad-request"),
        (r#"{"wasm_load":{"name":"x","bytes":[256]}}"#, "bad-request"),
        (r#"{"wasm_load":{"name":"x","bytes":[-1]}}"#, "bad-request"),
        (r#"{"wasm_load":{"name":"x","bytes":[1.5]}}"#, "bad-request"),
        (r#"{"wasm_load":{"name":"x","bytes":"AA"}}"#, "bad-request"),
        (r#"{"wasm_load":{"name":"x","bytes":[1],"max_fuel":-1}}"#, "bad-request"),
        (r#"{"wasm_load":{"name":"x","bytes":[1],"max_fuel":18446744073709551616}}"#, "bad-request"),
        (r#"{"wasm_load":{"name":"x","bytes":[]}}"#, "not-an-artifact"),
        (r#"{"wasm_call":{"app":"a","function":"twice","params":[-1]}}"#, "bad-params"),
        (r#"{"wasm_call":{"app":"a","function":"twice","params":[4294967296]}}"#, "bad-params"),
        (r#"{"wasm_call":{"app":"a","function":"twice","params":[1e400]}}"#, "bad-request"),
        (r#"{"wasm_call":{"app":"a","function":"twice","params":[1,2]}}"#, "bad-params"),
        (r#"{"wasm_call":{"app":"a","function":"twice","params":{"numbr":1}}}"#, "bad-params"),
        (
            r#"{"wasm_call":{"app":"a","function":"twice","params":[{"type":"string","value":"1"}]}}"#,
            "bad-params",
        ),
        (r#"{"attest":{"nonce":"x"}}"#, "bad-request"),
        (r#"{"Data":"text"}"#, "bad-request"),
        (r#"{"Data":[300]}"#, "bad-request"),
        (r#"{"Data":[]}"#, "bad-request"),
        (&wrapped("{"), "bad-request"),
        (&wrapped("\"Ping\""), "bad-request"),
        (&wrapped(r#"{"Data":[123,125]}"#), "bad-request"),
        (&deep, "frame-too-large"),
        (&deep_params, "frame-too-large"),
        (&huge, "frame-too-large"),
        ("\"\u{0}\"", "bad-request"),
    ] {
        let shown: String = frame.chars().take(60).collect();
        assert_eq!(refused(&host, frame.as_bytes()), (code.to_owned(), true), "{shown}");
    }
    assert_eq!(refused(&host, b"\"\xff\xfe\""), ("bad-request".to_owned(), true));
    host.stop();
}

#[test]
fn a_frame_beyond_the_limit_is_answered_and_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(dir.path());
    for length in [64 * 1024 * 1024 + 1u32, 0x1fff_ffff] {
        let mut client = host.framed();
        client.0.write_all(&length.to_be_bytes()).unwrap();
        client.0.flush().unwrap();
        assert_eq!(client.receive().unwrap()["code"], "frame-too-large");
        assert_eq!(client.receive(), None);
    }
    host.stop();
}

#[test]
fn whoever_leaves_in_the_middle_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(dir.path());
    let mut steady = host.framed();
    for piece in [
        &b"\0"[..],
        b"\0\0\x10\0{\"Data\":[1,2",
        b"GET / HT",
        b"PRI ",
        b"PUT /.enclave/v1/apps/a HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nabc",
    ] {
        let mut tls = host.tls("localhost", &[]);
        tls.write_all(piece).unwrap();
        tls.flush().unwrap();
        // Without a close_notify.
        drop(tls);
        assert_eq!(steady.raw(b"\"Ping\""), json!("Pong"));
    }
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]] {
        let mut tcp = std::net::TcpStream::connect(host.address).unwrap();
        tcp.write_all(bytes).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        // An alert, then the end; never anything in clear.
        let _reset = tcp.read_to_end(&mut rest).is_err();
        assert!(rest.is_empty() || rest.first() == Some(&0x15), "{rest:?}");
        assert_eq!(steady.raw(b"\"Ping\""), json!("Pong"));
    }
    host.stop();
}

#[test]
fn unfinished_uploads_share_a_budget_that_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(dir.path());
    let start = |host: &Host| {
        let mut client = host.framed();
        let length = 64 * 1024 * 1024u32;
        client.0.write_all(&length.to_be_bytes()).unwrap();
        client.0.write_all(br#"{"wasm_load":{"name":"a","bytes_base64":""#).unwrap();
        client
    };
    // 33 MiB decoded make the buffer double to 64 MiB.
    let chunk = vec![b'A'; 1 << 20];
    let mut holding = Vec::new();
    let mut overloaded = 0;
    'clients: for _ in 0..10 {
        let mut client = start(&host);
        for _ in 0..46 {
            if client.0.write_all(&chunk).is_err() {
                break;
            }
        }
        let _ended = client.0.flush().is_err();
        // One that was let in is not answered: its frame is not complete.
        client.0.sock.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        let mut length = [0; 4];
        if client.0.read_exact(&mut length).is_ok() {
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            client.0.read_exact(&mut body).unwrap();
            let reply: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(reply["code"], "overloaded", "{reply}");
            overloaded += 1;
            break 'clients;
        }
        holding.push(client);
    }
    assert_eq!(overloaded, 1, "{} uploads are held", holding.len());
    assert!(holding.len() >= 3, "{}", holding.len());
    // Ordinary requests go on, and the budget comes back when the uploads end.
    assert_eq!(host.framed().raw(b"\"Ping\""), json!("Pong"));
    drop(holding);
    let code = artifact(1);
    for attempt in 0.. {
        let loaded = host.http("PUT", "/.enclave/v1/apps/a", &code);
        if loaded.status == 200 {
            break;
        }
        assert!(attempt < 100 && loaded.problem() == (503, "overloaded".into()), "{loaded:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    host.stop();
}

#[test]
fn bad_requests_get_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(dir.path());
    host.framed().load("a", &artifact(1));
    let raw = |head: &str| {
        let mut tls = host.tls("localhost", &["http/1.1"]);
        tls.write_all(head.as_bytes()).unwrap();
        answer(&mut tls)
    };
    let health = "/.enclave/v1/health";
    for (head, status, code) in [
        (format!("GET {health} HTTP/1.1\r\n\r\n"), 400, "bad-host"),
        (format!("GET {health} HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"), 400, "bad-host"),
        (format!("GET {health} HTTP/1.1\r\nhost: a b\r\n\r\n"), 400, "bad-host"),
        (format!("GET {health} HTTP/1.1\r\nhost: user@a\r\n\r\n"), 400, "bad-host"),
        (
            "PUT /.enclave/v1/apps/a HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n".into(),
            413,
            "too-large",
        ),
        (
            "POST /.enclave/v1/apps/a/call/%zz HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".into(),
            400,
            "bad-path",
        ),
    ] {
        assert_eq!(raw(&head).problem(), (status, code.into()), "{head}");
    }
    assert_eq!(raw("GET / HTTP/9.9\r\n\r\n").status, 400);
    assert_eq!(raw("GE\u{1}T / HTTP/1.1\r\n\r\n").status, 400);
    let many: String = (0..200).map(|i| format!("x-{i}: y\r\n")).collect();
    assert_eq!(raw(&format!("GET {health} HTTP/1.1\r\nhost: a\r\n{many}\r\n")).status, 431);
    let long = "y".repeat(64 * 1024);
    assert_eq!(raw(&format!("GET {health} HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n")).status, 431);

    let call = "/.enclave/v1/apps/a/call/twice";
    for body in [&b"{"[..], b"\"x\"", b"[1", b"\xff", "[".repeat(10_000).as_bytes(), br#"{"a":1,"a":2}"#] {
        assert_eq!(host.http("POST", call, body).problem(), (400, "bad-request".into()));
    }
    for body in [&b"[]"[..], b"[1,2]", b"[1e30]", b"[-1]", b"[null]", br#"{"x":1}"#] {
        assert_eq!(host.http("POST", call, body).problem(), (400, "bad-params".into()));
    }
    let form = [("host", "localhost"), ("content-type", "multipart/form-data; boundary=x")];
    for body in [
        &b""[..],
        b"--x--\r\n",
        b"--x\r\n\r\n\r\n--x--",
        b"--x\r\ncontent-disposition: form-data; name=\"component\"\r\n\r\nabc",
    ] {
        let answer = host.http_as("localhost", "PUT", "/.enclave/v1/apps/b", &form, body);
        assert_eq!(answer.problem(), (400, "bad-request".into()));
    }
    host.stop();
}
