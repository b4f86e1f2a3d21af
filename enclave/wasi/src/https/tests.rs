use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::*;

fn request(url: &str) -> wit::Request {
    wit::Request { method: wit::Method::Get, url: url.to_owned(), headers: Vec::new(), body: None }
}

fn code<T>(result: Result<T, FetchError>) -> &'static str {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.code,
    }
}

#[test]
fn urls_lead_where_they_say() {
    let cases = [
        ("https://example.org", "example.org", 443, "example.org", "/"),
        ("HTTPS://Example.org:8443/a?b=c#d", "Example.org", 8443, "Example.org:8443", "/a?b=c"),
        ("https://example.org:443/", "example.org", 443, "example.org", "/"),
        ("https://192.0.2.7/x", "192.0.2.7", 443, "192.0.2.7", "/x"),
        ("https://[2001:db8::1]:8443/", "2001:db8::1", 8443, "[2001:db8::1]:8443", "/"),
        ("https://example.org?q", "example.org", 443, "example.org", "/?q"),
    ];
    for (url, host, port, authority, path) in cases {
        let target = Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        let found = {
            let Destination { host, port, authority, .. } = &target.destination;
            (host.as_str(), *port, authority.as_str(), target.path.as_str())
        };
        assert_eq!(found, (host, port, authority, path), "{url}");
    }
}

#[test]
fn urls_that_are_not_https_or_hide_something_are_refused() {
    let long = format!("https://example.org/{}", "x".repeat(MAX_URL));
    let cases = [
        ("http://example.org/", "scheme-refused"),
        ("HTTP://example.org/", "scheme-refused"),
        ("ftp://example.org/", "scheme-refused"),
        ("example.org", "bad-url"),
        ("/path", "bad-url"),
        ("https://", "bad-url"),
        ("https://user:secret@example.org/", "bad-url"),
        ("https://user@example.org/", "bad-url"),
        ("https://example.org:0/", "bad-url"),
        ("https://example.org:65536/", "bad-url"),
        ("https://exa mple.org/", "bad-url"),
        ("https://under_score..org/", "bad-url"),
        ("https://example.org/\r\nhost: other", "bad-url"),
        (long.as_str(), "bad-url"),
    ];
    for (url, expected) in cases {
        assert_eq!(code(Target::parse(url)), expected, "{url:?}");
    }
    assert!(Target::parse("http://example.org/").unwrap_err().to_string().contains("only https://"));
}

#[test]
fn headers_that_frame_the_message_are_the_enclaves() {
    let target = Target::parse("https://example.org:8443/a").unwrap();
    let with = |name: &str, value: &str| {
        let headers = vec![(name.to_owned(), value.to_owned())];
        message(&target, wit::Request { headers, ..request("") })
    };
    for name in OURS {
        assert_eq!(code(with(&name.to_uppercase(), "1")), "bad-header", "{name}");
    }
    assert_eq!(code(with("x-a", "1\r\nhost: other")), "bad-header");
    assert_eq!(code(with("not a name", "1")), "bad-header");
    assert_eq!(code(with("x-a", &"v".repeat(MAX_HEADER_BYTES))), "bad-header");
    let many = vec![("x-a".to_owned(), "1".to_owned()); MAX_HEADERS + 1];
    assert_eq!(code(message(&target, wit::Request { headers: many, ..request("") })), "bad-header");
    let body = Some(vec![0; MAX_REQUEST_BODY + 1]);
    assert_eq!(code(message(&target, wit::Request { body, ..request("") })), "request-too-large");
    let message = with("user-agent", "mine").unwrap();
    assert_eq!(
        (&message.headers()[HOST], &message.headers()[USER_AGENT]),
        (&HeaderValue::from_static("example.org:8443"), &HeaderValue::from_static("mine"),)
    );
}

/// A server that has its answer ready, and gives it once the request is there.
struct Canned {
    answer: Vec<u8>,
    given: usize,
    sent: Arc<Mutex<Vec<u8>>>,
    waiting: Option<Waker>,
}

impl AsyncRead for Canned {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.sent.lock().unwrap().is_empty() {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = (self.answer.len() - self.given).min(out.len());
        out[..length].copy_from_slice(&self.answer[self.given..self.given + length]);
        self.given += length;
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for Canned {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sent.lock().unwrap().extend_from_slice(bytes);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What comes of this answer, and what was sent.
fn answered(answer: &[u8]) -> (Result<wit::Response, FetchError>, String) {
    let sent: Arc<Mutex<Vec<u8>>> = Arc::default();
    let server = Canned { answer: answer.to_vec(), given: 0, sent: sent.clone(), waiting: None };
    let target = Target::parse("https://example.org/path?query").unwrap();
    let message = message(&target, wit::Request { body: Some(b"body".to_vec()), ..request("") }).unwrap();
    let driver: Arc<Mutex<Option<future::Boxed<()>>>> = Arc::default();
    let slot = driver.clone();
    let mut place = crate::room::Room::new(64 << 20).place();
    let mut exchange =
        Box::pin(exchange(server, message, &mut place, move |task| *slot.lock().unwrap() = Some(task)));
    let result = future::block_on(future::poll_fn(|cx| {
        if let Poll::Ready(result) = exchange.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        let mut driver = driver.lock().unwrap();
        if let Some(task) = driver.as_mut()
            && task.as_mut().poll(cx).is_ready()
        {
            *driver = None;
        }
        Poll::Pending
    }));
    let sent = String::from_utf8(sent.lock().unwrap().clone()).unwrap();
    (result, sent)
}

#[test]
fn a_response_comes_whole_and_a_redirect_is_not_followed() {
    let answer = b"HTTP/1.1 302 Found\r\nlocation: https://elsewhere.test/\r\ncontent-length: 5\r\n\r\nhello";
    let (response, sent) = answered(answer);
    let response = response.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (302, b"hello".as_slice()));
    assert!(response.headers.contains(&("location".to_owned(), "https://elsewhere.test/".to_owned())));
    assert!(sent.starts_with("GET /path?query HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("host: example.org\r\n") && sent.ends_with("\r\n\r\nbody"), "{sent}");
}

#[test]
fn chunks_are_put_together() {
    let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(answered(answer).0.unwrap().body, b"abcde");
}

#[test]
fn what_is_cut_off_too_large_or_not_http_is_an_error() {
    assert_eq!(code(answered(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").0), "http-failed");
    assert_eq!(code(answered(b"SSH-2.0-OpenSSH\r\n").0), "http-failed");
    assert_eq!(code(answered(b"").0), "http-failed");
    let many = (0..=MAX_HEADERS).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    assert_eq!(code(answered(format!("HTTP/1.1 200 OK\r\n{many}\r\n").as_bytes()).0), "http-failed");
    let mut large =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", MAX_RESPONSE_BODY + 1).into_bytes();
    large.resize(large.len() + MAX_RESPONSE_BODY + 1, b'x');
    assert_eq!(code(answered(&large).0), "response-too-large");
}
