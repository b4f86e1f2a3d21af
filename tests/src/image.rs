//! Signed images with the policies that scenarios want.
//!
//! Compiling the enclave takes minutes and is done once, by `cargo xtask image`. Another policy is another
//! measurement of the same program, made here in less than a second and kept for the next scenario.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use attestation::image_manifest::ImageManifest;
use attestation::image_policy::ImagePolicy;
use image_tool::{Parameters, SigningKey, Unsigned};
use sha2::{Digest, Sha256};

use crate::host::{development_root, workspace};

/// Name of an image's files, before the ending.
const NAME: &str = "enclave-os";

/// The image (`.sgxs`, with its SIGSTRUCT and manifest beside it) under a policy given as TOML.
///
/// # Errors
/// If no enclave was compiled: with the command that does it.
pub fn with_policy(policy: &str) -> Result<PathBuf> {
    let policy = ImagePolicy::from_toml(policy, |name| fs::read_to_string(name))?;
    made(&policy, &parameters()?)
}

/// The same with other parameters, for scenarios about them.
///
/// # Errors
/// As [`with_policy`].
pub fn made(policy: &ImagePolicy, parameters: &Parameters) -> Result<PathBuf> {
    let linked = folder().join(NAME).with_extension("elf");
    let elf = fs::read(&linked)
        .with_context(|| format!("{}: `cargo xtask image` compiles the enclave", linked.display()))?;
    let page = policy.to_page()?;
    let what = Sha256::new()
        .chain_update(Sha256::digest(&elf))
        .chain_update(&page)
        .chain_update(format!("{parameters:?}"))
        .finalize();
    let name: String = what.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let made = folder().join("scenarios").join(name);
    if !made.is_dir() {
        let image = image_tool::convert(&elf, parameters, &page)?;
        let mrenclave = image_tool::mrenclave(&image.sgxs)?;
        let (key, _made_now) = SigningKey::development(&folder())?;
        let sigstruct = image_tool::sign(&Unsigned::new(mrenclave, parameters), &key)?;
        let manifest = image_tool::manifest(&image, mrenclave, &sigstruct, parameters, Some(policy))?;
        // Whole or not at all: another scenario may be making the same one.
        let parent = made.parent().context("no folder")?;
        fs::create_dir_all(parent)?;
        let temporary = tempfile::tempdir_in(parent)?;
        let file = |ending: &str| temporary.path().join(NAME).with_extension(ending);
        fs::write(file("sgxs"), &image.sgxs)?;
        fs::write(file("sig"), sigstruct)?;
        fs::write(file("json"), manifest.to_json()?)?;
        if let Err(error) = fs::rename(temporary.path(), &made)
            && !made.is_dir()
        {
            return Err(error.into());
        }
    }
    Ok(made.join(NAME).with_extension("sgxs"))
}

/// The verification policy of an image, as `cargo xtask image` writes it beside one with a development policy.
///
/// # Errors
/// If there is no manifest beside it, or no development PKI.
pub fn verification_policy(image: &Path) -> Result<String> {
    let manifest = ImageManifest::from_json(&fs::read_to_string(image.with_extension("json"))?)?;
    let root = image_tool::Root::Development(development_root()?);
    Ok(image_tool::verification_policy(&manifest.mrenclave, root))
}

/// What `enclave/image/image.toml` says.
///
/// # Errors
/// If it does not read.
pub fn parameters() -> Result<Parameters> {
    Ok(Parameters::from_toml(&fs::read_to_string(workspace().join("enclave/image/image.toml"))?)?)
}

/// Where `cargo xtask image` left the compiled enclave.
fn folder() -> PathBuf {
    match std::env::var_os("ENCLAVE_OS_IMAGE_DIR") {
        Some(folder) => Path::new(&folder).to_path_buf(),
        None => workspace().join("target/image"),
    }
}
