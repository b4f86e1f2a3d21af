//! HTTP/1.1, as much of it as the management paths need (RFC 9112).

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::operator::Operator;
use crate::{ClientError, Connection, OperatorKey, Peer};

/// The head of an answer may take this many bytes.
const MAX_HEAD: usize = 64 * 1024;
/// The body of an answer may take this many bytes.
const MAX_BODY: u64 = 64 * 1024 * 1024;
/// Interim answers (1xx) before the one that counts.
const MAX_INTERIM: usize = 16;
/// Trailer fields together may take this many bytes.
const MAX_TRAILERS: usize = 64 * 1024;
/// Bytes written between two calls of the progress function.
const PIECE: usize = 64 * 1024;

/// HTTP over one connection, one request at a time.
#[derive(Debug)]
pub struct Http {
    connection: Connection,
    host: String,
    /// Most bytes of an answer's body.
    limit: u64,
    pub(crate) operator: Option<Operator>,
    /// Read, but not yet used.
    buffer: Vec<u8>,
}

/// What a request carries.
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// Bytes with their media type.
    Bytes(&'a str, &'a [u8]),
    /// Pieces that follow each other, and a function that is told how many bytes have left.
    Pieces(&'a str, &'a [&'a [u8]], &'a mut dyn FnMut(u64)),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Http {
    /// Speaks HTTP over an open connection; `host` is the `Host` field.
    pub fn new(connection: Connection, host: impl Into<String>) -> Self {
        let host = host.into();
        let host = if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host };
        Self { connection, host, limit: MAX_BODY, operator: None, buffer: Vec::new() }
    }

    /// Sends with every operation of the management interface that needs one a token of this key, for that operation and
    /// no more, and gets a nonce for it first where one is needed. [`Http::request`] sends what it is given.
    ///
    /// # Errors
    /// [`ClientError::NoAudience`].
    pub fn operator(mut self, key: Arc<OperatorKey>) -> Result<Self, ClientError> {
        let audience = self.peer().audience()?;
        self.operator = Some(Operator { key, audience });
        Ok(self)
    }

    /// Who answered.
    pub fn peer(&self) -> &Peer {
        self.connection.peer()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A request and its answer, whatever its status.
    ///
    /// `target` is the path with its query, already encoded.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Response, ClientError> {
        let (media, length) = match &body {
            Body::Empty => (None, 0),
            Body::Bytes(media, bytes) => (Some(*media), bytes.len()),
            Body::Pieces(media, pieces, _) => (Some(*media), pieces.iter().map(|piece| piece.len()).sum()),
        };
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {}\r\n", self.host);
        if media.is_some() || matches!(method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        for (name, value) in media.iter().map(|media| ("content-type", *media)).chain(headers.iter().copied())
        {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let sent = self.send(head.as_bytes(), body);
        // A server that refuses an upload answers and closes while it is still being sent.
        match (self.receive(method), sent) {
            (Ok(response), _) => Ok(response),
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }

    fn send(&mut self, head: &[u8], body: Body<'_>) -> io::Result<()> {
        self.connection.write_all(head)?;
        match body {
            Body::Empty => {}
            Body::Bytes(_, bytes) => self.connection.write_all(bytes)?,
            Body::Pieces(_, pieces, progress) => {
                let mut sent = 0;
                for piece in pieces.iter().flat_map(|piece| piece.chunks(PIECE)) {
                    self.connection.write_all(piece)?;
                    sent += piece.len() as u64;
                    progress(sent);
                }
            }
        }
        self.connection.flush()
    }

    fn receive(&mut self, method: &str) -> Result<Response, ClientError> {
        for _ in 0..MAX_INTERIM {
            let (status, headers) = self.head()?;
            if (100..200).contains(&status) {
                continue;
            }
            let body = if method == "HEAD" || matches!(status, 204 | 304) {
                Vec::new()
            } else {
                self.body(&headers)?
            };
            return Ok(Response { status, headers, body });
        }
        Err(ClientError::Protocol("interim answers without end".into()))
    }

    fn head(&mut self) -> Result<(u16, Vec<(String, String)>), ClientError> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut fields);
            match head.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) => {
                    let status = head.code.unwrap_or_default();
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let headers =
                        head.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect();
                    self.buffer.drain(..length);
                    return Ok((status, headers));
                }
                Ok(httparse::Status::Partial) if self.buffer.len() < MAX_HEAD => self.fill()?,
                Ok(httparse::Status::Partial) => {
                    return Err(ClientError::Protocol(format!("HTTP header fields beyond {MAX_HEAD} bytes")));
                }
                Err(error) => return Err(ClientError::Protocol(format!("not HTTP: {error}"))),
            }
        }
    }

    fn body(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, ClientError> {
        let field = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.trim());
        if let Some(coding) = field("transfer-encoding") {
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err(ClientError::Protocol(format!("transfer coding `{coding}`")));
            }
            return self.chunks();
        }
        let mut body = Vec::new();
        match field("content-length") {
            Some(length) => {
                let length = length
                    .parse()
                    .map_err(|_| ClientError::Protocol(format!("content-length `{length}`")))?;
                self.take(length, &mut body)?;
            }
            None => {
                body.append(&mut self.buffer);
                let left = self.limit.saturating_sub(body.len() as u64) + 1;
                (&mut self.connection).take(left).read_to_end(&mut body)?;
                self.too_large(body.len() as u64)?;
            }
        }
        Ok(body)
    }

    fn chunks(&mut self) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        loop {
            let size = loop {
                match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete((used, size))) => {
                        self.buffer.drain(..used);
                        break size;
                    }
                    Ok(httparse::Status::Partial) if self.buffer.len() < MAX_HEAD => self.fill()?,
                    _ => return Err(ClientError::Protocol("a chunk of the body has no size".into())),
                }
            };
            if size == 0 {
                return self.trailers().map(|()| body);
            }
            self.take(size, &mut body)?;
            let mut end = Vec::new();
            self.take(2, &mut end)?;
            if end != b"\r\n" {
                return Err(ClientError::Protocol("a chunk of the body does not end as announced".into()));
            }
        }
    }

    fn trailers(&mut self) -> Result<(), ClientError> {
        let mut seen = 0;
        while seen < MAX_TRAILERS {
            let end = self.buffer.windows(2).position(|pair| pair == b"\r\n");
            match end {
                Some(0) => {
                    self.buffer.drain(..2);
                    return Ok(());
                }
                Some(at) => {
                    seen += at + 2;
                    self.buffer.drain(..at + 2);
                }
                None if self.buffer.len() < MAX_HEAD => self.fill()?,
                None => break,
            }
        }
        Err(ClientError::Protocol("trailer fields without end".into()))
    }

    /// Moves `length` bytes of the body to `out`, which grows as they come.
    fn take(&mut self, length: u64, out: &mut Vec<u8>) -> Result<(), ClientError> {
        self.too_large((out.len() as u64).saturating_add(length))?;
        let buffered = self.buffer.len().min(length as usize);
        out.extend(self.buffer.drain(..buffered));
        let left = length - buffered as u64;
        let read = (&mut self.connection).take(left).read_to_end(out)?;
        if (read as u64) < left { Err(ClientError::Closed) } else { Ok(()) }
    }

    fn too_large(&self, length: u64) -> Result<(), ClientError> {
        let limit = self.limit;
        if length > limit { Err(ClientError::AnswerTooLarge { length, limit }) } else { Ok(()) }
    }

    pub(crate) fn set_limit(&mut self, limit: Option<u64>) {
        self.limit = limit.unwrap_or(MAX_BODY);
    }

    fn fill(&mut self) -> Result<(), ClientError> {
        let mut piece = [0; 8 * 1024];
        let read = match self.connection.read(&mut piece) {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(e) => return Err(e.into()),
        };
        match piece.get(..read) {
            Some(bytes) if !bytes.is_empty() => {
                self.buffer.extend_from_slice(bytes);
                Ok(())
            }
            _ => Err(ClientError::Closed),
        }
    }
}

impl Response {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header field's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
