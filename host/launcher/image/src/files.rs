//! The three files of an image: `NAME.sgxs`, `NAME.sig`, `NAME.json`.
//!
//! What holds is the SGXS file, which the CPU measures, and the SIGSTRUCT, which the CPU checks. The manifest is
//! a description for tools and people; here it must agree with the SIGSTRUCT, so that a mixture of two builds is
//! found before it is loaded.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use attestation::image_manifest::{ImageManifest, ManifestError};
use sgx_emu::{EinitError, Sigstruct};

use crate::features::MissingFeatures;

/// The command that makes an image.
pub const MAKE: &str = "cargo xtask image";

/// Room for images far beyond ours: 64 bytes per page of heap, and content for the rest.
const MOST_SGXS: u64 = 1 << 30;
const MOST_MANIFEST: u64 = 1 << 20;

/// A signed image, read but not measured.
#[derive(Debug)]
pub struct ImageFiles {
    path: PathBuf,
    sgxs: Vec<u8>,
    sigstruct: Box<[u8; Sigstruct::LEN]>,
    signed: Sigstruct,
    manifest: ImageManifest,
}

/// Why files are not an image.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error(
        "{path}: {source}: an image is three files, NAME.sgxs, NAME.sig and NAME.json; `{MAKE}` makes them"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is longer than any that an image has.
    #[error("{path} is larger than {most} bytes: it is not part of an image")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// `NAME.sig` has the wrong length.
    #[error("{path} has {len} bytes, a SIGSTRUCT has {}: sign the image with `{MAKE}`", Sigstruct::LEN)]
    SignatureLength {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: usize,
    },
    /// `NAME.sig` is no SIGSTRUCT.
    #[error("{path}: {source}")]
    Signature {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: EinitError,
    },
    /// `NAME.json` is no manifest of this version.
    #[error("{path}: {source}: make the image again with `{MAKE}` of this version")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: ManifestError,
    },
    /// The manifest describes another image.
    #[error(
        "{path} says that {what} is {manifest}, and the signature says {signed}: the files are of different images, \
         or were changed after signing"
    )]
    Mixed {
        /// The manifest.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// There.
        manifest: String,
        /// In SIGSTRUCT.
        signed: String,
    },
    /// A debug image where none is wanted.
    #[error(
        "{path} is a debug image: whoever runs it can read all of its memory. Make one with `debug = false`, or use \
         platform emulated"
    )]
    Debug {
        /// The image.
        path: PathBuf,
    },
    /// This CPU cannot run it.
    #[error(transparent)]
    Features(#[from] MissingFeatures),
}

impl ImageFiles {
    /// Reads `NAME.sgxs` and, beside it, `NAME.sig` and `NAME.json`.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn open(path: &Path) -> Result<ImageFiles, FilesError> {
        let beside = |extension| path.with_extension(extension);
        let sgxs = read(path, MOST_SGXS)?;
        let sig = beside("sig");
        let bytes = read(&sig, MOST_MANIFEST)?;
        let len = bytes.len();
        let sigstruct: Box<[u8; Sigstruct::LEN]> = bytes
            .into_boxed_slice()
            .try_into()
            .map_err(|_| FilesError::SignatureLength { path: sig.clone(), len })?;
        let signed = Sigstruct::from_bytes(&sigstruct)
            .map_err(|source| FilesError::Signature { path: sig.clone(), source })?;
        let json = beside("json");
        let manifest = ImageManifest::from_json(&String::from_utf8_lossy(&read(&json, MOST_MANIFEST)?))
            .map_err(|source| FilesError::Manifest { path: json.clone(), source })?;
        agree(&json, &manifest, &signed)?;
        Ok(ImageFiles { path: path.to_owned(), sgxs, sigstruct, signed, manifest })
    }

    /// The SGXS file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SGXS file.
    pub fn sgxs(&self) -> &[u8] {
        &self.sgxs
    }

    /// The SIGSTRUCT as EINIT takes it.
    pub fn sigstruct(&self) -> &[u8; Sigstruct::LEN] {
        &self.sigstruct
    }

    /// What it says.
    pub fn signed(&self) -> &Sigstruct {
        &self.signed
    }

    /// The measurement that was signed.
    pub fn mrenclave(&self) -> [u8; 32] {
        self.signed.enclave_hash
    }

    /// The description.
    pub fn manifest(&self) -> &ImageManifest {
        &self.manifest
    }

    /// # Errors
    /// [`FilesError::Debug`] for a debug image.
    pub fn require_production(&self) -> Result<(), FilesError> {
        if self.manifest.debug { Err(FilesError::Debug { path: self.path.clone() }) } else { Ok(()) }
    }
}

fn agree(path: &Path, manifest: &ImageManifest, signed: &Sigstruct) -> Result<(), FilesError> {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let (flags, xfrm) = signed.attributes.split_at(8);
    let debug = word(flags) & sgx_emu::ATTRIBUTE_DEBUG != 0;
    let pairs = [
        ("MRENCLAVE", hex(&manifest.mrenclave), hex(&signed.enclave_hash)),
        ("MRSIGNER", hex(&manifest.mrsigner), hex(&signed.mrsigner())),
        ("ISVPRODID", manifest.isv_prod_id.to_string(), signed.isv_prod_id.to_string()),
        ("ISVSVN", manifest.isv_svn.to_string(), signed.isv_svn.to_string()),
        ("debug", manifest.debug.to_string(), debug.to_string()),
        ("XFRM", manifest.xfrm.to_string(), word(xfrm).to_string()),
    ];
    match pairs.into_iter().find(|(_, manifest, signed)| manifest != signed) {
        None => Ok(()),
        Some((what, manifest, signed)) => {
            Err(FilesError::Mixed { path: path.to_owned(), what, manifest, signed })
        }
    }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, FilesError> {
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(FilesError::TooLarge { path: path.to_owned(), most });
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap_or_default();
        out
    })
}
