//! Why a frame of a client could not be read.

use std::fmt;

use thiserror::Error;

/// In which text an offset counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The frame's own JSON.
    Frame,
    /// The JSON whose bytes are the integers of `Data`.
    Data,
}

/// A byte of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which text.
    pub layer: Layer,
    /// Bytes before it.
    pub offset: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.layer {
            Layer::Frame => write!(f, "byte {} of the frame", self.offset),
            Layer::Data => write!(f, "byte {} of the JSON inside `Data`", self.offset),
        }
    }
}

/// Why a frame was refused: always the client's fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The announced length is beyond the limit. The stream cannot be followed any further.
    #[error("a frame of {length} bytes is more than the {limit} allowed: send larger artifacts by HTTP PUT")]
    FrameTooLarge {
        /// As announced.
        length: u32,
        /// As allowed.
        limit: u32,
    },
    /// The announced length is zero.
    #[error("a frame of zero bytes holds no request")]
    EmptyFrame,
    /// Not JSON, or not within the limits.
    #[error("{what} at {at}")]
    Syntax {
        /// What is wrong.
        what: Syntax,
        /// Where.
        at: Position,
    },
    /// JSON, but not a request.
    #[error("{0}")]
    Request(String),
}

impl DecodeError {
    /// Stable, kebab-case: the `code` of the error reply.
    pub fn code(&self) -> &'static str {
        match self {
            Self::FrameTooLarge { .. } => "frame-too-large",
            Self::Syntax { what, .. } if what.is_limit() => "frame-too-large",
            Self::EmptyFrame | Self::Syntax { .. } | Self::Request(_) => "bad-request",
        }
    }
}

/// What is wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Syntax {
    /// A byte that cannot stand here.
    #[error("unexpected {}", Shown(*.0))]
    Unexpected(u8),
    /// The text ends inside a value.
    #[error("the JSON ends too early")]
    Ends,
    /// A number above 255 among bytes.
    #[error("a byte is an integer from 0 to 255")]
    ByteOutOfRange,
    /// A sign, fraction or exponent among bytes.
    #[error("a byte is written as a plain integer, without sign, fraction or exponent")]
    ByteNotPlain,
    /// `007`.
    #[error("a number with a leading zero")]
    LeadingZero,
    /// An escape that JSON does not have.
    #[error("an escape that JSON does not have")]
    Escape,
    /// Half of a surrogate pair.
    #[error("an unpaired surrogate")]
    Surrogate,
    /// A control character inside a string.
    #[error("a control character inside a string")]
    Control,
    /// Arrays and objects nested too deeply.
    #[error("arrays and objects nested more than {0} deep")]
    TooDeep(u32),
    /// A number with too many characters.
    #[error("a number of more than {0} characters")]
    NumberTooLong(usize),
    /// Too much text beside the artifact.
    #[error("more than {0} bytes of JSON beside the artifact")]
    TextTooLong(usize),
    /// Too many values: their parsed form would take too much memory.
    #[error("JSON values that would take more than {0} bytes of memory")]
    TooManyValues(usize),
    /// The artifact is given twice.
    #[error("a second artifact in one request")]
    SecondArtifact,
    /// `bytes_base64` is not base64.
    #[error("a string that is not base64 with padding")]
    Base64,
    /// The integers of an array that must be bytes end the wrong way, or `Data` is not such an array.
    #[error("`Data` is an array of bytes and stands alone in its frame")]
    Data,
}

impl Syntax {
    fn is_limit(self) -> bool {
        matches!(
            self,
            Self::TooDeep(_) | Self::NumberTooLong(_) | Self::TextTooLong(_) | Self::TooManyValues(_)
        )
    }
}

struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            byte @ 0x21..=0x7e => write!(f, "`{}`", char::from(byte)),
            byte => write!(f, "byte 0x{byte:02x}"),
        }
    }
}
