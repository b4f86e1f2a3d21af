//! Answers HTTP requests in every way that an app can, by their path.

mod outgoing;

wit_bindgen::generate!({
    path: [
        "../../../sdk/wit/deps/io",
        "../../../sdk/wit/deps/clocks",
        "../../../sdk/wit/deps/random",
        "../../../sdk/wit/deps/filesystem",
        "../../../sdk/wit/deps/sockets",
        "../../../sdk/wit/deps/cli",
        "../../../sdk/wit/deps/http",
    ],
    world: "wasi:http/proxy@0.2.12",
    generate_all,
});

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use exports::wasi::http::incoming_handler::Guest;
use wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, RequestOptions, ResponseOutparam,
};
use wasi::io::streams::{InputStream, OutputStream, StreamError};

struct Probe;

export!(Probe);

impl Guest for Probe {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/hello" => text(out, 200, "hello\n"),
            "/seen" => text(out, 200, &seen(&request)),
            "/echo" => echo(request, out),
            "/sum" => sum(request, out),
            "/early" => early(request, out),
            "/bytes" => bytes(out, number(query)),
            "/announced" => announced(out, query),
            "/trailers" => trailers(out),
            "/fields" => text(out, 200, &fields()),
            "/kept" => text(out, 200, &kept()),
            "/status" => text(out, number(query) as u16, "body\n"),
            "/never" => drop(out),
            "/error" => ResponseOutparam::set(out, Err(ErrorCode::HttpRequestDenied)),
            "/trap" => panic!("on purpose"),
            "/trap-after" => {
                let (_body, stream) = begin(out, 200, &[]);
                write(&stream, b"begun");
                panic!("on purpose");
            }
            "/leave-open" => {
                let (body, stream) = begin(out, 200, &[]);
                write(&stream, b"begun");
                drop((stream, body));
            }
            "/hoard" => hoard(),
            "/spin" => loop {
                black_box(0);
            },
            "/after" => {
                text(out, 200, "answered\n");
                std::thread::sleep(Duration::from_millis(number(query)));
                println!("went on after the answer");
            }
            "/sleep" => {
                // The line is printed when the call is over, however it ends.
                print!("asleep");
                std::io::stdout().flush().unwrap();
                std::thread::sleep(Duration::from_millis(number(query)));
                text(out, 200, "awake\n");
            }
            "/tick" => {
                let (body, stream) = begin(out, 200, &[]);
                print!("ticking");
                std::io::stdout().flush().unwrap();
                while stream.blocking_write_and_flush(b"tick\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                drop(stream);
                OutgoingBody::finish(body, None).unwrap();
            }
            "/store" => {
                std::fs::write("/kept.txt", query).unwrap();
                text(out, 200, "stored\n");
            }
            "/stored" => text(out, 200, &std::fs::read_to_string("/kept.txt").unwrap_or_default()),
            "/fetch" => outgoing::fetch(query, out),
            _ => text(out, 404, "no such path\n"),
        }
    }
}

fn number(query: &str) -> u64 {
    query.parse().unwrap_or_default()
}

fn headers(entries: &[(&str, &str)]) -> Fields {
    let entries: Vec<_> = entries.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect();
    Fields::from_list(&entries).unwrap()
}

/// Sends the head; the body is to come.
fn begin(out: ResponseOutparam, status: u16, entries: &[(&str, &str)]) -> (OutgoingBody, OutputStream) {
    let response = OutgoingResponse::new(headers(entries));
    response.set_status_code(status).unwrap();
    let body = response.body().unwrap();
    let stream = body.write().unwrap();
    ResponseOutparam::set(out, Ok(response));
    (body, stream)
}

pub fn text(out: ResponseOutparam, status: u16, text: &str) {
    let (body, stream) = begin(out, status, &[("content-type", "text/plain")]);
    write(&stream, text.as_bytes());
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}

fn write(stream: &OutputStream, mut bytes: &[u8]) {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        ready.block();
        let room = stream.check_write().unwrap() as usize;
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        stream.write(now).unwrap();
        bytes = later;
    }
}

/// The next bytes; `None` at the end.
fn read(stream: &InputStream) -> Option<Result<Vec<u8>, String>> {
    match stream.blocking_read(64 << 10) {
        Ok(bytes) => Some(Ok(bytes)),
        Err(StreamError::Closed) => None,
        Err(StreamError::LastOperationFailed(error)) => {
            Some(Err(format!("{:?}", wasi::http::types::http_error_code(&error))))
        }
    }
}

fn seen(request: &IncomingRequest) -> String {
    let mut seen = format!(
        "method {:?}\npath {:?}\nauthority {:?}\nscheme {:?}\n",
        request.method(),
        request.path_with_query(),
        request.authority(),
        request.scheme()
    );
    let received = request.headers();
    for (name, value) in received.entries() {
        seen.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(&value)));
    }
    seen.push_str(&format!("changing them: {:?}\n", received.append("x", b"1")));
    seen
}

/// Body and trailers come back as they arrive.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().unwrap();
    let (body, stream) = begin(out, 200, &[("trailer", "x-sum")]);
    let from = incoming.stream().unwrap();
    while let Some(Ok(bytes)) = read(&from) {
        write(&stream, &bytes);
    }
    drop((from, stream));
    let future = IncomingBody::finish(incoming);
    future.subscribe().block();
    let trailers = future.get().unwrap().unwrap().unwrap().map(|trailers| Fields::clone(&trailers));
    OutgoingBody::finish(body, trailers).unwrap();
}

/// Reads all of the body and keeps none of it.
fn sum(request: IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().unwrap();
    let from = incoming.stream().unwrap();
    let (mut length, mut sum) = (0_u64, 0_u64);
    let mut end = "end".to_owned();
    while let Some(piece) = read(&from) {
        match piece {
            Ok(piece) => {
                length += piece.len() as u64;
                sum = piece.iter().fold(sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            }
            Err(error) => {
                end = error;
                break;
            }
        }
    }
    text(out, 200, &format!("{length} {sum} {end}\n"));
}

/// Answers before it has read anything.
fn early(request: IncomingRequest, out: ResponseOutparam) {
    let (body, stream) = begin(out, 200, &[]);
    write(&stream, b"early\n");
    let incoming = request.consume().unwrap();
    let from = incoming.stream().unwrap();
    let mut length = 0;
    while let Some(Ok(bytes)) = read(&from) {
        length += bytes.len();
    }
    write(&stream, format!("{length}\n").as_bytes());
    drop(stream);
    OutgoingBody::finish(body, None).unwrap();
}

fn bytes(out: ResponseOutparam, mut count: u64) {
    let (body, stream) = begin(out, 200, &[]);
    let piece = [b'x'; 16 << 10];
    let ready = stream.subscribe();
    while count > 0 {
        ready.block();
        let Ok(room) = stream.check_write() else { break };
        let now = count.min(room).min(piece.len() as u64);
        if stream.write(&piece[..now as usize]).is_err() {
            break;
        }
        count -= now;
    }
    drop((ready, stream));
    println!("finish: {:?}", OutgoingBody::finish(body, None));
}

/// `?SAID,WRITTEN`: a body of another length than its `content-length`.
fn announced(out: ResponseOutparam, query: &str) {
    let (said, written) = query.split_once(',').unwrap();
    let (body, stream) = begin(out, 200, &[("content-length", said)]);
    let result = stream.blocking_write_and_flush(&vec![b'x'; number(written) as usize]);
    println!("write: {:?}", result.map_err(|error| error.to_string().len() > 0));
    drop(stream);
    println!("finish: {:?}", OutgoingBody::finish(body, None));
}

fn trailers(out: ResponseOutparam) {
    let (body, stream) = begin(out, 200, &[("trailer", "x-count, set-cookie")]);
    write(&stream, b"body\n");
    drop(stream);
    let trailers = headers(&[("set-cookie", "id=late"), ("x-count", "5")]);
    OutgoingBody::finish(body, Some(trailers)).unwrap();
}

/// Fills bodies that are never sent.
fn hoard() {
    let mut all = Vec::new();
    loop {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().unwrap();
        let stream = body.write().unwrap();
        write(&stream, &vec![b'x'; 60 << 10]);
        all.push((response, body, stream));
    }
}

/// What was set and is read back.
fn kept() -> String {
    let options = RequestOptions::new();
    let set = [
        options.set_connect_timeout(Some(1)),
        options.set_first_byte_timeout(Some(2)),
        options.set_between_bytes_timeout(Some(3)),
    ];
    let timeouts = [options.connect_timeout(), options.first_byte_timeout(), options.between_bytes_timeout()];
    let request = OutgoingRequest::new(headers(&[("a", "1"), ("b", "2")]));
    let method = request.set_method(&Method::Put);
    let fields = headers(&[("a", "1"), ("b", "2")]);
    let deleted = fields.delete("a");
    let response = OutgoingResponse::new(fields);
    let status = response.set_status_code(418);
    format!(
        "{set:?} {timeouts:?} {method:?} {:?} {deleted:?} {:?} {status:?} {}",
        request.method(),
        response.headers().has("a"),
        response.status_code(),
    )
}

/// What can be set, and what not.
fn fields() -> String {
    let fields = Fields::new();
    let mut report = String::new();
    for name in ["connection", "transfer-encoding", "host", "upgrade", "keep-alive", "a b", "x-fine"] {
        report.push_str(&format!("{name}: {:?}\n", fields.append(name, b"1")));
    }
    report.push_str(&format!("line end: {:?}\n", fields.append("x", b"1\r\nset-cookie: a")));
    report
}
