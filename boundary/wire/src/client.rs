//! What clients and the enclave say to each other inside TLS: framed JSON.
//!
//! A frame is a four-byte big-endian length and one JSON text. [`FrameDecoder`] reads the frames of a client
//! as they arrive, [`encode_reply`] writes the answers; [`encode_request`] and [`decode_reply`] are the
//! client's side of the same. Shapes: `docs/formats/framed-json.md`.

mod command;
mod decoder;
mod encode;
mod error;
mod reply;
mod request;
mod scan;
mod schema;
mod secret;
mod strict;

pub use command::{CommandInput, Exited};
pub use decoder::{BadFrame, Decoded, Fed, Frame, FrameDecoder};
pub use encode::{REPLY_TOO_LARGE, decode_reply, encode_reply, encode_request, encode_text};
pub use error::{DecodeError, Layer, Position, Syntax};
pub use reply::{AppExport, AppInfo, AppState, ErrorReply, Reply, Storage};
pub use request::{
    Access, Attest, Call, Command, DataPolicy, Envelope, Load, LogPolicy, Params, Request, Schema, Unload,
};
pub use scan::Limits;
pub use schema::{AppSchema, ExportSchema, NamedType, Variant, WitType};
pub use secret::Secret;

/// Bytes of the length in front of every frame.
pub const LENGTH_PREFIX: usize = 4;

/// The longest frame that either side accepts, without its length prefix.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;
