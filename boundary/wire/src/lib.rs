//! What do the bytes mean: channel frames, RPC, client messages?

#![forbid(unsafe_code)]
