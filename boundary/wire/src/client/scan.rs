//! A JSON scanner that is fed byte by byte and takes arrays of bytes out of the text as they pass.
//!
//! It checks the grammar of RFC 8259 and the limits, keeps the text without whitespace and without the
//! arrays (`null` stands in their place) and gives the bytes away one by one. What it keeps is therefore
//! small whatever the artifact's size; serde reads it once the text is complete.

use zeroize::Zeroizing;

use super::error::{Layer, Position, Syntax};

/// What a request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame, in bytes.
    pub frame: u32,
    /// Longest JSON text beside the artifact, in bytes.
    pub text: usize,
    /// Most memory that the values of that text may take once parsed, in bytes.
    pub values: usize,
    /// Deepest nesting; at most 64.
    pub depth: u32,
    /// Most characters of a number.
    pub number: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 64 * 1024 * 1024,
            text: 8 * 1024 * 1024,
            values: 64 * 1024 * 1024,
            depth: 64,
            number: 256,
        }
    }
}

/// Deepest nesting that the scanner can keep in mind.
const DEEPEST: u32 = 64;

/// Memory of one parsed value, with the slack of a vector that grows by doubling.
const VALUE_COST: usize = 64;
/// Memory of one key of an object beside its text.
const KEY_COST: usize = 128;
/// Memory of an object with its first entries.
const OBJECT_COST: usize = 640;

/// Where a byte that was taken out belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `Data`: the next byte of the inner JSON.
    Data,
    /// `wasm_load.bytes` or `.bytes_base64`: the next byte of the artifact.
    Artifact,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    After,
    Done,
    String { key: bool, escape: Escape },
    Number(Number),
    Literal(&'static [u8]),
    Bytes(Target, Byte),
    Base64(Base64),
}

#[derive(Clone, Copy, Debug)]
enum Escape {
    /// Outside of any escape; `high`: a high surrogate waits for its other half.
    None {
        high: bool,
    },
    Backslash {
        high: bool,
    },
    Hex {
        high: bool,
        digits: u8,
        value: u16,
    },
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Minus,
    Zero,
    Integer,
    Dot,
    Fraction,
    E,
    Sign,
    Exponent,
}

#[derive(Clone, Copy, Debug)]
enum Byte {
    /// After `[`.
    FirstOrEnd,
    /// After `,`.
    Next,
    Digits(u8),
    /// After a number and whitespace.
    After,
}

#[derive(Clone, Copy, Debug)]
struct Base64 {
    bits: u32,
    /// Characters of the current group of four.
    have: u8,
    /// `=` still to come, once the first was seen.
    padding: Option<u8>,
    backslash: bool,
}

pub(super) struct Scanner {
    layer: Layer,
    limits: Limits,
    state: State,
    /// The text so far, without whitespace and byte arrays.
    text: Zeroizing<Vec<u8>>,
    offset: usize,
    depth: u32,
    /// Bit n: the container at depth n + 1 is an object.
    objects: u64,
    /// Where in `text` the latest key starts, quotes included.
    key: usize,
    in_load: bool,
    number: usize,
    values: usize,
    data: bool,
    artifact: bool,
}

impl Scanner {
    pub(super) fn new(layer: Layer, limits: Limits) -> Self {
        Self {
            layer,
            limits,
            state: State::Value,
            text: Zeroizing::default(),
            offset: 0,
            depth: 0,
            objects: 0,
            key: 0,
            in_load: false,
            number: 0,
            values: 0,
            data: false,
            artifact: false,
        }
    }

    /// Whether `Data` was there.
    pub(super) fn has_data(&self) -> bool {
        self.data
    }

    /// Whether an artifact was taken out.
    pub(super) fn has_artifact(&self) -> bool {
        self.artifact
    }

    /// Bytes held now, and what parsing the text will take.
    pub(super) fn held_bytes(&self) -> usize {
        self.text.capacity().saturating_add(self.values)
    }

    pub(super) fn position(&self) -> Position {
        Position { layer: self.layer, offset: self.offset }
    }

    /// The next byte of the text; gives back a byte that was taken out.
    #[inline]
    pub(super) fn step(&mut self, byte: u8) -> Result<Option<(Target, u8)>, Syntax> {
        let out = match self.state {
            State::Bytes(target, at) => self.byte_array(target, at, byte)?,
            State::Base64(at) => self.base64(at, byte)?,
            _ => {
                self.grammar(byte)?;
                None
            }
        };
        self.offset = self.offset.saturating_add(1);
        Ok(out)
    }

    /// The complete text.
    pub(super) fn finish(&self) -> Result<&[u8], Syntax> {
        let complete = match self.state {
            State::Done => true,
            State::Number(at) => self.depth == 0 && at.may_end(),
            _ => false,
        };
        if complete { Ok(&self.text) } else { Err(Syntax::Ends) }
    }

    fn grammar(&mut self, byte: u8) -> Result<(), Syntax> {
        match self.state {
            State::String { key, escape } => return self.string(key, escape, byte),
            State::Number(at) => {
                if let Some(next) = at.step(byte)? {
                    self.number += 1;
                    if self.number > self.limits.number {
                        return Err(Syntax::NumberTooLong(self.limits.number));
                    }
                    self.state = State::Number(next);
                    return self.keep(byte);
                }
                if !at.may_end() {
                    return Err(Syntax::Unexpected(byte));
                }
                self.value_ends();
            }
            State::Literal(rest) => {
                return match rest.split_first() {
                    Some((expected, rest)) if *expected == byte => {
                        if rest.is_empty() {
                            self.value_ends();
                        } else {
                            self.state = State::Literal(rest);
                        }
                        self.keep(byte)
                    }
                    _ => Err(Syntax::Unexpected(byte)),
                };
            }
            _ => {}
        }
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(());
        }
        match (self.state, byte) {
            (State::ValueOrEnd, b']') => self.close(false, byte),
            (State::Value | State::ValueOrEnd, _) => self.value(byte),
            (State::KeyOrEnd, b'}') => self.close(true, byte),
            (State::Key | State::KeyOrEnd, b'"') => {
                self.cost(KEY_COST)?;
                self.key = self.text.len();
                self.state = State::String { key: true, escape: Escape::None { high: false } };
                self.keep(byte)
            }
            (State::Colon, b':') => {
                if self.depth == 1 {
                    self.in_load = self.key_is(b"\"wasm_load\"");
                }
                self.state = State::Value;
                self.keep(byte)
            }
            (State::After, b',') => {
                self.state = if self.in_object() { State::Key } else { State::Value };
                self.keep(byte)
            }
            (State::After, b'}') => self.close(true, byte),
            (State::After, b']') => self.close(false, byte),
            _ => Err(Syntax::Unexpected(byte)),
        }
    }

    fn value(&mut self, byte: u8) -> Result<(), Syntax> {
        if self.layer == Layer::Frame && self.depth == 1 && self.in_object() && self.key_is(b"\"Data\"") {
            if byte != b'[' || self.data {
                return Err(Syntax::Data);
            }
            self.data = true;
            return self.take_out(State::Bytes(Target::Data, Byte::FirstOrEnd));
        }
        if self.in_load && self.depth == 2 && self.in_object() {
            let state = match byte {
                b'[' if self.key_is(b"\"bytes\"") => Some(State::Bytes(Target::Artifact, Byte::FirstOrEnd)),
                b'"' if self.key_is(b"\"bytes_base64\"") => {
                    Some(State::Base64(Base64 { bits: 0, have: 0, padding: None, backslash: false }))
                }
                _ => None,
            };
            if let Some(state) = state {
                if self.artifact {
                    return Err(Syntax::SecondArtifact);
                }
                self.artifact = true;
                return self.take_out(state);
            }
        }
        self.cost(if byte == b'{' { OBJECT_COST } else { VALUE_COST })?;
        self.state = match byte {
            b'{' => return self.open(true, byte),
            b'[' => return self.open(false, byte),
            b'"' => State::String { key: false, escape: Escape::None { high: false } },
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            _ => return Err(Syntax::Unexpected(byte)),
        };
        self.number = 1;
        self.keep(byte)
    }

    fn take_out(&mut self, state: State) -> Result<(), Syntax> {
        for byte in *b"null" {
            self.keep(byte)?;
        }
        self.state = state;
        Ok(())
    }

    fn open(&mut self, object: bool, byte: u8) -> Result<(), Syntax> {
        let deepest = self.limits.depth.min(DEEPEST);
        if self.depth >= deepest {
            return Err(Syntax::TooDeep(deepest));
        }
        let bit = 1 << self.depth;
        self.objects = if object { self.objects | bit } else { self.objects & !bit };
        self.depth += 1;
        self.state = if object { State::KeyOrEnd } else { State::ValueOrEnd };
        self.keep(byte)
    }

    fn close(&mut self, object: bool, byte: u8) -> Result<(), Syntax> {
        if self.depth == 0 || self.in_object() != object {
            return Err(Syntax::Unexpected(byte));
        }
        self.depth -= 1;
        self.value_ends();
        self.keep(byte)
    }

    fn value_ends(&mut self) {
        self.state = if self.depth == 0 { State::Done } else { State::After };
    }

    fn in_object(&self) -> bool {
        self.depth.checked_sub(1).is_some_and(|top| self.objects >> top & 1 == 1)
    }

    /// Keys written with escapes are not recognised: their value stays in the text, within its limit.
    fn key_is(&self, quoted: &[u8]) -> bool {
        self.text.get(self.key..).and_then(|text| text.strip_suffix(b":")) == Some(quoted)
            || self.text.get(self.key..) == Some(quoted)
    }

    fn string(&mut self, key: bool, escape: Escape, byte: u8) -> Result<(), Syntax> {
        let next = match (escape, byte) {
            (Escape::None { high: false }, b'"') => {
                if key {
                    self.state = State::Colon;
                } else {
                    self.value_ends();
                }
                return self.keep(byte);
            }
            (Escape::None { high }, b'\\') => Escape::Backslash { high },
            (Escape::None { high: true }, _) => return Err(Syntax::Surrogate),
            (Escape::None { .. }, 0..=0x1f) => return Err(Syntax::Control),
            (Escape::None { .. }, _) => escape,
            (Escape::Backslash { high }, b'u') => Escape::Hex { high, digits: 0, value: 0 },
            (Escape::Backslash { high: true }, _) => return Err(Syntax::Surrogate),
            (Escape::Backslash { .. }, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                Escape::None { high: false }
            }
            (Escape::Backslash { .. }, _) => return Err(Syntax::Escape),
            (Escape::Hex { high, digits, value }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(Syntax::Escape)?;
                let value = value << 4 | digit as u16;
                match (digits, high, value) {
                    (0..=2, ..) => Escape::Hex { high, digits: digits + 1, value },
                    (_, false, 0xd800..=0xdbff) => Escape::None { high: true },
                    (_, true, 0xdc00..=0xdfff) => Escape::None { high: false },
                    (_, true, _) | (_, false, 0xdc00..=0xdfff) => return Err(Syntax::Surrogate),
                    _ => Escape::None { high: false },
                }
            }
        };
        self.state = State::String { key, escape: next };
        self.keep(byte)
    }

    fn byte_array(&mut self, target: Target, at: Byte, byte: u8) -> Result<Option<(Target, u8)>, Syntax> {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let (next, out) = match (at, byte) {
            (Byte::Digits(0), b'0'..=b'9') => return Err(Syntax::LeadingZero),
            (Byte::Digits(value), b'0'..=b'9') => {
                let value = value.checked_mul(10).and_then(|v| v.checked_add(byte - b'0'));
                (Byte::Digits(value.ok_or(Syntax::ByteOutOfRange)?), None)
            }
            (Byte::Digits(value), b',') => (Byte::Next, Some(value)),
            (Byte::Digits(value), b']') => {
                self.value_ends();
                return Ok(Some((target, value)));
            }
            (Byte::Digits(value), _) if space => (Byte::After, Some(value)),
            (Byte::Digits(_), b'.' | b'e' | b'E') => return Err(Syntax::ByteNotPlain),
            (Byte::FirstOrEnd | Byte::Next, b'0'..=b'9') => (Byte::Digits(byte - b'0'), None),
            (Byte::FirstOrEnd | Byte::Next, b'-') => return Err(Syntax::ByteNotPlain),
            (Byte::After, b',') => (Byte::Next, None),
            (Byte::FirstOrEnd | Byte::After, b']') => {
                self.value_ends();
                return Ok(None);
            }
            _ if space => (at, None),
            _ => return Err(Syntax::Unexpected(byte)),
        };
        self.state = State::Bytes(target, next);
        Ok(out.map(|value| (target, value)))
    }

    fn base64(&mut self, mut at: Base64, byte: u8) -> Result<Option<(Target, u8)>, Syntax> {
        // Some writers put a backslash before each slash; no other escape stands for a base64 character.
        if at.backslash && byte != b'/' {
            return Err(Syntax::Base64);
        }
        let mut out = None;
        match (byte, at.padding) {
            (b'"', None) if at.have == 0 => {
                self.value_ends();
                return Ok(None);
            }
            (b'"', Some(0)) => {
                self.value_ends();
                return Ok(None);
            }
            (b'\\', None) => at.backslash = true,
            (b'=', None) if at.have == 2 && at.bits & 0xf == 0 => at.padding = Some(1),
            (b'=', None) if at.have == 3 && at.bits & 0x3 == 0 => at.padding = Some(0),
            (b'=', Some(1)) => at.padding = Some(0),
            (_, None) => {
                let sextet = match byte {
                    b'A'..=b'Z' => byte - b'A',
                    b'a'..=b'z' => byte - b'a' + 26,
                    b'0'..=b'9' => byte - b'0' + 52,
                    b'+' => 62,
                    b'/' => 63,
                    _ => return Err(Syntax::Base64),
                };
                at.backslash = false;
                at.bits = (at.bits << 6 | u32::from(sextet)) & 0xff_ffff;
                at.have = (at.have + 1) % 4;
                let shift = match at.have {
                    1 => None,
                    2 => Some(4),
                    3 => Some(2),
                    _ => Some(0),
                };
                out = shift.map(|shift| (Target::Artifact, (at.bits >> shift) as u8));
            }
            _ => return Err(Syntax::Base64),
        }
        self.state = State::Base64(at);
        Ok(out)
    }

    fn keep(&mut self, byte: u8) -> Result<(), Syntax> {
        if self.text.len() >= self.limits.text {
            return Err(Syntax::TextTooLong(self.limits.text));
        }
        self.text.push(byte);
        Ok(())
    }

    fn cost(&mut self, bytes: usize) -> Result<(), Syntax> {
        self.values = self.values.saturating_add(bytes);
        if self.values > self.limits.values {
            return Err(Syntax::TooManyValues(self.limits.values));
        }
        Ok(())
    }
}

impl Number {
    /// `None`: the byte does not belong to the number.
    fn step(self, byte: u8) -> Result<Option<Self>, Syntax> {
        Ok(Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') => Self::Integer,
            (Self::Zero, b'0'..=b'9') => return Err(Syntax::LeadingZero),
            (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Dot,
            (Self::Dot | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return Ok(None),
        }))
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}
