//! Frames of a client, decoded while they arrive.

use std::fmt;

use super::LENGTH_PREFIX;
use super::error::{DecodeError, Layer, Syntax};
use super::request::{Envelope, RawEnvelope};
use super::scan::{Limits, Scanner, Target};

/// One request of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// `"Ping"`.
    Ping,
    /// `"Healthz"`.
    Healthz,
    /// A command.
    Envelope {
        /// The command and its credential.
        envelope: Envelope,
        /// Whether it came inside `Data`, and its answer must too.
        wrapped: bool,
    },
}

/// A frame that holds no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFrame {
    /// Why.
    pub error: DecodeError,
    /// Whether the answer goes inside `Data`.
    pub wrapped: bool,
    /// Whether the stream cannot be followed any further: answer and close.
    pub fatal: bool,
}

/// What became of fed bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Fed {
    /// Bytes that were used. Less than all only if `decoded` is there: feed the rest afterwards.
    pub consumed: usize,
    /// A frame is complete, or known to be bad.
    pub decoded: Option<Decoded>,
}

/// A request, or why there is none.
pub type Decoded = Result<Frame, BadFrame>;

/// Reads frames from any split of the stream into pieces.
///
/// Arrays of bytes (`Data`, and `bytes` inside of it) are decoded while they arrive, one inside the other, so
/// that what is held follows the decoded size, not the 4 to 18 times longer text. A bad frame is reported
/// as soon as it is known to be bad; what is left of it is then skipped and the next frame is read.
///
/// ```
/// use boundary_wire::client::{Frame, FrameDecoder, Limits};
///
/// let mut decoder = FrameDecoder::new(Limits::default());
/// let mut input: &[u8] = b"\0\0\0\x06\"Ping\"";
/// let fed = decoder.feed(input);
/// input = &input[fed.consumed..];
/// assert_eq!(fed.decoded, Some(Ok(Frame::Ping)));
/// assert!(input.is_empty());
/// ```
pub struct FrameDecoder {
    limits: Limits,
    phase: Phase,
}

enum Phase {
    Length { bytes: [u8; LENGTH_PREFIX], have: usize },
    Body { left: usize, body: Box<Body> },
    Skip { left: usize },
    Lost,
}

struct Body {
    outer: Scanner,
    inner: Option<Scanner>,
    artifact: Vec<u8>,
}

const START: Phase = Phase::Length { bytes: [0; LENGTH_PREFIX], have: 0 };

impl FrameDecoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { limits, phase: START }
    }

    /// Takes bytes up to the end of the next frame, or all of them.
    pub fn feed(&mut self, input: &[u8]) -> Fed {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let (consumed, decoded) = match &mut self.phase {
                Phase::Length { bytes, have } => {
                    let taken = take_length(bytes, have, rest);
                    if *have < LENGTH_PREFIX {
                        return Fed { consumed: at + taken, decoded: None };
                    }
                    let length = u32::from_be_bytes(*bytes);
                    (taken, self.start(length).err())
                }
                Phase::Body { left, body } => {
                    let (taken, result) = body.read(rest.get(..*left).unwrap_or(rest), &self.limits);
                    *left -= taken;
                    if result.is_ok() && *left > 0 {
                        return Fed { consumed: at + taken, decoded: None };
                    }
                    let result = result.and_then(|()| body.finish());
                    let decoded = result.map_err(|error| BadFrame {
                        error,
                        wrapped: body.outer.has_data(),
                        fatal: false,
                    });
                    let left = *left;
                    self.phase = if left > 0 { Phase::Skip { left } } else { START };
                    return Fed { consumed: at + taken, decoded: Some(decoded) };
                }
                Phase::Skip { left } => {
                    let taken = rest.len().min(*left);
                    *left -= taken;
                    if *left > 0 {
                        return Fed { consumed: at + taken, decoded: None };
                    }
                    self.phase = START;
                    (taken, None)
                }
                Phase::Lost => return Fed { consumed: input.len(), decoded: None },
            };
            at += consumed;
            if let Some(bad) = decoded {
                return Fed { consumed: at, decoded: Some(Err(bad)) };
            }
        }
    }

    /// Memory held for the frame that is arriving, and what reading its text will take beside: what a server
    /// counts against its budget.
    pub fn held_bytes(&self) -> usize {
        match &self.phase {
            Phase::Body { body, .. } => body.held_bytes(),
            _ => 0,
        }
    }

    /// Whether the frame that is arriving is a `Data` frame, as far as that is known yet: then its answer is one,
    /// too.
    pub fn is_wrapped(&self) -> bool {
        matches!(&self.phase, Phase::Body { body, .. } if body.outer.has_data())
    }

    /// Whether bytes of an artifact are in the frame that is arriving.
    pub fn is_loading(&self) -> bool {
        matches!(&self.phase, Phase::Body { body, .. } if !body.artifact.is_empty())
    }

    /// Gives up the frame that is arriving: what is left of it is passed over. Whether it is a `Data` frame, as
    /// far as that is known.
    pub fn skip(&mut self) -> bool {
        let wrapped = self.is_wrapped();
        if let Phase::Body { left, .. } = self.phase {
            self.phase = if left > 0 { Phase::Skip { left } } else { START };
        }
        wrapped
    }

    /// Whether the stream stands between two frames: the only place where it may end well.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Length { have: 0, .. })
    }

    fn start(&mut self, length: u32) -> Result<(), BadFrame> {
        let bad = |error, fatal| BadFrame { error, wrapped: false, fatal };
        if length == 0 {
            self.phase = START;
            return Err(bad(DecodeError::EmptyFrame, false));
        }
        if length > self.limits.frame {
            self.phase = Phase::Lost;
            return Err(bad(DecodeError::FrameTooLarge { length, limit: self.limits.frame }, true));
        }
        let body = Box::new(Body {
            outer: Scanner::new(Layer::Frame, self.limits),
            inner: None,
            artifact: Vec::new(),
        });
        self.phase = Phase::Body { left: length as usize, body };
        Ok(())
    }
}

impl fmt::Debug for FrameDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameDecoder").field("held_bytes", &self.held_bytes()).finish_non_exhaustive()
    }
}

fn take_length(bytes: &mut [u8; LENGTH_PREFIX], have: &mut usize, input: &[u8]) -> usize {
    let mut taken = 0;
    for (slot, byte) in bytes.iter_mut().skip(*have).zip(input) {
        *slot = *byte;
        taken += 1;
    }
    *have += taken;
    taken
}

impl Body {
    /// Reads bytes of the frame, all of them unless one is bad.
    fn read(&mut self, input: &[u8], limits: &Limits) -> (usize, Result<(), DecodeError>) {
        for (index, byte) in input.iter().enumerate() {
            if let Err(error) = self.step(*byte, limits) {
                return (index, Err(error));
            }
        }
        (input.len(), Ok(()))
    }

    #[inline]
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<(), DecodeError> {
        let taken = self.outer.step(byte).map_err(|what| syntax(&self.outer, what))?;
        match taken {
            None => {}
            Some((Target::Artifact, byte)) => self.artifact.push(byte),
            Some((Target::Data, byte)) => {
                let inner = self.inner.get_or_insert_with(|| Scanner::new(Layer::Data, *limits));
                let taken = inner.step(byte).map_err(|what| syntax(inner, what))?;
                if let Some((_, byte)) = taken {
                    self.artifact.push(byte);
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Frame, DecodeError> {
        let text = complete(&self.outer)?;
        if self.outer.has_data() {
            if text != br#"{"Data":null}"# {
                return Err(syntax(&self.outer, Syntax::Data));
            }
            let inner = self.inner.take().ok_or_else(|| syntax(&self.outer, Syntax::Data))?;
            let envelope = envelope(&inner, &mut self.artifact)?;
            return Ok(Frame::Envelope { envelope, wrapped: true });
        }
        if text.starts_with(b"\"") {
            let word: String = serde_json::from_slice(text).map_err(request_error)?;
            return match word.as_str() {
                "Ping" => Ok(Frame::Ping),
                "Healthz" => Ok(Frame::Healthz),
                _ => Err(DecodeError::Request(
                    "a frame that is a string is \"Ping\" or \"Healthz\"; commands are objects".into(),
                )),
            };
        }
        Ok(Frame::Envelope { envelope: envelope(&self.outer, &mut self.artifact)?, wrapped: false })
    }

    fn held_bytes(&self) -> usize {
        let inner = self.inner.as_ref().map_or(0, Scanner::held_bytes);
        self.outer.held_bytes().saturating_add(inner).saturating_add(self.artifact.capacity())
    }
}

fn syntax(scanner: &Scanner, what: Syntax) -> DecodeError {
    DecodeError::Syntax { what, at: scanner.position() }
}

fn complete(scanner: &Scanner) -> Result<&[u8], DecodeError> {
    scanner.finish().map_err(|what| syntax(scanner, what))
}

fn envelope(scanner: &Scanner, artifact: &mut Vec<u8>) -> Result<Envelope, DecodeError> {
    let raw: RawEnvelope = serde_json::from_slice(complete(scanner)?).map_err(request_error)?;
    raw.complete(scanner.has_artifact().then(|| std::mem::take(artifact))).map_err(DecodeError::Request)
}

/// The text that serde reads has no whitespace and no artifact, so its columns would mislead.
fn request_error(error: serde_json::Error) -> DecodeError {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    DecodeError::Request(message.strip_suffix(&place).unwrap_or(&message).to_owned())
}
