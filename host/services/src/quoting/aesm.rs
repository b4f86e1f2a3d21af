//! Quotes from Intel's AESM service (`aesmd`), over its Unix socket.
//!
//! A connection carries one request and its answer, each a protobuf message behind its length (u32, the machine's
//! byte order). Code of our own in place of the `aesm-client` crate, which generates its messages while it is built
//! and allocates whatever length an answer claims.

mod error;
mod messages;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use boundary_wire::rpc::TARGET_INFO;
use prost::Message;
use socket2::{Domain, SockAddr, Socket, Type};

use super::QuotingError;
use super::hardware::{QuoteProvider, whole_quote};
pub(crate) use error::AesmError;
use messages::{
    InitQuoteRequest, KeyCountRequest, KeysRequest, QuoteRequest, QuoteSizeRequest, Request, Response,
};

/// Where aesmd listens.
pub const SOCKET: &str = "/var/run/aesmd/aesm.socket";

/// What the service may take: it may have to load the quoting enclave, or ask a PCCS.
const TIMEOUT_US: u32 = 25_000_000;
/// What it gets from us for one target info or quote, all the messages of it included: less than the 30 seconds
/// that the enclave waits, so that it hears what is wrong.
const PATIENCE: Duration = Duration::from_secs(28);
/// Answers are quotes with certificates at most.
const MAX_ANSWER: usize = 256 * 1024;

/// sgx_att_key_id_ext_t.
const KEY_ID: usize = 256;
/// Where it names the algorithm, and the algorithm of DCAP quotes: ECDSA-256 with P-256.
const ALGORITHM: std::ops::Range<usize> = 154..158;
const ECDSA_P256: u32 = 2;
/// More kinds of keys than the service has.
const MAX_KEYS: u32 = 64;

/// The service behind one socket.
#[derive(Debug)]
pub struct Aesm {
    socket: PathBuf,
    patience: Duration,
}

/// One target info or quote that is asked for, and when it has to be there.
struct Question<'a> {
    socket: &'a Path,
    until: Instant,
}

/// A connection that nothing keeps beyond a moment, however little comes at a time.
struct Talk {
    socket: Socket,
    until: Instant,
}

impl Aesm {
    /// The service that listens at `socket`.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), patience: PATIENCE }
    }

    fn question(&self) -> Question<'_> {
        Question { socket: &self.socket, until: Instant::now() + self.patience }
    }
}

impl Question<'_> {
    fn ask<T>(
        &self,
        request: &Request,
        pick: impl FnOnce(Response) -> Option<(u32, T)>,
    ) -> Result<T, AesmError> {
        let response = self.exchange(request)?;
        if response.unsupported.is_some() {
            return Err(AesmError::TooOld);
        }
        match pick(response) {
            Some((0, answer)) => Ok(answer),
            Some((code, _)) => Err(AesmError::Code(code)),
            None => Err(AesmError::Answer("it is not the answer to what was asked")),
        }
    }

    fn exchange(&self, request: &Request) -> Result<Response, AesmError> {
        let talk = AesmError::Talk;
        let left = left(self.until).map_err(talk)?;
        let connect = |source| AesmError::Connect { socket: self.socket.to_owned(), source };
        let mut socket = Talk::connect(self.socket, self.until, left).map_err(connect)?;
        let body = request.encode_to_vec();
        // Requests are a REPORT and a key id at most.
        let mut message = (body.len() as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&body);
        socket.write_all(&message).map_err(talk)?;
        let mut length = [0; 4];
        socket.read_exact(&mut length).map_err(talk)?;
        let length = u32::from_ne_bytes(length) as usize;
        if length > MAX_ANSWER {
            return Err(AesmError::Answer("it is longer than any answer"));
        }
        let mut answer = vec![0; length];
        socket.read_exact(&mut answer).map_err(talk)?;
        Response::decode(&*answer).map_err(|_| AesmError::Answer("it is no message of AESM's"))
    }

    /// The id of the key that signs DCAP quotes.
    fn key(&self) -> Result<Vec<u8>, AesmError> {
        let count = KeyCountRequest { timeout_us: Some(TIMEOUT_US) };
        let count = Request { key_count: Some(count), ..Request::default() };
        let count = self.ask(&count, |answer| answer.key_count.map(|r| (r.error, r.number.unwrap_or(0))))?;
        if count > MAX_KEYS {
            return Err(AesmError::Answer("it counts too many keys"));
        }
        let room = count * KEY_ID as u32;
        let keys = KeysRequest { room, timeout_us: Some(TIMEOUT_US) };
        let keys = Request { keys: Some(keys), ..Request::default() };
        let keys = self.ask(&keys, |answer| answer.keys.map(|r| (r.error, r.bytes.unwrap_or_default())))?;
        let is_ecdsa = |key: &&[u8; KEY_ID]| key.get(ALGORITHM) == Some(&ECDSA_P256.to_le_bytes()[..]);
        let key = keys.as_chunks::<KEY_ID>().0.iter().find(is_ecdsa);
        key.map(|key| key.to_vec()).ok_or(AesmError::NoEcdsa)
    }

    fn init(&self, key: &[u8], room: Option<u64>) -> Result<(Vec<u8>, u64), AesmError> {
        let init = InitQuoteRequest {
            key: Some(key.to_vec()),
            with_id: room.is_some(),
            room,
            timeout_us: Some(TIMEOUT_US),
        };
        let init = Request { init_quote: Some(init), ..Request::default() };
        let answered = |r: messages::InitQuoteResponse| {
            (r.error, (r.target_info.unwrap_or_default(), r.id_size.unwrap_or_default()))
        };
        self.ask(&init, |answer| answer.init_quote.map(answered))
    }

    fn target_info_for(&self, key: &[u8]) -> Result<Vec<u8>, AesmError> {
        let (_, id_size) = self.init(key, None)?;
        let (target_info, _) = self.init(key, Some(id_size))?;
        if target_info.len() == TARGET_INFO {
            Ok(target_info)
        } else {
            Err(AesmError::Answer("its target info has another length"))
        }
    }

    fn quote_with(&self, key: Vec<u8>, report: &[u8]) -> Result<Vec<u8>, AesmError> {
        let size = QuoteSizeRequest { key: Some(key.clone()), timeout_us: Some(TIMEOUT_US) };
        let size = Request { quote_size: Some(size), ..Request::default() };
        let room = self.ask(&size, |answer| answer.quote_size.map(|r| (r.error, r.number.unwrap_or(0))))?;
        let quote =
            QuoteRequest { report: report.to_vec(), key: Some(key), room, timeout_us: Some(TIMEOUT_US) };
        let quote = Request { quote: Some(quote), ..Request::default() };
        let quote =
            self.ask(&quote, |answer| answer.quote.map(|r| (r.error, r.bytes.unwrap_or_default())))?;
        // The service returns the whole room that it was given.
        whole_quote(quote).ok_or(AesmError::Answer("its quote is cut"))
    }
}

impl Talk {
    fn connect(path: &Path, until: Instant, left: Duration) -> io::Result<Talk> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // It bounds connecting too, which waits while the service's backlog is full (unix(7)).
        socket.set_write_timeout(Some(left))?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Talk { socket, until })
    }
}

impl Read for Talk {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(left(self.until)?))?;
        self.socket.read(buffer)
    }
}

impl Write for Talk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(left(self.until)?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// What is left until then; an error when nothing is.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    // What the kernel would round to nothing would be no limit.
    if left.as_millis() == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

impl QuoteProvider for Aesm {
    fn name(&self) -> String {
        format!("AESM at {}", self.socket.display())
    }

    fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
        let question = self.question();
        Ok(question.key().and_then(|key| question.target_info_for(&key))?)
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, QuotingError> {
        let question = self.question();
        Ok(question.key().and_then(|key| question.quote_with(key, report))?)
    }
}
