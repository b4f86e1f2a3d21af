//! Keys that sign images: RSA-3072 with exponent 3 (SDM 3D, "Enclave Signature Structure").

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey};
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::traits::PublicKeyParts;
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};
use sha2::{Digest, Sha256};

/// Bytes of the modulus and of a signature.
pub(crate) const KEY_LEN: usize = 384;

/// What the development key is called, so that nobody takes it for one that says anything.
pub const DEVELOPMENT_KEY_FILE_NAME: &str = "DEVELOPMENT-ONLY-signing-key.pem";

/// Why a key cannot sign an image, or be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key in it.
    #[error("not {0} in PEM: `openssl genrsa -3 3072` makes a key, `openssl rsa -pubout` its public half")]
    Pem(&'static str),
    /// A key of another size.
    #[error("the key has {0} bits; an image is signed with RSA of 3072 bits")]
    Size(u32),
    /// A key with another exponent.
    #[error(
        "the key has the public exponent {0}; an image is signed with exponent 3 (`openssl genrsa -3 3072`)"
    )]
    Exponent(String),
    /// The private key is no RSA key.
    #[error("the key's numbers do not fit together")]
    Inconsistent,
    /// The key file cannot be read or made.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Others can read the private key.
    #[error("{0} can be read by others: `chmod 600` it, or remove it to have a new one made")]
    Exposed(String),
}

/// Who signed an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(RsaPublicKey);

impl PublicKey {
    /// Reads `PUBLIC KEY` (SubjectPublicKeyInfo) or `RSA PUBLIC KEY` (PKCS#1).
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pem = pem.trim();
        let key = RsaPublicKey::from_public_key_pem(pem)
            .ok()
            .or_else(|| RsaPublicKey::from_pkcs1_pem(pem).ok())
            .ok_or(KeyError::Pem("an RSA public key"))?;
        Self::suited(key)
    }

    /// The key as `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`KeyError::Inconsistent`], which does not happen to a key that was read.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::Inconsistent)
    }

    fn suited(key: RsaPublicKey) -> Result<Self, KeyError> {
        let bits = key.n().bits_vartime();
        if bits as usize != KEY_LEN * 8 {
            return Err(KeyError::Size(bits));
        }
        if *key.e() != BoxedUint::from(3_u8) {
            return Err(KeyError::Exponent(key.e().to_string_radix_vartime(10)));
        }
        Ok(Self(key))
    }

    /// The modulus, big-endian.
    pub(crate) fn modulus(&self) -> [u8; KEY_LEN] {
        let mut modulus = [0; KEY_LEN];
        let bytes = self.0.n_bytes();
        modulus[KEY_LEN - bytes.len()..].copy_from_slice(&bytes);
        modulus
    }

    /// True if `signature` (big-endian) is this key's over `material`.
    pub(crate) fn verifies(&self, material: &[u8], signature: &[u8]) -> bool {
        self.0.verify(padding(), &Sha256::digest(material), signature).is_ok()
    }
}

/// A private key that can sign images. It is wiped when dropped.
#[derive(Debug)]
pub struct SigningKey(RsaPrivateKey);

impl SigningKey {
    /// Reads `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1), unencrypted.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pem = pem.trim();
        let key = RsaPrivateKey::from_pkcs8_pem(pem)
            .ok()
            .or_else(|| RsaPrivateKey::from_pkcs1_pem(pem).ok())
            .ok_or(KeyError::Pem("an unencrypted RSA private key"))?;
        PublicKey::suited(key.to_public_key())?;
        key.validate().map_err(|_| KeyError::Inconsistent)?;
        Ok(Self(key))
    }

    /// The development key in `folder`, made there (mode 0600) if there is none. True if it was made now.
    ///
    /// # Errors
    /// [`KeyError`] when it can neither be read nor made, or others can read it.
    pub fn development(folder: &Path) -> Result<(Self, bool), KeyError> {
        let path = folder.join(DEVELOPMENT_KEY_FILE_NAME);
        let failed = |source| KeyError::File { path: path.display().to_string(), source };
        let made = if path.try_exists().map_err(failed)? {
            false
        } else {
            let pem = Self::generate()?.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Inconsistent)?;
            place_private(&path, pem.as_bytes()).map_err(failed)?
        };
        let pem = std::fs::read_to_string(&path).map_err(failed)?;
        if exposed(&path).map_err(failed)? {
            return Err(KeyError::Exposed(path.display().to_string()));
        }
        Ok((Self::from_pem(&pem)?, made))
    }

    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Inconsistent`] when the key that was made is none, which does not happen.
    ///
    /// # Panics
    /// When the operating system has no randomness, which does not happen after boot.
    pub fn generate() -> Result<Self, KeyError> {
        RsaPrivateKey::new_with_exp(&mut UnwrapErr(SysRng), KEY_LEN * 8, BoxedUint::from(3_u8))
            .map(Self)
            .map_err(|_| KeyError::Inconsistent)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.to_public_key())
    }

    /// The signature over `material`, big-endian: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, section 8.2).
    pub(crate) fn sign(&self, material: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.0
            .sign_with_rng(&mut UnwrapErr(SysRng), padding(), &Sha256::digest(material))
            .map_err(|_| KeyError::Inconsistent)
    }
}

fn padding() -> Pkcs1v15Sign {
    Pkcs1v15Sign::new::<Sha256>()
}

#[cfg(unix)]
fn exposed(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn exposed(_: &Path) -> std::io::Result<bool> {
    Ok(false)
}

/// Makes a file that is whole as soon as it is there. `false`: somebody else was first, and theirs stays.
fn place_private(path: &Path, content: &[u8]) -> std::io::Result<bool> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let unique = format!("new-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let draft = path.with_extension(unique);
    write_private(&draft, content)?;
    let placed = match std::fs::hard_link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    };
    std::fs::remove_file(&draft)?;
    placed
}

fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
