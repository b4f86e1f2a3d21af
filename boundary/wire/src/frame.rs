//! Channel frames: what one ring message is.
//!
//! A frame is a header of 16 bytes and a payload. Connections are made of `Data`, `Eof`, `Reset` and
//! `Credit` frames: either side sends only bytes that it holds credit for, the host starting
//! with [`FIRST_CREDIT`] and the enclave with [`MAX_CREDIT`], so neither can make the other buffer more. Fragments of RPC messages ([`crate::rpc`])
//! are `Request` and `Reply` frames.
//!
//! Byte table: `docs/formats/channel.md`.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::codec::{Reader, Shape};

/// Bytes of a frame header.
pub const HEADER: usize = 16;
/// Most bytes of payload in a frame.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Most bytes of a frame, and so of a ring message.
pub const MAX_FRAME: usize = HEADER + MAX_PAYLOAD;
/// Bytes that the host may send on a new connection before the enclave grants more: many connections may wait
/// in the memory of an enclave, which is small.
pub const FIRST_CREDIT: u32 = 16 * 1024;
/// Most bytes of credit that either side may hold for a connection. The enclave begins with as many.
pub const MAX_CREDIT: u32 = 256 * 1024;
/// Longest host name (RFC 1035 §2.3.4, as text).
pub const MAX_HOST_NAME: usize = 253;

/// Flag of `Request` and `Reply`: the message ends with this frame.
const LAST: u8 = 1;
/// Fixed fields behind the header: at most an address.
const MAX_FIXED: usize = 20;

/// A connection. Never used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl ConnId {
    const DIALED: u64 = 1 << 63;

    /// No connection: the listener. Its credit counts connections, not bytes. The host accepts none before
    /// the enclave has granted some, and never more than that.
    pub const LISTENER: Self = Self(0);

    /// The `n`th connection dialed by the enclave.
    pub const fn dialed(n: u64) -> Self {
        Self(n | Self::DIALED)
    }

    /// The `n`th connection accepted by the host.
    pub const fn accepted(n: u64) -> Self {
        Self(n & !Self::DIALED)
    }

    /// Whether the enclave dialed it (bit 63); otherwise the host accepted it.
    pub const fn is_dialed(self) -> bool {
        self.0 & Self::DIALED != 0
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.is_dialed() { "out" } else { "in" };
        write!(f, "{side}:{}", self.0 & !Self::DIALED)
    }
}

/// Why the host did not connect. A claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(u8)]
pub enum DialFailure {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused = 1,
    /// No route to it.
    #[error("destination unreachable")]
    Unreachable = 2,
    /// No answer in time.
    #[error("connection timed out")]
    TimedOut = 3,
    /// The name does not resolve.
    #[error("name not found")]
    NameNotFound = 4,
    /// The host's settings forbid it.
    #[error("denied by the host")]
    Denied = 5,
    /// Anything else, out of file descriptors for example.
    #[error("the host could not connect")]
    Other = 6,
}

impl DialFailure {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Refused, Self::Unreachable, Self::TimedOut, Self::NameNotFound, Self::Denied, Self::Other]
            .into_iter()
            .find(|failure| *failure as u8 == code)
    }
}

/// What the other side broke in a frame, or the caller in one to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than its header or its fields.
    #[error("frame ends before its fields do")]
    Truncated,
    /// Bytes behind the last field.
    #[error("frame goes on after its last field")]
    Trailing,
    /// The header's length is not that of the payload.
    #[error("frame header says {stated} bytes of payload, {present} are there")]
    Length {
        /// In the header.
        stated: u32,
        /// After the header.
        present: usize,
    },
    /// More payload than a frame carries.
    #[error("payload of {0} bytes: a frame carries at most 65536")]
    TooLong(usize),
    /// No such kind in this direction.
    #[error("no frame of kind {0} in this direction")]
    Kind(u8),
    /// Flags or reserved bits that this kind does not have.
    #[error("frame of kind {kind} with flags {flags:#04x} and reserved {reserved:#06x}")]
    Flags {
        /// The kind.
        kind: u8,
        /// Its flags.
        flags: u8,
        /// The reserved field.
        reserved: u16,
    },
    /// An id that this kind cannot have: see bit 63 of [`ConnId`]; `Drain` has 0.
    #[error("frame of kind {kind} with id {id:#x}")]
    Id {
        /// The kind.
        kind: u8,
        /// Its id.
        id: u64,
    },
    /// A `Data` frame or a fragment that is not the last carries at least one byte.
    #[error("frame of kind {0} carries nothing")]
    Empty(u8),
    /// Neither IPv4 nor IPv6.
    #[error("address of family {0}")]
    AddressFamily(u8),
    /// No such result of a dial.
    #[error("dial result {0}")]
    DialResult(u8),
    /// Not a DNS name or IP address, or port 0.
    #[error("not a host name or address with a port")]
    Destination,
}

impl From<Shape> for FrameError {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Truncated => Self::Truncated,
            Shape::Trailing => Self::Trailing,
        }
    }
}

/// What the host sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToEnclave<'a> {
    /// A client connected.
    Accepted {
        /// New, with bit 63 clear.
        conn: ConnId,
        /// Who it is, as the host claims.
        peer: SocketAddr,
    },
    /// A dial ended.
    Dialed {
        /// As in the `Dial`.
        conn: ConnId,
        /// Connected, or why not; then the connection is forgotten.
        result: Result<(), DialFailure>,
    },
    /// Bytes received.
    Data {
        /// The connection.
        conn: ConnId,
        /// At least one byte.
        bytes: &'a [u8],
    },
    /// The peer sends no more.
    Eof {
        /// The connection.
        conn: ConnId,
    },
    /// The connection broke; it is forgotten.
    Reset {
        /// The connection.
        conn: ConnId,
    },
    /// The enclave may send that much more.
    Credit {
        /// The connection.
        conn: ConnId,
        /// Bytes granted.
        bytes: u32,
    },
    /// A fragment of an answer.
    Reply {
        /// As in the request.
        id: u64,
        /// Whether the answer ends here.
        last: bool,
        /// The fragment.
        bytes: &'a [u8],
    },
    /// Accept no more and finish what is open.
    Drain {
        /// How long that may take.
        grace_ms: u32,
    },
}

/// What the enclave sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToHost<'a> {
    /// Connect somewhere.
    Dial {
        /// New, with bit 63 set.
        conn: ConnId,
        /// Not 0.
        port: u16,
        /// A DNS name or an IP address: see [`is_host`].
        host: &'a str,
    },
    /// Bytes to send.
    Data {
        /// The connection.
        conn: ConnId,
        /// At least one byte.
        bytes: &'a [u8],
    },
    /// The enclave sends no more.
    Eof {
        /// The connection.
        conn: ConnId,
    },
    /// Break the connection off and forget it.
    Reset {
        /// The connection.
        conn: ConnId,
    },
    /// Both sides are done: forget the connection.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// The host may send that much more.
    Credit {
        /// The connection, or [`ConnId::LISTENER`].
        conn: ConnId,
        /// Bytes granted; connections, to the listener.
        bytes: u32,
    },
    /// A fragment of a request.
    Request {
        /// Chosen by the enclave, not in use.
        id: u64,
        /// Whether the request ends here.
        last: bool,
        /// The fragment.
        bytes: &'a [u8],
    },
}

mod kind {
    pub(super) const ACCEPTED: u8 = 1;
    pub(super) const DIALED: u8 = 2;
    pub(super) const DATA: u8 = 3;
    pub(super) const EOF: u8 = 4;
    pub(super) const RESET: u8 = 5;
    pub(super) const CREDIT: u8 = 6;
    pub(super) const REPLY: u8 = 7;
    pub(super) const DRAIN: u8 = 8;
    pub(super) const DIAL: u8 = 9;
    pub(super) const CLOSED: u8 = 10;
    pub(super) const REQUEST: u8 = 11;
}

impl<'a> ToEnclave<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// [`FrameError`] for everything that is not exactly one frame of this direction.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let (header, mut payload) = Header::split(bytes)?;
        let conn = ConnId(header.id);
        let frame = match header.kind {
            kind::ACCEPTED => {
                header.require_origin(false)?;
                Self::Accepted { conn, peer: address(&mut payload)? }
            }
            kind::DIALED => {
                header.require_origin(true)?;
                let result = match payload.u8()? {
                    0 => Ok(()),
                    code => Err(DialFailure::from_code(code).ok_or(FrameError::DialResult(code))?),
                };
                Self::Dialed { conn, result }
            }
            kind::DATA => Self::Data { conn, bytes: header.some(payload.rest())? },
            kind::EOF => Self::Eof { conn },
            kind::RESET => Self::Reset { conn },
            kind::CREDIT => Self::Credit { conn, bytes: payload.u32()? },
            kind::REPLY => {
                let bytes = if header.last { payload.rest() } else { header.some(payload.rest())? };
                Self::Reply { id: header.id, last: header.last, bytes }
            }
            kind::DRAIN => {
                header.require_no_id()?;
                Self::Drain { grace_ms: payload.u32()? }
            }
            other => return Err(FrameError::Kind(other)),
        };
        payload.finish()?;
        Ok(frame)
    }

    /// The frame as bytes.
    ///
    /// # Errors
    /// [`FrameError`] for a frame that the other side would refuse.
    pub fn encode(&self) -> Result<Encoded<'a>, FrameError> {
        match *self {
            Self::Accepted { conn, peer } => {
                Header::new(kind::ACCEPTED, conn.0).checked(Some(false))?.address(peer)
            }
            Self::Dialed { conn, result } => {
                let code = result.map_or_else(|failure| failure as u8, |()| 0);
                Header::new(kind::DIALED, conn.0).checked(Some(true))?.with(&[code], &[])
            }
            Self::Data { conn, bytes } => Header::new(kind::DATA, conn.0).data(bytes),
            Self::Eof { conn } => Header::new(kind::EOF, conn.0).with(&[], &[]),
            Self::Reset { conn } => Header::new(kind::RESET, conn.0).with(&[], &[]),
            Self::Credit { conn, bytes } => Header::new(kind::CREDIT, conn.0).with(&bytes.to_le_bytes(), &[]),
            Self::Reply { id, last, bytes } => Header::new(kind::REPLY, id).fragment(last, bytes),
            Self::Drain { grace_ms } => Header::new(kind::DRAIN, 0).with(&grace_ms.to_le_bytes(), &[]),
        }
    }
}

impl<'a> ToHost<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// [`FrameError`] for everything that is not exactly one frame of this direction.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let (header, mut payload) = Header::split(bytes)?;
        let conn = ConnId(header.id);
        let frame = match header.kind {
            kind::DIAL => {
                header.require_origin(true)?;
                let port = payload.u16()?;
                let host = str::from_utf8(payload.rest()).map_err(|_| FrameError::Destination)?;
                check_destination(host, port)?;
                Self::Dial { conn, port, host }
            }
            kind::DATA => Self::Data { conn, bytes: header.some(payload.rest())? },
            kind::EOF => Self::Eof { conn },
            kind::RESET => Self::Reset { conn },
            kind::CLOSED => Self::Closed { conn },
            kind::CREDIT => Self::Credit { conn, bytes: payload.u32()? },
            kind::REQUEST => {
                let bytes = if header.last { payload.rest() } else { header.some(payload.rest())? };
                Self::Request { id: header.id, last: header.last, bytes }
            }
            other => return Err(FrameError::Kind(other)),
        };
        payload.finish()?;
        Ok(frame)
    }

    /// The frame as bytes.
    ///
    /// # Errors
    /// [`FrameError`] for a frame that the other side would refuse.
    pub fn encode(&self) -> Result<Encoded<'a>, FrameError> {
        match *self {
            Self::Dial { conn, port, host } => {
                check_destination(host, port)?;
                let header = Header::new(kind::DIAL, conn.0).checked(Some(true))?;
                header.with(&port.to_le_bytes(), host.as_bytes())
            }
            Self::Data { conn, bytes } => Header::new(kind::DATA, conn.0).data(bytes),
            Self::Eof { conn } => Header::new(kind::EOF, conn.0).with(&[], &[]),
            Self::Reset { conn } => Header::new(kind::RESET, conn.0).with(&[], &[]),
            Self::Closed { conn } => Header::new(kind::CLOSED, conn.0).with(&[], &[]),
            Self::Credit { conn, bytes } => Header::new(kind::CREDIT, conn.0).with(&bytes.to_le_bytes(), &[]),
            Self::Request { id, last, bytes } => Header::new(kind::REQUEST, id).fragment(last, bytes),
        }
    }
}

/// The header of a `Data` frame whose `len` bytes are already where they belong, right behind it.
///
/// For a host that receives into the ring: reserve, receive at [`HEADER`], write this at 0, commit.
///
/// # Errors
/// [`FrameError::Empty`] or [`FrameError::TooLong`].
pub fn data_header(conn: ConnId, len: usize) -> Result<[u8; HEADER], FrameError> {
    match len {
        0 => Err(FrameError::Empty(kind::DATA)),
        1..=MAX_PAYLOAD => Ok(Header::new(kind::DATA, conn.0).bytes(len as u32)),
        _ => Err(FrameError::TooLong(len)),
    }
}

/// Whether a text can be dialed: an IP address, or a DNS name of labels of letters, digits, `-` and `_`.
pub fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= MAX_HOST_NAME && (host.split('.').all(label) || host.parse::<IpAddr>().is_ok())
}

fn check_destination(host: &str, port: u16) -> Result<(), FrameError> {
    if port != 0 && is_host(host) { Ok(()) } else { Err(FrameError::Destination) }
}

/// A frame ready for the ring: its header and fixed fields, and the payload where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    fixed: [u8; HEADER + MAX_FIXED],
    fixed_len: usize,
    rest: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// The parts, in order: what a ring's `push` takes.
    pub fn parts(&self) -> [&[u8]; 2] {
        [self.fixed.get(..self.fixed_len).unwrap_or_default(), self.rest]
    }

    /// Bytes of the frame.
    #[allow(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.fixed_len + self.rest.len()
    }

    /// The frame in one piece, for tests and logs.
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

/// The first 16 bytes of a frame.
struct Header {
    kind: u8,
    last: bool,
    id: u64,
}

impl Header {
    fn new(kind: u8, id: u64) -> Self {
        Self { kind, last: false, id }
    }

    fn split(bytes: &[u8]) -> Result<(Self, Reader<'_>), FrameError> {
        let mut reader = Reader::new(bytes);
        let (kind, flags, reserved) = (reader.u8()?, reader.u8()?, reader.u16()?);
        let (stated, id) = (reader.u32()?, reader.u64()?);
        let payload = reader.rest();
        if payload.len() > MAX_PAYLOAD {
            return Err(FrameError::TooLong(payload.len()));
        }
        if stated as usize != payload.len() {
            return Err(FrameError::Length { stated, present: payload.len() });
        }
        let known = if matches!(kind, kind::REPLY | kind::REQUEST) { LAST } else { 0 };
        if reserved != 0 || flags & !known != 0 {
            return Err(FrameError::Flags { kind, flags, reserved });
        }
        Ok((Self { kind, last: flags & LAST != 0, id }, Reader::new(payload)))
    }

    fn require_origin(&self, dialed: bool) -> Result<(), FrameError> {
        if ConnId(self.id).is_dialed() == dialed { Ok(()) } else { Err(self.bad_id()) }
    }

    fn require_no_id(&self) -> Result<(), FrameError> {
        if self.id == 0 { Ok(()) } else { Err(self.bad_id()) }
    }

    fn bad_id(&self) -> FrameError {
        FrameError::Id { kind: self.kind, id: self.id }
    }

    fn some<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8], FrameError> {
        if bytes.is_empty() { Err(FrameError::Empty(self.kind)) } else { Ok(bytes) }
    }

    fn checked(self, dialed: Option<bool>) -> Result<Self, FrameError> {
        dialed.map_or(Ok(()), |dialed| self.require_origin(dialed))?;
        Ok(self)
    }

    fn data(self, bytes: &[u8]) -> Result<Encoded<'_>, FrameError> {
        let bytes = self.some(bytes)?;
        self.with(&[], bytes)
    }

    fn fragment(mut self, last: bool, bytes: &[u8]) -> Result<Encoded<'_>, FrameError> {
        self.last = last;
        if last { self.with(&[], bytes) } else { self.data(bytes) }
    }

    fn address<'a>(self, peer: SocketAddr) -> Result<Encoded<'a>, FrameError> {
        let [low, high] = peer.port().to_le_bytes();
        let mut field = [0; MAX_FIXED];
        let len = match peer.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                field[..8].copy_from_slice(&[4, 0, low, high, a, b, c, d]);
                8
            }
            IpAddr::V6(ip) => {
                field[..4].copy_from_slice(&[6, 0, low, high]);
                field[4..].copy_from_slice(&ip.octets());
                MAX_FIXED
            }
        };
        self.with(&field[..len], &[])
    }

    /// A frame of fixed fields (at most [`MAX_FIXED`] bytes) and bytes that stay where they are.
    fn with<'a>(self, fields: &[u8], rest: &'a [u8]) -> Result<Encoded<'a>, FrameError> {
        let length = fields.len() + rest.len();
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        let mut fixed = [0; HEADER + MAX_FIXED];
        fixed[..HEADER].copy_from_slice(&self.bytes(length as u32));
        fixed[HEADER..HEADER + fields.len()].copy_from_slice(fields);
        Ok(Encoded { fixed, fixed_len: HEADER + fields.len(), rest })
    }

    fn bytes(&self, length: u32) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[0] = self.kind;
        out[1] = if self.last { LAST } else { 0 };
        out[4..8].copy_from_slice(&length.to_le_bytes());
        out[8..].copy_from_slice(&self.id.to_le_bytes());
        out
    }
}

/// family u8 (4 or 6), 0 u8, port u16, 4 or 16 bytes. Flow label and scope of IPv6 are not carried.
fn address(payload: &mut Reader<'_>) -> Result<SocketAddr, FrameError> {
    let (family, zero, port) = (payload.u8()?, payload.u8()?, payload.u16()?);
    if zero != 0 {
        return Err(FrameError::AddressFamily(family));
    }
    let ip = match family {
        4 => IpAddr::V4(Ipv4Addr::from(payload.array::<4>()?)),
        6 => IpAddr::V6(Ipv6Addr::from(payload.array::<16>()?)),
        other => return Err(FrameError::AddressFamily(other)),
    };
    Ok(SocketAddr::new(ip, port))
}
