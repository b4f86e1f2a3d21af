//! `enclave-os load`: compiles where needed, uploads, and checks that what was loaded is what was sent.

pub(super) mod options;

use std::fs;
use std::path::Path;

use enclave_os_client::{AppInfo, Reply};
use enclave_os_compiler::ENGINE_VERSION;
use sha2::{Digest, Sha256};

use super::{compile, hex};
use crate::args::Load;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Load) -> Result<(), Failure> {
    let (name, options) = options::resolve(args)?;
    let bytes = fs::read(&args.file).map_err(|e| Failure::file(&args.file, "read", &e))?;
    session.warn();
    let artifact = if bytes.starts_with(b"\0asm") { compiled(session, &args.file, &bytes)? } else { bytes };
    let bar = output::upload_bar(artifact.len() as u64);
    let mut http = session.http()?;
    let loaded = http.load(&name, &artifact, &options, &mut |sent| bar.set_position(sent));
    bar.finish_and_clear();
    let app = loaded?;
    check(session, &app, &hex(&Sha256::digest(&artifact)))?;
    if session.json {
        output::json(&Reply::Loaded { app });
        return Ok(());
    }
    output::done("loaded", &app.name);
    output::field("hostname", &app.hostname);
    output::field("code hash", &app.code_hash);
    output::field("key", &app.key_source);
    let functions: Vec<_> = app.exports.iter().map(|export| export.name.as_str()).collect();
    output::field("functions", if functions.is_empty() { "none" } else { "" });
    for function in functions {
        output::line(&format!("    {function}"));
    }
    Ok(())
}

/// The artifact for the target that the server names.
fn compiled(session: &Session, file: &Path, wasm: &[u8]) -> Result<Vec<u8>, Failure> {
    let ready = session.http()?.ready()?;
    if ready.engine_version.split('.').next() != ENGINE_VERSION.split('.').next() {
        return Err(Failure::local(
            "engine-version",
            format!(
                "the server runs engine {}, this tool compiles for {ENGINE_VERSION}",
                ready.engine_version
            ),
        )
        .hint("use the enclave-os of the same release as the server"));
    }
    output::note(&format!("compiling {} for {} (engine {ENGINE_VERSION})", file.display(), ready.target));
    let (artifact, time) = compile::compile(file, wasm, &ready.target)?;
    output::note(&format!("compiled in {}: {}", output::seconds(time), output::bytes(artifact.len())));
    Ok(artifact)
}

/// The reply and a fresh certificate name the code that was sent.
fn check(session: &Session, app: &AppInfo, sent: &str) -> Result<(), Failure> {
    if app.code_hash != sent {
        return Err(Failure::verification(
            "code-hash",
            format!("the server loaded {}, but what was sent is {sent}", app.code_hash),
        ));
    }
    let claims = session.http()?.peer().claims()?;
    let named = claims.apps.iter().find(|claim| claim.name == app.name);
    match named.map(|claim| hex(&claim.code_hash)) {
        Some(hash) if hash == sent => Ok(()),
        Some(hash) => Err(Failure::verification(
            "code-hash",
            format!("the certificate says {hash} for {}, but what was sent is {sent}", app.name),
        )),
        None => Err(Failure::verification(
            "code-hash",
            format!("the certificate does not name {}, though the server says it is loaded", app.name),
        )),
    }
}
