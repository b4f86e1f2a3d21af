//! What the enclave asks the host for, and the answers.
//!
//! A message is encoded as one byte string, cut into [`fragments`] of a frame's size, and put together again
//! by a [`Reassembler`] that bounds what the other side can make it hold. Answers are claims: a record is
//! believed only after the sealed store has opened it.
//!
//! Byte table: `docs/formats/channel.md`.

mod decode;
mod encode;
mod fragment;

pub use fragment::{Limits, Reassembler, ReassemblyError, fragments};

/// A record's key: a keyed hash, so the host learns nothing from it.
pub type Key = [u8; 32];

/// Most bytes of a record's value.
pub const MAX_RECORD: usize = 256 * 1024;
/// Most bytes of an encoded request. A batch is the only large one.
pub const MAX_REQUEST: usize = 80 * 1024 * 1024;
/// Most bytes of an encoded response. A page is the only large one, and holds any one record.
pub const MAX_RESPONSE: usize = 1024 * 1024;
/// Bytes that a record costs in a page or a batch beside its value.
pub const RECORD_OVERHEAD: usize = 1 + 32 + 4;
/// Most bytes of a log line's target.
pub const MAX_TARGET: usize = 128;
/// Most bytes of a log line's message.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// Bytes of a REPORT (SDM).
pub const REPORT: usize = 432;
/// Bytes of a TARGETINFO (SDM).
pub const TARGET_INFO: usize = 512;
/// Most bytes of a quote with its certificate chain.
pub const MAX_QUOTE: usize = 64 * 1024;
/// Most bytes of the collateral document.
pub const MAX_COLLATERAL: usize = 64 * 1024;
/// Most bytes of a failure's message.
pub const MAX_FAILURE: usize = 1024;

/// What the enclave asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One record. Answered by `KvValue`.
    KvGet {
        /// Its key.
        key: Key,
    },
    /// Records in ascending order of keys. Answered by `KvPage`.
    KvScan {
        /// Those behind this key; `None`: from the first.
        after: Option<Key>,
        /// About how many bytes: at least one record comes if there is one, and never more than a response
        /// holds ([`MAX_RESPONSE`]).
        max_bytes: u32,
    },
    /// Changes that become durable together or not at all. Answered by `Done`.
    KvBatch {
        /// In order; a later one of the same key counts.
        ops: Vec<KvOp>,
    },
    /// A line for the host's log. Answered by `Done`.
    Log(LogLine),
    /// A quote over a REPORT for the quoting enclave. Answered by `Quote`.
    Quote {
        /// [`REPORT`] bytes.
        report: Vec<u8>,
    },
    /// The TARGETINFO of the quoting enclave. Answered by `TargetInfo`.
    TargetInfo,
    /// What verifiers need beside the quotes. Answered by `Collateral`.
    Collateral,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvOp {
    /// Makes or replaces a record.
    Put {
        /// Its key.
        key: Key,
        /// At most [`MAX_RECORD`] bytes.
        value: Vec<u8>,
    },
    /// Removes a record, if it is there.
    Delete {
        /// Its key.
        key: Key,
    },
}

/// A line for the host's log. Whatever is in it leaves the enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How grave.
    pub level: LogLevel,
    /// Which part of the enclave, or `app:<name>`. At most [`MAX_TARGET`] bytes.
    pub target: String,
    /// At most [`MAX_MESSAGE`] bytes.
    pub message: String,
}

impl LogLine {
    /// A line, with what is too long cut off.
    pub fn new(level: LogLevel, target: &str, message: &str) -> Self {
        Self { level, target: cut(target, MAX_TARGET), message: cut(message, MAX_MESSAGE) }
    }
}

/// The first `max` bytes of a text, without cutting a character.
fn cut(text: &str, max: usize) -> String {
    text.get(..text.floor_char_boundary(max)).unwrap_or_default().to_owned()
}

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    /// Something does not work.
    Error = 1,
    /// Something will not work if nobody looks.
    Warn = 2,
    /// What an operator wants to know.
    Info = 3,
    /// What a developer wants to know.
    Debug = 4,
}

impl LogLevel {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::Error, Self::Warn, Self::Info, Self::Debug].into_iter().find(|level| *level as u8 == code)
    }
}

/// What the host answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The record's value, if there is one.
    KvValue(Option<Vec<u8>>),
    /// Records in strictly ascending order of keys.
    KvPage {
        /// Key and value.
        records: Vec<(Key, Vec<u8>)>,
        /// Whether there are records behind these.
        more: bool,
    },
    /// It is done; for a batch: durable.
    Done,
    /// A quote.
    Quote(Vec<u8>),
    /// [`TARGET_INFO`] bytes.
    TargetInfo(Vec<u8>),
    /// The collateral document (`docs/formats/quotes.md`), at most [`MAX_COLLATERAL`] bytes, of which the enclave
    /// reads nothing; empty: the host knows none.
    Collateral(Vec<u8>),
    /// It is not done.
    Failed {
        /// What kind of failure.
        code: FailureCode,
        /// For the log. At most [`MAX_FAILURE`] bytes.
        message: String,
    },
}

impl Response {
    /// A failure, with a message that is too long cut off.
    pub fn failed(code: FailureCode, message: &str) -> Self {
        Self::Failed { code, message: cut(message, MAX_FAILURE) }
    }
}

/// Why the host did not do what was asked. A claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FailureCode {
    /// This host has no such service.
    Unsupported = 1,
    /// The request cannot be: malformed or beyond a limit.
    BadRequest = 2,
    /// Reading or writing failed.
    Io = 3,
    /// No room is left.
    Full = 4,
    /// Too much is asked at once; later may work.
    Busy = 5,
    /// A service behind the host does not answer; later may work.
    Unavailable = 6,
    /// Anything else.
    Internal = 7,
}

impl FailureCode {
    /// As printed and as clients see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unsupported => "unsupported",
            Self::BadRequest => "bad-request",
            Self::Io => "io",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [
            Self::Unsupported,
            Self::BadRequest,
            Self::Io,
            Self::Full,
            Self::Busy,
            Self::Unavailable,
            Self::Internal,
        ]
        .into_iter()
        .find(|failure| *failure as u8 == code)
    }
}

impl std::fmt::Display for FailureCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a message is none, or cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// Shorter than its fields.
    #[error("message ends before its fields do")]
    Truncated,
    /// Bytes behind the last field.
    #[error("message goes on after its last field")]
    Trailing,
    /// No message of that type in this direction.
    #[error("no message of type {0} in this direction")]
    Type(u8),
    /// No such value of a field.
    #[error("{field} cannot be {value}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it was.
        value: u8,
    },
    /// A field outside of its limits.
    #[error("{field} of {len} bytes: at most {max}")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its length.
        len: usize,
        /// Its limit.
        max: usize,
    },
    /// A field of fixed length has another.
    #[error("{field} of {len} bytes: {expected} are right")]
    Length {
        /// Which field.
        field: &'static str,
        /// Its length.
        len: usize,
        /// What is right.
        expected: usize,
    },
    /// A text that is no UTF-8.
    #[error("{0} is not UTF-8")]
    Utf8(&'static str),
    /// Keys of a page that do not ascend.
    #[error("keys of a page do not ascend")]
    Order,
}

/// `Err` when a field is longer than it may be.
fn at_most(field: &'static str, len: usize, max: usize) -> Result<(), RpcError> {
    if len > max { Err(RpcError::TooLong { field, len, max }) } else { Ok(()) }
}

/// `Err` when a field of fixed length has another.
fn exactly(field: &'static str, len: usize, expected: usize) -> Result<(), RpcError> {
    if len != expected { Err(RpcError::Length { field, len, expected }) } else { Ok(()) }
}

mod tag {
    pub(super) const KV_GET: u8 = 1;
    pub(super) const KV_SCAN: u8 = 2;
    pub(super) const KV_BATCH: u8 = 3;
    pub(super) const LOG: u8 = 4;
    pub(super) const QUOTE: u8 = 5;
    pub(super) const TARGET_INFO: u8 = 6;
    pub(super) const COLLATERAL: u8 = 7;

    pub(super) const PUT: u8 = 1;
    pub(super) const DELETE: u8 = 2;

    pub(super) const VALUE: u8 = 1;
    pub(super) const PAGE: u8 = 2;
    pub(super) const DONE: u8 = 3;
    pub(super) const QUOTED: u8 = 4;
    pub(super) const TARGET: u8 = 5;
    pub(super) const FAILED: u8 = 6;
    pub(super) const COLLATERAL_IS: u8 = 7;
}
