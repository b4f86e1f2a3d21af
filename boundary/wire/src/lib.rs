//! What do the bytes mean: channel frames, RPC, client messages?
//!
//! [`start`], [`frame`] and [`rpc`] cross the boundary between enclave and host, [`client`] crosses TLS.
//! Decoding is total: every byte string gives a value or a named error, and no length is believed before it
//! is bounded. Byte tables: `docs/formats/channel.md`, `docs/formats/start.md`.

#![forbid(unsafe_code)]

pub mod client;
mod codec;
pub mod frame;
pub mod rpc;
pub mod start;
