//! Which bytes could break a decoder?
//!
//! One function per decoder of hostile bytes: it decodes its input, and what was accepted must keep the
//! promises of its format. `corpus/<name>/` holds inputs that reach different parts of the decoder; the tests
//! of this crate run all of them, and what is left when they are cut or changed. `targets/` makes a
//! libFuzzer program of each, which finds new ones: `cargo xtask test --full` builds and runs them.

#![forbid(unsafe_code)]

mod client;
mod evidence;
mod frame;
mod image;
mod rpc;
mod start;
mod token;

/// A decoder under attack.
#[derive(Clone, Copy)]
pub struct Decoder {
    /// Its target, and its folder in `corpus/`.
    pub name: &'static str,
    /// Panics when the decoder breaks a promise.
    pub run: fn(&[u8]),
}

/// All of them.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "frame_to_enclave", run: frame::to_enclave },
    Decoder { name: "frame_to_host", run: frame::to_host },
    Decoder { name: "rpc_request", run: rpc::request },
    Decoder { name: "rpc_response", run: rpc::response },
    Decoder { name: "rpc_fragments", run: rpc::fragments },
    Decoder { name: "start_block", run: start::block },
    Decoder { name: "client_requests", run: client::requests },
    Decoder { name: "client_reply", run: client::reply },
    Decoder { name: "policy_page", run: evidence::policy_page },
    Decoder { name: "operator_token", run: token::operator_token },
    Decoder { name: "manifest", run: evidence::manifest },
    Decoder { name: "inclusion_proof", run: evidence::inclusion_proof },
    Decoder { name: "leaf_certificate", run: evidence::leaf_certificate },
    Decoder { name: "quote", run: evidence::quote },
    Decoder { name: "collateral", run: evidence::collateral },
    Decoder { name: "evidence_document", run: evidence::evidence_document },
    Decoder { name: "verification_policy", run: evidence::verification_policy },
    Decoder { name: "sgxs", run: image::sgxs },
    Decoder { name: "sigstruct", run: image::sigstruct },
];

/// Runs the decoder of that name.
///
/// # Panics
/// When there is none, or when it breaks a promise.
pub fn run(name: &str, input: &[u8]) {
    let found = DECODERS.iter().find(|decoder| decoder.name == name);
    assert!(found.is_some(), "no decoder is called {name}");
    if let Some(decoder) = found {
        (decoder.run)(input);
    }
}
