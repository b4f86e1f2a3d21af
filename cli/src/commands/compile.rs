//! `enclave-os compile`: a component in, an artifact out. Talks to nobody.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use enclave_os_compiler::{CompileError, NATIVE_TARGET};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::hex;
use crate::args::Compile;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(args: &Compile, json: bool) -> Result<(), Failure> {
    let wasm = fs::read(&args.file).map_err(|e| Failure::file(&args.file, "read", &e))?;
    let target = args.target.as_deref().unwrap_or(NATIVE_TARGET);
    let output = args.output.clone().unwrap_or_else(|| args.file.with_extension("cwasm"));
    if output == args.file {
        return Err(Failure::usage("the artifact would overwrite its component").hint("give -o FILE"));
    }
    let (artifact, time) = compile(&args.file, &wasm, target)?;
    fs::write(&output, &artifact).map_err(|e| Failure::file(&output, "write", &e))?;
    let hash = hex(&Sha256::digest(&artifact));
    if json {
        output::json(&json!({
            "status": "compiled",
            "file": output.display().to_string(),
            "target": target,
            "bytes": artifact.len(),
            "code_hash": hash,
        }));
        return Ok(());
    }
    output::done("compiled", &output.display().to_string());
    output::field("target", target);
    output::field("size", &format!("{} in {}", output::bytes(artifact.len()), output::seconds(time)));
    output::field("code hash", &hash);
    Ok(())
}

/// Compiles and says how long it took.
pub(super) fn compile(file: &Path, wasm: &[u8], target: &str) -> Result<(Vec<u8>, Duration), Failure> {
    let start = Instant::now();
    let artifact = enclave_os_compiler::compile(wasm, target).map_err(|error| {
        let failure = Failure::local("compile", format!("{}: {error}", file.display()));
        match error {
            CompileError::NotWasm => {
                failure.hint("give the .wasm that `cargo build --target wasm32-wasip2` makes")
            }
            _ => failure,
        }
    })?;
    Ok((artifact, start.elapsed()))
}
