//! Makes the vectors anew: `cargo run -p attestation-vectors -- clients/vectors/vectors.json`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [path] = arguments.as_slice() else { bail!("name one file to write the vectors to") };
    let file = attestation_vectors::generate()?;
    let text = serde_json::to_string_pretty(&file)? + "\n";
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
