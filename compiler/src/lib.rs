//! How does a component become an artifact the enclave takes?
//!
//! [`compile`] is the whole of it: a WebAssembly component in, native code with its settings out. The
//! enclave holds no compiler; whoever uploads runs this one (the command line tool does it unasked).

#![forbid(unsafe_code)]

use sha2::{Digest, Sha256};
use wasmtime_compile::{Config, Engine};

pub use compiler_config::{ENGINE_VERSION, NATIVE_TARGET, SGX_TARGET, stock_command};

/// Why no artifact came out.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The bytes are not WebAssembly at all.
    #[error("this is not a WebAssembly binary: it does not begin with \\0asm")]
    NotWasm,
    /// The bytes are an artifact already.
    #[error("this is a compiled artifact already (.cwasm): load it as it is")]
    AlreadyCompiled,
    /// A core module: what plain `wasm32-unknown-unknown` and `wasm32-wasip1` builds give.
    #[error(
        "this is a core WebAssembly module, not a component: build for wasm32-wasip2, or make a component \
         of it with `wasm-tools component new app.wasm --adapt wasi_snapshot_preview1=<adapter>.wasm`"
    )]
    CoreModule,
    /// A component of a draft encoding.
    #[error("this component has the draft encoding version {0:#x}: build it again with current tools")]
    OldComponent(u16),
    /// The compiler has no backend for the target.
    #[error(
        "cannot compile for `{target}`: {reason}. The target of an enclave is what its server reports, \
         for example {SGX_TARGET}"
    )]
    Target {
        /// The triple that was asked for.
        target: String,
        /// What the compiler says.
        reason: String,
    },
    /// The component is invalid or uses something the enclave does not have.
    #[error("the component does not compile: {0}")]
    Invalid(String),
}

/// Compiles a component (`.wasm`) for `target`, a triple such as [`NATIVE_TARGET`] or [`SGX_TARGET`].
///
/// The same bytes, target and compiler version give the same artifact on every machine: no feature of
/// this machine's CPU is assumed.
///
/// # Errors
/// [`CompileError`]; nothing of the input is trusted.
pub fn compile(wasm: &[u8], target: &str) -> Result<Vec<u8>, CompileError> {
    component_layer(wasm)?;
    let unfit =
        |e: wasmtime_compile::Error| CompileError::Target { target: target.to_owned(), reason: chain(&e) };
    let mut config = Config::new();
    compiler_config::base(&mut config);
    config.target(target).map_err(unfit)?;
    let engine = Engine::new(&config).map_err(unfit)?;
    let mut artifact = engine.precompile_component(wasm).map_err(|e| CompileError::Invalid(chain(&e)))?;
    let digest = Sha256::digest(&artifact);
    compiler_config::trailer::append(&mut artifact, &digest.into());
    Ok(artifact)
}

/// The preamble of the binary formats: `\0asm`, u16 version, u16 layer (0 module, 1 component).
fn component_layer(wasm: &[u8]) -> Result<(), CompileError> {
    match wasm {
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(CompileError::CoreModule),
        [0, b'a', b's', b'm', low, high, 1, 0, ..] => {
            Err(CompileError::OldComponent(u16::from_le_bytes([*low, *high])))
        }
        [0x7f, b'E', b'L', b'F', ..] => Err(CompileError::AlreadyCompiled),
        _ => Err(CompileError::NotWasm),
    }
}

fn chain(error: &wasmtime_compile::Error) -> String {
    error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
