//! Apps that answer HTTP: curl and hand-made requests against the real programs.
//!
//! Required: what an app says reaches its client as the app said it, streaming both ways; whatever app or client do
//! wrong ends that one exchange, visibly, and nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use boundary_wire::client::Load;
use enclave_os_client::Connection;
use scenarios::example::{NEWS, World, compile};
use scenarios::host::{HostOptions, HostProcess, PATIENCE, guest};
use scenarios::platform::Platform;

scenarios::on_each_platform!(
    the_handler_of_the_guide_is_served,
    the_example_is_served,
    routes_are_by_prefix_or_by_hostname,
    bodies_stream_both_ways,
    a_large_upload_passes_through_a_small_app,
    an_answer_begins_before_the_request_ends,
    a_slow_reader_makes_the_app_wait,
    trailers_heads_and_interim_answers,
    what_is_coded_otherwise_ends_its_connection,
    what_an_app_cannot_set,
    what_an_app_sets_is_what_it_reads_back,
    an_app_that_fails_before_its_answer,
    an_app_that_fails_after_its_answer_began,
    limits_of_requests,
    a_client_that_leaves_takes_its_guest_along,
    what_was_answered_is_stored,
    an_app_loaded_anew_is_stale_before_it_sees_a_byte,
    requests_of_an_app_go_out_over_tls_only,
);

const VERSIONS: [&str; 2] = ["--http1.1", "--http2"];

struct Server {
    platform: Platform,
    host: HostProcess,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = HostOptions::development(platform, folder.path().join("data"));
        Self { platform, host: HostProcess::start(&options).unwrap(), _folder: folder }
    }

    /// With `http_probe` as `/app`.
    fn with_app(platform: Platform, load: Load) -> Self {
        let server = Self::start(platform);
        server.load(Load { name: "app".to_owned(), ..load }, "http_probe.wasm");
        server
    }

    fn load(&self, load: Load, file: &str) {
        let folder = match file {
            "handler.wasm" => "tests/guests/handler",
            "hello_http.wasm" => "examples/hello-http",
            _ => "tests/guests/http",
        };
        let bytes = compile(self.platform, &guest(folder, file).unwrap()).unwrap();
        self.host.framed().unwrap().load(Load { bytes, ..load }).unwrap();
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Output {
        self.curl_command(arguments, path)
            .output()
            .expect("curl is needed for this test: install it with the system's package manager")
    }

    fn curl_command(&self, arguments: &[&str], path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "--max-time", "240"])
            .args(arguments)
            .arg(format!("https://{}{path}", self.host.address()));
        curl
    }

    /// Body and status.
    fn get(&self, arguments: &[&str], path: &str) -> (String, String) {
        let output = self.curl(&[&["--write-out", "\n%{http_code}"], arguments].concat(), path);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{output:?}"));
        (body.to_owned(), status.to_owned())
    }

    fn raw(&self) -> Connection {
        self.host.connector().io_timeout(PATIENCE).connect(&[b"http/1.1"]).unwrap()
    }

    fn wait_for_output(&self, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.host.output().contains(wanted) {
            assert!(Instant::now() < until, "no {wanted:?} in:\n{}", self.host.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What has arrived once it holds `wanted`.
fn read_until(connection: &mut Connection, wanted: &str) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&all).contains(wanted) {
        let read = connection.read(&mut piece).unwrap();
        assert!(read > 0, "it ended before {wanted:?}: {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn the_handler_of_the_guide_is_served(platform: Platform) {
    let server = Server::start(platform);
    server.load(Load { name: "my-app".to_owned(), ..Load::default() }, "handler.wasm");
    for version in VERSIONS {
        let answer = server.get(&[version], "/my-app/hello");
        assert_eq!(answer, ("Hello from inside SGX!".to_owned(), "200".to_owned()), "{version}");
        assert_eq!(server.get(&[version], "/my-app").0, "Unknown path");
    }
}

fn the_example_is_served(platform: Platform) {
    let server = Server::start(platform);
    server.load(Load { name: "hello-http".to_owned(), ..Load::default() }, "hello_http.wasm");
    for (version, visits) in VERSIONS.into_iter().zip(["1\n", "2\n"]) {
        assert_eq!(server.get(&[version], "/hello-http/").0, "Hello from inside the enclave!\n");
        assert_eq!(server.get(&[version], "/hello-http/visits").0, visits);
        let shouted = server.get(&[version, "--data", "make it loud"], "/hello-http/shout");
        assert_eq!(shouted, ("MAKE IT LOUD".to_owned(), "200".to_owned()), "{version}");
        assert_eq!(server.get(&[version], "/hello-http/other").1, "404");
    }
}

fn routes_are_by_prefix_or_by_hostname(platform: Platform) {
    let server = Server::start(platform);
    let load = |name: &str, prefix: &str| Load {
        name: name.to_owned(),
        hostname: Some(format!("{name}.example")),
        route_prefix: Some(prefix.to_owned()),
        ..Load::default()
    };
    server.load(load("short", "/a"), "http_probe.wasm");
    server.load(load("long", "/a/b"), "handler.wasm");
    for version in VERSIONS {
        let (seen, status) = server.get(
            &[version, "-H", "x-forwarded-prefix: /forged", "-H", "Authorization: Basic eA=="],
            "/a/seen?x=%2F&y",
        );
        assert_eq!(status, "200", "{seen}");
        for line in [
            "method Method::Get\n",
            "path Some(\"/seen?x=%2F&y\")\n",
            "scheme Some(Scheme::Https)\n",
            "x-forwarded-prefix: /a\n",
            "authorization: Basic eA==\n",
            "changing them: Err(HeaderError::Immutable)\n",
        ] {
            assert!(seen.contains(line), "no {line:?} in {seen}");
        }
        assert!(seen.contains(&format!("authority Some(\"{}\")\n", server.host.address())), "{seen}");
        assert!(!seen.contains("forged") && !seen.contains("\nhost:"), "{seen}");
        assert_eq!(server.get(&[version], "/a/b/hello").0, "Hello from inside SGX!");
        assert_eq!(server.get(&[version], "/a/bc").1, "404", "of the app with the shorter prefix");
        let (problem, status) = server.get(&[version], "/ab");
        assert!(status == "404" && problem.contains("\"code\":\"not-found\""), "{problem}");
        // An operator's credential is for nobody else.
        let token =
            "Authorization: Bearer eyJhbGciOiJFUzI1NiIsInR5cCI6ImVuY2xhdmUtb3MtdG9rZW4rand0In0.e30.eA";
        let (seen, _) = server.get(&[version, "-H", token], "/a/seen");
        assert!(!seen.contains("authorization"), "{seen}");

        let port = server.host.address().port();
        let of_name = |host: &str, path: &str| {
            let resolve = format!("short.example:{port}:{}", server.host.address().ip());
            let output = Command::new("curl")
                .args(["--silent", "--insecure", "--max-time", "60", version, "--resolve", &resolve])
                .args(["--write-out", "\n%{http_code}", "-H", &format!("Host: {host}")])
                .arg(format!("https://short.example:{port}{path}"))
                .output()
                .unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let own = format!("short.example:{port}");
        let seen = of_name(&own, "/seen?z");
        assert!(seen.contains("path Some(\"/seen?z\")\n") && seen.contains(&own), "{seen}");
        assert!(!seen.contains("x-forwarded-prefix"), "{seen}");
        // Only that app is there, and the prefix means nothing.
        assert!(of_name(&own, "/a/b/hello").ends_with("no such path\n\n404"));
        assert!(of_name("long.example", "/hello").ends_with("421"));
    }
}

fn bodies_stream_both_ways(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    let text = "0123456789abcdef".repeat(20_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let body = format!("@{}", file.path().display());
    for version in VERSIONS {
        let (echo, status) = server.get(&[version, "--data-binary", &body], "/app/echo");
        assert!(status == "200" && echo == text, "{version}: {} bytes of {}", echo.len(), text.len());
        let chunked =
            server.get(&[version, "--data-binary", &body, "-H", "Transfer-Encoding: chunked"], "/app/echo");
        assert!(chunked.0 == text, "{version}, chunked");
    }
    // Each piece comes back before the next is sent.
    let mut connection = server.raw();
    connection
        .write_all(
            b"POST /app/echo HTTP/1.1\r\nhost: h\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .unwrap();
    for piece in ["first", "second", "third"] {
        connection.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).unwrap();
        connection.flush().unwrap();
        read_until(&mut connection, piece);
    }
    connection.write_all(b"0\r\nx-sum: 16\r\n\r\n").unwrap();
    connection.flush().unwrap();
    assert!(read_until(&mut connection, "x-sum").contains("x-sum: 16"));
}

fn a_large_upload_passes_through_a_small_app(platform: Platform) {
    let rounds: u64 = std::env::var("ENCLAVE_OS_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mib: u64 = if rounds > 1 { 1024 } else { 96 };
    let load = Load {
        max_memory_bytes: Some(64 << 20),
        http_max_fuel: Some(100_000_000_000),
        http_max_request_bytes: Some(mib << 20),
        ..Load::default()
    };
    let server = Server::with_app(platform, load);
    for version in VERSIONS {
        let mut curl = server.curl_command(&[version, "-T", "-"], "/app/sum");
        let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = curl.stdin.take().unwrap();
        let piece: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
        let writer = std::thread::spawn(move || {
            for _ in 0..mib {
                input.write_all(&piece).unwrap();
            }
            piece
        });
        let output = curl.wait_with_output().unwrap();
        let piece = writer.join().unwrap();
        let mut sum = 0_u64;
        for _ in 0..mib {
            sum = piece.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        }
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(answer, format!("{} {sum} end\n", mib << 20), "{version}");
    }
}

fn an_answer_begins_before_the_request_ends(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    let mut connection = server.raw();
    connection.write_all(b"POST /app/early HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\r\n").unwrap();
    connection.flush().unwrap();
    let begun = read_until(&mut connection, "early\n");
    assert!(begun.starts_with("HTTP/1.1 200 "), "{begun}");
    connection.write_all(b"1234567").unwrap();
    connection.flush().unwrap();
    assert!(read_until(&mut connection, "0\r\n\r\n").contains("7\n"));
    // The connection is good for the next one.
    connection.write_all(b"GET /app/hello HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    connection.flush().unwrap();
    assert!(read_until(&mut connection, "hello\n").starts_with("HTTP/1.1 200 "));
}

fn a_slow_reader_makes_the_app_wait(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    let mib: u64 = 8;
    let mut connection = server.raw();
    let request = format!("GET /app/bytes?{} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", mib << 20);
    connection.write_all(request.as_bytes()).unwrap();
    connection.flush().unwrap();
    let head = read_until(&mut connection, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // Far more than what the app may have waiting and the sockets hold: while nobody reads, it is not done.
    std::thread::sleep(Duration::from_millis(500));
    assert!(!server.host.output().contains("finish"), "{}", server.host.output());
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).unwrap();
    assert!(rest.len() as u64 > (mib << 20) - 8192 && rest.ends_with(b"0\r\n\r\n"), "{}", rest.len());
    server.wait_for_output("finish: Ok(())");
    for version in VERSIONS {
        let output = server.curl(&[version, "--limit-rate", "4M"], &format!("/app/bytes?{}", mib << 20));
        assert_eq!(output.stdout.len() as u64, mib << 20, "{version}");
    }
}

fn trailers_heads_and_interim_answers(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    let mut connection = server.raw();
    connection.write_all(b"GET /app/trailers HTTP/1.1\r\nhost: h\r\nte: trailers\r\n\r\n").unwrap();
    connection.flush().unwrap();
    let answer = read_until(&mut connection, "x-count: 5");
    // What a client's cookie jar or cache would obey stays behind.
    assert!(answer.contains("body\n") && !answer.contains("id=late"), "{answer}");
    let mut connection = server.raw();
    let expecting = "POST /app/sum HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    connection.write_all(expecting.as_bytes()).unwrap();
    connection.flush().unwrap();
    assert!(read_until(&mut connection, "\r\n\r\n").starts_with("HTTP/1.1 100 "));
    connection.write_all(b"abc").unwrap();
    connection.flush().unwrap();
    assert!(read_until(&mut connection, "end\n").contains("3 96354 end"));
    // Who does not want the body does not ask for it.
    let mut connection = server.raw();
    connection.write_all(expecting.replace("/sum", "/hello").as_bytes()).unwrap();
    connection.flush().unwrap();
    assert!(read_until(&mut connection, "hello\n").starts_with("HTTP/1.1 200 "));

    for version in VERSIONS {
        let output = server.curl(&[version, "--include", "-H", "te: trailers"], "/app/trailers");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("body\n") && text.contains("x-count: 5"), "{version}: {text}");
        assert!(!text.contains("id=late"), "{version}: {text}");
        let output = server.curl(&[version, "--head"], "/app/announced?7,7");
        let head = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && head.contains("content-length: 7"), "{version}: {head}");
        assert_eq!(server.get(&[version, "--head"], "/app/hello").1, "200");
        for (status, body) in [("201", "body\n"), ("404", "body\n"), ("204", ""), ("304", "")] {
            let answer = server.get(&[version], &format!("/app/status?{status}"));
            assert_eq!(answer, (body.to_owned(), status.to_owned()), "{version}");
        }
        // No interim status ends an exchange.
        assert_eq!(server.get(&[version], "/app/status?103").1, "500");
    }
}

fn what_is_coded_otherwise_ends_its_connection(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    let targets = ["/app/echo", "/.enclave/v1/apps/app/call/none"];
    for (target, coding) in
        targets.into_iter().flat_map(|to| [(to, "gzip, chunked"), (to, "chunked, chunked")])
    {
        let mut connection = server.raw();
        let request = format!("POST {target} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: {coding}\r\n\r\n");
        let behind = "0\r\n\r\nGET /app/hello HTTP/1.1\r\nhost: h\r\n\r\n";
        connection.write_all((request + behind).as_bytes()).unwrap();
        connection.flush().unwrap();
        let mut answers = Vec::new();
        connection.read_to_end(&mut answers).unwrap();
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 501 ") && answers.contains("connection: close"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
    }
}

fn what_an_app_cannot_set(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    let (fields, _) = server.get(&[], "/app/fields");
    for name in ["connection", "transfer-encoding", "host", "upgrade", "keep-alive"] {
        assert!(fields.contains(&format!("{name}: Err(HeaderError::Forbidden)\n")), "{fields}");
    }
    for line in ["a b: Err(HeaderError::InvalidSyntax)\n", "x-fine: Ok(())\n"] {
        assert!(fields.contains(line), "{fields}");
    }
    assert!(fields.contains("line end: Err(HeaderError::InvalidSyntax)"), "{fields}");
}

fn what_an_app_sets_is_what_it_reads_back(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    let (kept, _) = server.get(&[], "/app/kept");
    let expected =
        "[Ok(()), Ok(()), Ok(())] [Some(1), Some(2), Some(3)] Ok(()) Method::Put Ok(()) false Ok(()) 418";
    assert_eq!(kept.trim(), expected);
}

fn an_app_that_fails_before_its_answer(platform: Platform) {
    let server = Server::with_app(platform, Load { http_max_fuel: Some(50_000_000), ..Load::default() });
    for version in VERSIONS {
        for (path, reason) in
            [("/trap", "trap"), ("/never", "no-response"), ("/spin", "fuel-exhausted"), ("/hoard", "trap")]
        {
            let (problem, status) = server.get(&[version], &format!("/app{path}"));
            assert_eq!(status, "500", "{path}: {problem}");
            let problem: serde_json::Value = serde_json::from_str(&problem).unwrap();
            assert_eq!((&problem["code"], &problem["reason"]), (&"app-failed".into(), &reason.into()));
            let id = problem["error_id"].as_str().unwrap();
            assert_eq!(id.len(), 16, "{problem}");
            server.wait_for_output(&format!("error id {id}: "));
        }
        let (problem, status) = server.get(&[version], "/app/error");
        assert!(status == "403" && problem.contains("http-request-denied"), "{problem}");
        // What the app says in its log is not for its clients.
        assert!(!server.get(&[version], "/app/trap").0.contains("unreachable"));
        assert_eq!(server.get(&[version], "/app/hello").0, "hello\n");
    }
    for words in ["http_max_fuel", "at most 4194304 bytes of HTTP fields and bodies"] {
        assert!(server.host.output().contains(words), "{}", server.host.output());
    }
}

fn an_app_that_fails_after_its_answer_began(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    for path in ["/app/trap-after", "/app/leave-open", "/app/announced?7,5", "/app/announced?5,7"] {
        // HTTP/2: the stream is reset (curl's error 92), HTTP/1.1: cut off before its end (18, or 56 for a reset).
        for (version, codes) in [("--http2", &[92][..]), ("--http1.1", &[18, 56])] {
            let output = server.curl(&[version], path);
            let code = output.status.code().unwrap();
            // All five bytes that were announced are there in the last case, and the app was told of the others.
            let complete = path.ends_with("5,7") && code == 0 && output.stdout == b"";
            assert!(codes.contains(&code) || complete, "{path} {version}: {output:?}");
        }
    }
    server.wait_for_output("finish: Err(ErrorCode::HttpResponseBodySize(Some(5)))");
    server.wait_for_output("finish: Err(ErrorCode::HttpResponseBodySize(Some(7)))");
    assert_eq!(server.get(&["--http2"], "/app/hello").0, "hello\n");
}

fn limits_of_requests(platform: Platform) {
    let load = Load {
        http_idle_timeout_ms: Some(1_500),
        http_timeout_ms: Some(4_000),
        http_max_request_bytes: Some(100_000),
        http_max_response_bytes: Some(200_000),
        ..Load::default()
    };
    let server = Server::with_app(platform, load);
    let mut http = server.host.connector().http().unwrap();
    let leaf = format!("{:?}", http.proof("app.app.limits").unwrap().leaf());
    for limit in ["idle_timeout_ms", "timeout_ms", "request_bytes", "response_bytes", "fuel"] {
        assert!(leaf.contains(limit), "{leaf}");
    }
    let big = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(big.path(), vec![b'x'; 100_001]).unwrap();
    let body = format!("@{}", big.path().display());
    // Over HTTP/2 some clients lose an answer that comes before they have sent their body.
    let (problem, status) = server.get(&["--http1.1", "--data-binary", &body], "/app/sum");
    assert!(status == "413" && problem.contains("too-large"), "{problem}");
    for version in VERSIONS {
        // Without an announced length the app finds out.
        let chunked = [version, "--data-binary", &body, "-H", "Transfer-Encoding: chunked"];
        let (answer, status) = server.get(&chunked, "/app/sum");
        assert!(status == "200" && answer.contains("HttpRequestBodySize"), "{version}: {answer}");
        let output = server.curl(&[version], "/app/bytes?200001");
        assert!(!output.status.success(), "{version}: {} bytes", output.stdout.len());
        assert_eq!(server.curl(&[version], "/app/bytes?200000").stdout.len(), 200_000);
        let (problem, status) = server.get(&[version], "/app/sleep?600000");
        assert!(status == "504" && problem.contains("\"code\":\"deadline\""), "{version}: {problem}");
        let output = server.curl(&[version], "/app/tick");
        assert!(!output.status.success() && output.stdout.starts_with(b"tick\n"), "{version}");
    }
    // A body that does not come, and an answer that nobody takes, end too.
    let mut connection = server.raw();
    connection.write_all(b"POST /app/sum HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc").unwrap();
    connection.flush().unwrap();
    assert!(read_until(&mut connection, "deadline").starts_with("HTTP/1.1 504 "));
    let refused = server.host.framed().unwrap().load(Load {
        name: "none".to_owned(),
        bytes: compile(platform, &guest("tests/guests/handler", "handler.wasm").unwrap()).unwrap(),
        http_max_fuel: Some(0),
        ..Load::default()
    });
    assert!(refused.unwrap_err().to_string().contains("http_max_fuel"));
}

fn a_client_that_leaves_takes_its_guest_along(platform: Platform) {
    let hours = Some(3_600_000);
    let limits = Load { http_idle_timeout_ms: hours, http_timeout_ms: hours, ..Load::default() };
    let server = Server::with_app(platform, Load { http_max_fuel: Some(u64::MAX / 2), ..limits });
    // A guest's unfinished line is printed when its call is over: nothing else ends it here.
    for version in VERSIONS {
        for (path, line) in [("/app/sleep?3000000", "asleep"), ("/app/tick", "ticking")] {
            let lines = || server.host.output().matches(line).count();
            let before = lines();
            let output = server.curl(&[version, "--max-time", "2"], path);
            assert_eq!(output.status.code(), Some(28), "{version} {path}: {output:?}");
            let until = Instant::now() + PATIENCE;
            while lines() == before {
                assert!(Instant::now() < until, "{version} {path}: the guest goes on without its client");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    // One that has its answer is no reason to end what the app does beside.
    assert_eq!(server.get(&[], "/app/after?300").0, "answered\n");
    server.wait_for_output("went on after the answer");
}

fn what_was_answered_is_stored(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::development(platform, folder.path().join("data"));
    let server = Server { platform, host: HostProcess::start(&options).unwrap(), _folder: folder };
    server.load(Load { name: "app".to_owned(), ..Load::default() }, "http_probe.wasm");
    assert_eq!(server.get(&["--http2"], "/app/store?precious").0, "stored\n");
    let Server { host, _folder: folder, .. } = server;
    host.kill().unwrap();
    let server = Server { platform, host: HostProcess::start(&options).unwrap(), _folder: folder };
    assert_eq!(server.get(&["--http2"], "/app/stored").0, "precious");
}

fn an_app_loaded_anew_is_stale_before_it_sees_a_byte(platform: Platform) {
    let server = Server::with_app(platform, Load::default());
    let mut connection = server.raw();
    connection.write_all(b"GET /app/hello HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    connection.flush().unwrap();
    read_until(&mut connection, "hello\n");
    let changed = Load { name: "app".to_owned(), version: Some("2".to_owned()), ..Load::default() };
    server.load(changed, "http_probe.wasm");
    connection.write_all(b"GET /app/hello HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    connection.flush().unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.contains("attestation-stale"), "{answer}");
    assert_eq!(server.get(&[], "/app/hello").0, "hello\n");
}

fn requests_of_an_app_go_out_over_tls_only(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(platform, folder.path().join("data")).unwrap();
    let mut options = world.options();
    let elsewhere = format!("other.example:443:{}", world.site().address());
    // One worker: connections are kept for each.
    options.arguments.extend(["--workers".to_owned(), "1".to_owned(), "--resolve".to_owned(), elsewhere]);
    options.arguments.drain(..2);
    let server = Server { platform, host: HostProcess::start(&options).unwrap(), _folder: folder };
    server.load(Load { name: "app".to_owned(), ..Load::default() }, "http_probe.wasm");
    let listed =
        Load { name: "listed".to_owned(), egress: Some(vec!["a.example".to_owned()]), ..Load::default() };
    server.load(listed, "http_probe.wasm");
    let fetch = |app: &str, url: &str| server.get(&[], &format!("/{app}/fetch?{url}")).0;

    for _ in 0..3 {
        let page = fetch("app", &format!("https://{NEWS}/rss/une.xml?keep"));
        assert!(page.starts_with("200 <?xml") && page.ends_with("</rss>"), "{page}");
    }
    assert_eq!((world.site().requests(), world.site().connections()), (3, 1), "one connection is used again");
    // A server that closes after its answer is no trouble.
    for _ in 0..2 {
        assert!(fetch("app", &format!("https://{NEWS}/nothing")).starts_with("404 nothing at"));
    }
    assert_eq!(fetch("app", &format!("http://{NEWS}/")), "ErrorCode::HttpRequestDenied");
    assert_eq!(fetch("app", &format!("ftp://{NEWS}/")), "ErrorCode::HttpProtocolError");
    assert_eq!(fetch("listed", &format!("https://{NEWS}/")), "ErrorCode::HttpRequestDenied");
    assert_eq!(fetch("app", "https://other.example/"), "ErrorCode::TlsCertificateError");

    let line = format!("https egress: GET {NEWS}:443 -> 200, 0 bytes sent, ");
    server.wait_for_output(&line);
    let output = server.host.stop_with_output().unwrap();
    let told: Vec<_> = output.lines().filter(|line| line.contains("https egress")).collect();
    assert_eq!(told.len(), 6, "{told:#?}");
    assert!(told.iter().all(|line| line.contains("app")), "{told:#?}");
    assert!(told.iter().any(|line| line.contains("other.example:443 -> tls-certificate-error")), "{told:#?}");
    assert!(!output.contains("une.xml") && !output.contains("/nothing"), "a path left the enclave: {output}");
}
