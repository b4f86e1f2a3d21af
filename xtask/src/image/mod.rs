//! `cargo xtask image`: compiles the enclave, lays it out, measures and signs it.

mod build;
mod policy;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use attestation::image_manifest::ImageManifest;
use attestation::image_policy::ImagePolicy;
use clap::Args;
use image_tool::{ConvertError, Image, Parameters, PublicKey, SIGSTRUCT_LEN, SigningKey, Unsigned};

use crate::tool;
pub(crate) use build::{Build, TARGET, Toolchain, cargo_home};

/// What the files of an image are called, before the ending.
const NAME: &str = "enclave-os";
/// The file of parameters in a checkout.
const PARAMETERS: &str = "enclave/image/image.toml";

#[derive(Args)]
pub(crate) struct Options {
    /// The policy that is measured with the image (docs/formats/policy-page.md). Without it: a development
    /// policy, which protects nothing.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Certificates also carry the interoperable evidence of the CCC and TCG (`interop = true` in the policy).
    #[arg(long)]
    interop: bool,
    /// Take this linked enclave instead of compiling one.
    #[arg(long, value_name = "FILE")]
    elf: Option<PathBuf>,
    /// Sign with this key (PEM, RSA-3072, exponent 3). Without it: a development key, made on first use.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sign_later", "signature"])]
    key: Option<PathBuf>,
    /// Write what is to be signed (`enclave-os.tosign`) instead of signing.
    #[arg(long, conflicts_with = "signature")]
    sign_later: bool,
    /// Put in the signature that was made over `enclave-os.tosign`.
    #[arg(long, value_name = "FILE", requires = "public_key")]
    signature: Option<PathBuf>,
    /// Whose signature it is (PEM).
    #[arg(long, value_name = "FILE", requires = "signature")]
    public_key: Option<PathBuf>,
    /// Where the files go [default: target/image].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where cargo builds the enclave [default: target/image-build].
    #[arg(long, value_name = "DIR", env = "ENCLAVE_OS_IMAGE_TARGET_DIR")]
    target_dir: Option<PathBuf>,
    /// Print the manifest (JSON) instead of text.
    #[arg(long)]
    json: bool,
}

/// The image under a development policy, with a development key, for the chores that run it. Gives its folder.
pub(crate) fn for_development() -> Result<PathBuf> {
    command(&Options {
        policy: None,
        interop: false,
        elf: None,
        key: None,
        sign_later: false,
        signature: None,
        public_key: None,
        out: None,
        target_dir: std::env::var_os("ENCLAVE_OS_IMAGE_TARGET_DIR").map(PathBuf::from),
        json: false,
    })?;
    Ok(default_out())
}

fn default_out() -> PathBuf {
    tool::target_dir().join("image")
}

pub(crate) fn command(options: &Options) -> Result<()> {
    let out = options.out.clone().unwrap_or_else(default_out);
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let parameters = parameters(&tool::root())?;
    let elf = match &options.elf {
        Some(file) => file.clone(),
        None => {
            let target_dir =
                options.target_dir.clone().unwrap_or_else(|| tool::target_dir().join("image-build"));
            Build::of_this_checkout(&parameters, target_dir)?.run()?
        }
    };
    let elf = read(&elf)?;
    let (image, policy) = laid_out(&elf, &parameters, options.policy.as_deref(), options.interop)?;
    let mrenclave = image_tool::mrenclave(&image.sgxs)?;
    let unsigned = Unsigned::new(mrenclave, &parameters);

    let file = |ending: &str| out.join(format!("{NAME}.{ending}"));
    // Nothing of an earlier image may lie beside this one's pages.
    for ending in ["sig", "json", "tosign", "policy.toml"] {
        remove(&file(ending))?;
    }
    write(&file("elf"), &elf)?;
    write(&file("sgxs"), &image.sgxs)?;
    if options.sign_later {
        write(&file("tosign"), &unsigned.material())?;
        println!("MRENCLAVE {}", hex(&mrenclave));
        println!("\nTo be signed: {}", file("tosign").display());
        println!("  openssl dgst -sha256 -sign KEY.pem -out SIGNATURE {}", file("tosign").display());
        println!(
            "Then, with the same policy: cargo xtask image --signature SIGNATURE --public-key PUBLIC.pem"
        );
        return Ok(());
    }
    let sigstruct = signature(options, &unsigned, &out)?;
    let manifest = image_tool::manifest(&image, mrenclave, &sigstruct, &parameters, policy.as_ref())?;
    write(&file("sig"), &sigstruct)?;
    write(&file("json"), manifest.to_json()?.as_bytes())?;
    let root = policy::root(policy.as_ref())?;
    write(&file("policy.toml"), image_tool::verification_policy(&mrenclave, root).as_bytes())?;
    if options.json {
        print!("{}", manifest.to_json()?);
    } else {
        show(&manifest, policy.as_ref(), &file("").with_file_name(NAME));
    }
    Ok(())
}

/// The image of a program, and the policy in it. Another program than our enclave need not have a policy page.
pub(crate) fn laid_out(
    elf: &[u8],
    parameters: &Parameters,
    policy: Option<&Path>,
    interop: bool,
) -> Result<(Image, Option<ImagePolicy>)> {
    let mut page = match policy {
        Some(file) => policy::read(file)?,
        None => policy::development(),
    };
    page.interop |= interop;
    match image_tool::convert(elf, parameters, &page.to_page()?) {
        Err(ConvertError::NoPolicyPage) if policy.is_none() => {
            Ok((image_tool::convert(elf, parameters, &[])?, None))
        }
        outcome => {
            if policy.is_none() {
                policy::warn_of_development();
            }
            Ok((outcome?, Some(page)))
        }
    }
}

/// The image parameters of a checkout.
pub(crate) fn parameters(root: &Path) -> Result<Parameters> {
    let file = root.join(PARAMETERS);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Parameters::from_toml(&text).with_context(|| format!("{}", file.display()))
}

fn signature(options: &Options, unsigned: &Unsigned, out: &Path) -> Result<[u8; SIGSTRUCT_LEN]> {
    if let (Some(signature), Some(public_key)) = (&options.signature, &options.public_key) {
        let key =
            PublicKey::from_pem(&text(public_key)?).with_context(|| format!("{}", public_key.display()))?;
        return image_tool::assemble(unsigned, &key, &read(signature)?)
            .with_context(|| format!("{}", signature.display()));
    }
    let key = match &options.key {
        Some(file) => SigningKey::from_pem(&text(file)?).with_context(|| format!("{}", file.display()))?,
        None => {
            eprintln!("no --key: signing with a development key, under {}", out.display());
            SigningKey::development(out)?.0
        }
    };
    Ok(image_tool::sign(unsigned, &key)?)
}

fn show(manifest: &ImageManifest, policy: Option<&ImagePolicy>, name: &Path) {
    let line = |name: &str, value: &dyn std::fmt::Display| println!("{name:<9} {value}");
    line("MRENCLAVE", &hex(&manifest.mrenclave));
    line("MRSIGNER", &hex(&manifest.mrsigner));
    line("ISVPRODID", &manifest.isv_prod_id);
    line("ISVSVN", &manifest.isv_svn);
    line("size", &mib(manifest.size));
    line("heap", &mib(manifest.heap));
    line("code", &mib(manifest.code));
    line("threads", &format!("{} with {} of stack each", manifest.threads, mib(manifest.stack)));
    line("debug", if manifest.debug { &"yes: the enclave can be read from outside" } else { &"no" });
    line("policy", &policy.map_or_else(|| "the program has no policy page".to_owned(), policy::summary));
    line("image", &format!("{}.sgxs", name.display()));
    line("clients", &format!("{}.policy.toml verifies it", name.display()));
}

fn mib(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} bytes") }
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn text(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))
}

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            bail!("cannot remove {}: {error}", file.display())
        }
        _ => Ok(()),
    }
}
