//! Clients that do what no client should, over the real programs.
//!
//! Bug: one of them ends the server, keeps others out, makes it hold more and more, or has one request taken for
//! two.
//! Required: a typed error or the end of that client's connection, and everybody else is served.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod hostile {
    pub(crate) mod http2;
    pub(crate) mod server;
}

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use enclave_os_client::{Body, ClientError, Connection, Framed, Params};
use scenarios::host::PATIENCE;
use scenarios::platform::Platform;
use serde_json::{Value, json};

use hostile::http2;
use hostile::server::{CALLS_OF_AN_APP, Server, answers};

scenarios::on_each_platform!(
    what_is_no_request_gets_a_typed_error,
    frames_that_never_end_hold_nobody_up,
    silent_connections_keep_nobody_out,
    idle_connections_cost_little_and_keep_nobody_out,
    a_call_ends_with_the_connection_it_came_by,
    uploads_that_nobody_may_make_end_before_they_are_read,
    a_body_as_long_as_the_limit_is_taken,
    no_request_is_taken_for_two,
    floods_of_http2_end_their_own_connection,
);

/// More than a worker has places for handshakes, and as many as the issue of a careless proxy.
const MANY: usize = 2_000;

fn what_is_no_request_gets_a_typed_error(platform: Platform) {
    let server = Server::start(platform);
    server.load("a");
    let million = "7".repeat(1_000_000);
    let call =
        |params: &str| format!(r#"{{"wasm_call":{{"app":"a","function":"twice","params":{params}}}}}"#);
    let load = |fields: &str| format!(r#"{{"wasm_load":{{"bytes_base64":"f0VMRg==",{fields}}}}}"#);
    let long = "n".repeat(10_000);
    let mut frames = vec![
        ("{".to_owned(), "bad-request"),
        (format!("{{\"wasm_list\":{}", "[".repeat(100_000)), "frame-too-large"),
        (call(&format!("[{million}]")), "frame-too-large"),
        (call(&format!("[0.{million}]")), "frame-too-large"),
        (call(&format!("[{}]", "0,".repeat(2_000_000) + "0")), "frame-too-large"),
        (call(r#"{"number":1,"number":1}"#), "bad-request"),
        (r#"{"wasm_list":{},"wasm_list":{}}"#.to_owned(), "bad-request"),
        (call(r#"["\ud800"]"#), "bad-request"),
        (call(r#"["\udc00\ud800"]"#), "bad-request"),
        (call(r#"["\ud800x"]"#), "bad-request"),
        (call("7"), "bad-request"),
        (call("[]"), "bad-params"),
        (call("[1,2]"), "bad-params"),
        (call("[-1]"), "bad-params"),
        (call("[4294967296]"), "bad-params"),
        (call("[1.5]"), "bad-params"),
        (call(r#"["1x"]"#), "bad-params"),
        (call(r#"[{"type":"s8","value":1}]"#), "bad-params"),
        (r#"{"wasm_call":{"app":"a","function":"thrice"}}"#.to_owned(), "unknown-function"),
        (r#"{"wasm_call":{"app":"a","function":""}}"#.to_owned(), "unknown-function"),
        (r#"{"wasm_unload":{}}"#.to_owned(), "bad-request"),
    ];
    for name in ["", "A", "a/b", "..", "a\\u0000", "a\\n", " a", "-a", "ä", long.as_str()] {
        let call = format!(r#"{{"wasm_call":{{"app":"{name}","function":"twice","params":[1]}}}}"#);
        frames.push((call, "unknown-app"));
        frames.push((load(&format!(r#""name":"{name}""#)), "bad-app-name"));
        let hostname = load(&format!(r#""name":"b","hostname":"{name}""#));
        // One label is a name of the DNS; letters are taken in either case.
        frames.push((hostname, if name == "A" { "hostname-taken" } else { "bad-hostname" }));
        frames.push((load(&format!(r#""name":"b","route_prefix":"{name}""#)), "bad-route-prefix"));
    }
    for prefix in ["/", "//", "/a/../b", "/./a", "/a/", "/.enclave", "/.ENCLAVE/v1", "/%61", "/a b", "/ä"] {
        frames.push((load(&format!(r#""name":"b","route_prefix":"{prefix}""#)), "bad-route-prefix"));
    }
    let mut client = server.host.framed().unwrap();
    for (frame, code) in &frames {
        client.send_frame(frame.as_bytes()).unwrap();
        let reply: Value = serde_json::from_slice(&client.receive_frame().unwrap()).unwrap();
        let shown: String = frame.chars().take(90).collect();
        assert_eq!(reply["status"], "error", "{shown}: {reply}");
        assert_eq!(reply["code"], *code, "{shown}: {reply}");
        assert!(reply["message"].as_str().unwrap().len() < 2_000, "{shown}");
    }
    // Over HTTP the same.
    for (path, body, wanted) in [
        ("apps/a/call/twice", format!("[{million}]"), (400, "bad-request")),
        ("apps/a/call/twice", format!("[0.{million}]"), (400, "bad-params")),
        ("apps/a/call/twice", format!("[1e{million}]"), (400, "bad-request")),
        ("apps/a/call/twice", "[".repeat(200_000), (400, "bad-request")),
        ("apps/a/call/twice", r#"{"number":1,"number":2}"#.to_owned(), (400, "bad-request")),
        ("apps/a/call/twice", format!("[{}0]", "0,".repeat(2_000_000)), (413, "too-large")),
        ("apps/a/call/twice", r#"["\ud800"]"#.to_owned(), (400, "bad-request")),
        ("apps/a/call/thrice", "[]".to_owned(), (404, "unknown-function")),
        ("apps/%2e%2e/call/twice", "[]".to_owned(), (400, "bad-path")),
        ("apps/a%2Fb/call/twice", "[]".to_owned(), (404, "unknown-app")),
        ("apps/a%00/call/twice", "[]".to_owned(), (404, "unknown-app")),
        ("apps/%61/call/twic%65%0A", "[]".to_owned(), (404, "unknown-function")),
        ("apps/a%ff/call/twice", "[]".to_owned(), (400, "bad-path")),
    ] {
        let shown: String = body.chars().take(40).collect();
        let (status, code) = server.post(path, body.as_bytes());
        assert_eq!((status, code.as_str()), wanted, "{path} {shown}");
    }
    assert_eq!(server.twice(&mut client, 21), 42);
}

fn frames_that_never_end_hold_nobody_up(platform: Platform) {
    let server = Server::start(platform);
    server.load("a");
    let connector = server.host.connector();
    let mut held = Vec::new();
    for piece in [
        &b"\0"[..],
        b"\0\0",
        b"\0\0\x10\0",
        b"\0\0\x10\0{\"wasm_call\":{\"app\":\"a",
        b"\x02\0\0\0{\"Data\":[123,34",
    ] {
        for leaves in [true, false] {
            let mut connection = connector.connect(&[]).unwrap();
            connection.write_all(piece).unwrap();
            connection.flush().unwrap();
            if leaves {
                connection.tcp().shutdown(Shutdown::Write).unwrap();
                // What never became a request has no answer.
                let mut rest = Vec::new();
                let _reset = connection.read_to_end(&mut rest).is_err();
                assert!(rest.is_empty(), "{piece:?}: {rest:?}");
            } else {
                held.push(connection);
            }
        }
    }
    let mut client = server.host.framed().unwrap();
    client.send_frame(b"").unwrap();
    assert_eq!(code(&mut client), "bad-request");
    assert_eq!(server.twice(&mut client, 2), 4, "an empty frame costs itself");
    for length in [64 * 1024 * 1024 + 1, 0x1fff_ffff_u32] {
        let mut connection = connector.connect(&[]).unwrap();
        connection.write_all(&length.to_be_bytes()).unwrap();
        connection.flush().unwrap();
        let mut client = Framed::new(connection);
        assert_eq!(code(&mut client), "frame-too-large");
        client.receive_frame().unwrap_err();
    }
    drop(held);
}

fn code(client: &mut Framed) -> String {
    let reply: Value = serde_json::from_slice(&client.receive_frame().unwrap()).unwrap();
    reply["code"].as_str().unwrap().to_owned()
}

fn silent_connections_keep_nobody_out(platform: Platform) {
    let server = Server::start(platform);
    server.load("a");
    // Nothing, a byte, and most of a ClientHello.
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 300]].concat();
    let pieces = [&[][..], &hello[..1], &hello[..]];
    let mut silent = Vec::new();
    for index in 0..MANY {
        let mut tcp = TcpStream::connect(server.host.address()).unwrap();
        tcp.write_all(pieces[index % pieces.len()]).unwrap();
        silent.push(tcp);
    }
    let mut client = server.host.framed().unwrap();
    let open = still_open(&silent);
    // It did not have to wait until the time of those before it was over.
    assert!(open > MANY / 2, "only {open} of {MANY} silent connections are still open");
    assert_eq!(server.twice(&mut client, 3), 6);
    assert!(server.ready().contains("\"ready\""));
}

fn still_open(connections: &[TcpStream]) -> usize {
    let is_open = |tcp: &&TcpStream| {
        tcp.set_nonblocking(true).unwrap();
        let read = (&mut &**tcp).read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    connections.iter().filter(is_open).count()
}

fn idle_connections_cost_little_and_keep_nobody_out(platform: Platform) {
    let server = Server::start(platform);
    server.load("a");
    let connector = server.host.connector();
    let connect = |count: usize| -> Vec<Connection> {
        std::thread::scope(|scope| {
            let parts: Vec<_> = (0..4)
                .map(|_| {
                    scope
                        .spawn(|| (0..count / 4).map(|_| connector.connect(&[]).unwrap()).collect::<Vec<_>>())
                })
                .collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
        })
    };
    // So that what is made once is there.
    drop(connect(100));
    let before = server.resident();
    let idle = connect(MANY);
    let mut client = server.host.framed().unwrap();
    assert_eq!(server.twice(&mut client, 4), 8);
    let per_connection = server.resident().saturating_sub(before) / MANY as u64;
    eprintln!("{platform}: an idle connection takes {per_connection} bytes");
    assert!(per_connection < 64 * 1024, "{per_connection}");
    drop(idle);
}

/// Bug: a call whose client has gone runs on to its deadline, in a place that others need.
/// Required: it ends with its connection.
fn a_call_ends_with_the_connection_it_came_by(platform: Platform) {
    let server = Server::start(platform);
    let connector = server.host.connector();
    let framed = |app: &str| {
        let spin = json!({"wasm_call": {"app": app, "function": "spin"}}).to_string();
        let start = |_| {
            let mut client = Framed::new(connector.connect(&[]).unwrap());
            client.send_frame(spin.as_bytes()).unwrap();
            client
        };
        let clients: Vec<_> = (0..CALLS_OF_AN_APP).map(start).collect();
        Box::new(clients) as Box<dyn std::any::Any>
    };
    let http1 = |app: &str| {
        let start = |_| {
            let mut connection = connector.connect(&[b"http/1.1"]).unwrap();
            let head = format!(
                "POST /.enclave/v1/apps/{app}/call/spin HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n[]"
            );
            connection.write_all(head.as_bytes()).unwrap();
            connection.flush().unwrap();
            connection
        };
        let connections: Vec<_> = (0..CALLS_OF_AN_APP).map(start).collect();
        Box::new(connections) as Box<dyn std::any::Any>
    };
    let http2 = |app: &str| {
        let mut connection = connector.connect(&[b"h2"]).unwrap();
        let mut bytes = http2::preface();
        for stream in 0..CALLS_OF_AN_APP {
            let path = format!("/.enclave/v1/apps/{app}/call/spin");
            let post = http2::request("POST", "localhost", &path, &[]);
            bytes.extend(http2::headers(2 * stream + 1, &post, true));
        }
        connection.write_all(&bytes).unwrap();
        connection.flush().unwrap();
        Box::new(connection) as Box<dyn std::any::Any>
    };
    type Begin<'a> = &'a dyn Fn(&str) -> Box<dyn std::any::Any>;
    // An app of its own for each: calls of the one before may still be ending.
    for (way, begin, app) in
        [("framed", &framed as Begin<'_>, "framed"), ("http/1.1", &http1, "http1"), ("h2", &http2, "http2")]
    {
        server.load(app);
        let mut running = vec![begin(app), begin(app)];
        // As many as an app may have, and as many that wait: one more is shed. Whoever comes before they are all
        // there waits, and leaves.
        until(
            || {
                running.push(begin(app));
                let impatient = connector.clone().io_timeout(Duration::from_secs(2));
                let mut client = Framed::new(impatient.connect(&[]).unwrap());
                let one_more = client.call(app, "twice", Params::Positional(vec![json!(1)]));
                matches!(one_more, Err(ClientError::Refused(error)) if error.code == "overloaded")
            },
            way,
        );
        let shed = server.call_over_http(app, "twice", b"[1]");
        assert_eq!((shed.0, shed.1.as_str()), (503, "overloaded"), "{way}");
        drop(running);
        // Their own time would be over in ten minutes.
        until(|| server.call_over_http(app, "twice", b"[1]").0 == 200, way);
    }
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn uploads_that_nobody_may_make_end_before_they_are_read(platform: Platform) {
    let server = Server::with_policy(platform, "");
    let connector = server.host.connector();
    let before = server.resident();
    let mut held = Vec::new();
    for index in 0..200 {
        if index % 2 == 0 {
            let mut connection = connector.connect(&[]).unwrap();
            let length = 64 * 1024 * 1024_u32;
            let start = format!(r#"{{"wasm_load":{{"name":"a","bytes_base64":"{}"#, "A".repeat(20_000));
            connection.write_all(&[&length.to_be_bytes()[..], start.as_bytes()].concat()).unwrap();
            connection.flush().unwrap();
            let mut client = Framed::new(connection);
            assert_eq!(code(&mut client), "no-operators");
            held.push(client);
        } else {
            let mut connection = connector.connect(&[b"http/1.1"]).unwrap();
            let head =
                "PUT /.enclave/v1/apps/a HTTP/1.1\r\nhost: a\r\ncontent-length: 60000000\r\n\r\n\x7fELF";
            connection.write_all(head.as_bytes()).unwrap();
            connection.flush().unwrap();
            let mut start = [0; 12];
            connection.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 403");
        }
    }
    // They go on sending what nobody takes.
    let chunk = vec![b'A'; 1 << 20];
    for client in held.iter_mut().take(20) {
        client.connection().write_all(&chunk).unwrap();
    }
    let grown = server.resident().saturating_sub(before);
    eprintln!("{platform}: 200 uploads that nobody may make took {grown} bytes");
    assert!(grown < 64 << 20, "{grown}");
    server.host.framed().unwrap().ping().unwrap();
}

/// Bug: a JSON body near the limit was answered with `overloaded`, at any time.
/// Required: what the limit lets in is taken.
fn a_body_as_long_as_the_limit_is_taken(platform: Platform) {
    let server = Server::start(platform);
    server.load("a");
    let most = 8 * 1024 * 1024;
    let body = |bytes: usize| format!("[\"{}\"]", "x".repeat(bytes - 4));
    let mut http = server.host.connector().http().unwrap();
    let mut length = |bytes: usize| {
        let body = body(bytes);
        let body = Body::Bytes("application/json", body.as_bytes());
        http.request("POST", "/.enclave/v1/apps/a/call/length", &[], body).unwrap()
    };
    let taken = length(most);
    assert_eq!(taken.status, 200, "{}", String::from_utf8_lossy(&taken.body));
    let returns: Value = serde_json::from_slice(&taken.body).unwrap();
    assert_eq!(returns["returns"][0]["value"], most - 4);
    assert_eq!(length(most + 1).status, 413);
}

/// What becomes of a request and of what stands behind it.
enum Reading {
    /// 400 or nothing, and the end of the connection.
    Refused,
    /// By the coding alone, and then the end (RFC 9112 §6.3).
    Once,
    /// Both are answered: there is one reading only.
    Both,
}

fn no_request_is_taken_for_two(platform: Platform) {
    use Reading::{Both, Once, Refused};
    let server = Server::start(platform);
    let connector = server.host.connector();
    let health = "/.enclave/v1/health";
    let post = "POST /.enclave/v1/challenge HTTP/1.1\r\nhost: a\r\n";
    // This one reads its body.
    let read = "POST /.enclave/v1/attest HTTP/1.1\r\nhost: a\r\n";
    // Behind each stands a request that only another reading of the first would find.
    let hidden = format!("GET {health} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let chunked = format!("0\r\n\r\n{hidden}");
    for (shape, head, wanted) in [
        (
            "both lengths",
            format!("{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
            Once,
        ),
        (
            "both lengths, turned",
            format!("{post}transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n{chunked}"),
            Once,
        ),
        (
            "two lengths",
            format!("{post}content-length: 0\r\ncontent-length: {}\r\n\r\n{hidden}", hidden.len()),
            Refused,
        ),
        ("a list of lengths", format!("{post}content-length: 0, {}\r\n\r\n{hidden}", hidden.len()), Refused),
        ("a signed length", format!("{post}content-length: +0\r\n\r\n{hidden}"), Refused),
        ("a length in hex", format!("{post}content-length: 0x0\r\n\r\n{hidden}"), Refused),
        ("a length of nothing", format!("{post}content-length: \r\n\r\n{hidden}"), Refused),
        ("not chunked last", format!("{post}transfer-encoding: chunked, identity\r\n\r\n{chunked}"), Refused),
        ("an unknown coding", format!("{post}transfer-encoding: xchunked\r\n\r\n{chunked}"), Refused),
        ("a folded header", format!("{post}x: a\r\n content-length: 9\r\n\r\n{hidden}"), Refused),
        ("a folded coding", format!("{post}transfer-encoding:\r\n chunked\r\n\r\n{chunked}"), Refused),
        ("a space before the colon", format!("{post}content-length : 0\r\n\r\n{hidden}"), Refused),
        ("NUL in a header", format!("{post}x: a\0b\r\n\r\n{hidden}"), Refused),
        ("CR in a header", format!("{post}x: a\rcontent-length: 9\r\n\r\n{hidden}"), Refused),
        (
            "a chunk length that is none",
            format!("{read}transfer-encoding: chunked\r\n\r\n0x1\r\na\r\n{chunked}"),
            Refused,
        ),
        (
            "a chunk of all there is",
            format!("{read}transfer-encoding: chunked\r\n\r\nffffffffffffffff1\r\n{hidden}"),
            Refused,
        ),
        (
            "a chunk without its end",
            format!("{read}transfer-encoding: chunked\r\n\r\n1\r\nabc{chunked}"),
            Refused,
        ),
        (
            "endless chunk extensions",
            format!("{read}transfer-encoding: chunked\r\n\r\n0;{}\r\n\r\n", "x".repeat(100_000)),
            Refused,
        ),
        (
            "HTTP/1.0 in chunks",
            format!("POST /.enclave/v1/attest HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n{chunked}"),
            Refused,
        ),
        ("the length", format!("{post}content-length: 5\r\n\r\nhello{hidden}"), Both),
        ("chunks", format!("{post}transfer-encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n{chunked}"), Both),
    ] {
        let mut connection = connector.connect(&[b"http/1.1"]).unwrap();
        connection.write_all(head.as_bytes()).unwrap();
        connection.flush().unwrap();
        let statuses = answers(&mut connection);
        match wanted {
            Refused => assert!(
                statuses.len() <= 1 && statuses.iter().all(|status| *status == 400),
                "{shape}: {statuses:?}"
            ),
            Once => assert_eq!(statuses, [200], "{shape}"),
            Both => assert_eq!(statuses, [200, 200], "{shape}"),
        }
    }
    server.host.framed().unwrap().ping().unwrap();
}

fn floods_of_http2_end_their_own_connection(platform: Platform) {
    let server = Server::start(platform);
    server.load("a");
    let connector = server.host.connector();
    let get = http2::request("GET", "localhost", "/.enclave/v1/health", &[]);
    let post = http2::request("POST", "localhost", "/.enclave/v1/apps/a/call/twice", &[]);
    let reset = |stream: u32| http2::frame(3, 0, stream, &8_u32.to_be_bytes());
    let rapid: Vec<u8> = (0..20_000_u32)
        .flat_map(|n| [http2::headers(2 * n + 1, &post, false), reset(2 * n + 1)].concat())
        .collect();
    let settings = http2::frame(4, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(50_000);
    let pings = http2::frame(6, 0, 0, &[7; 8]).repeat(100_000);
    let continuation =
        [http2::frame(1, 0, 1, &get), http2::frame(9, 0, 1, &[0x40, 1, b'x', 1, b'y']).repeat(100_000)]
            .concat();
    let empty_data = [http2::headers(1, &post, false), http2::frame(0, 0, 1, b"").repeat(100_000)].concat();
    let windows =
        [http2::headers(1, &post, false), http2::frame(8, 0, 1, &1_u32.to_be_bytes()).repeat(50_000)]
            .concat();
    let before = server.resident();
    for (flood, bytes) in [
        ("rapid reset", rapid),
        ("settings", settings),
        ("pings", pings),
        ("continuation", continuation),
        ("empty data", empty_data),
        ("window updates", windows),
    ] {
        let mut connection = connector.clone().io_timeout(PATIENCE).connect(&[b"h2"]).unwrap();
        connection.write_all(&http2::preface()).unwrap();
        let mut steady = server.host.framed().unwrap();
        // Without reading: the answers stay with the sender.
        for part in bytes.chunks(16 * 1024) {
            connection.tcp().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            if connection.write_all(part).and_then(|()| connection.flush()).is_err() {
                break;
            }
        }
        assert_eq!(server.twice(&mut steady, 5), 10, "{flood}");
    }
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more than before the floods");

    // What belongs to HTTP/1 ends its stream (RFC 9113 §8.2.2), and what names two authorities is refused.
    for bad in
        [("connection", "keep-alive"), ("transfer-encoding", "chunked"), ("upgrade", "x"), ("te", "gzip")]
    {
        let request = http2::request("GET", "localhost", "/.enclave/v1/health", &[bad]);
        let mut connection = connector.connect(&[b"h2"]).unwrap();
        let status = http2::status(&mut connection, &request);
        assert_eq!(status, None, "{bad:?}");
    }
    let mut connection = connector.connect(&[b"h2"]).unwrap();
    assert_eq!(http2::status(&mut connection, &get), Some(200));
}
