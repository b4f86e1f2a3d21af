//! A development PKI in a folder: made once per machine, renewed when its collateral runs out.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use zeroize::{Zeroize, Zeroizing};

use super::authorities::{Authorities, Entity};
use super::collateral::Collateral;
use super::key::Key;
use super::options::PkiOptions;
use super::pki::{DevelopmentPki, PkiError};
use super::platform::PlatformFacts;
use crate::secrets::{hex, random, unhex, unhex_any};

/// Keys and certificates, which are made once.
pub const KEYS_FILE_NAME: &str = "development-pki-PROTECTS-NOTHING.json";
/// The collateral document, which is renewed.
pub const COLLATERAL_FILE_NAME: &str = "collateral.json";
/// The root certificate.
pub const ROOT_FILE_NAME: &str = "root.pem";
/// PCK certificate, PCK CA and root.
pub const PCK_CHAIN_FILE_NAME: &str = "pck-chain.pem";
/// Collateral is renewed when less than this is left of it.
pub const RENEW_BEFORE: Duration = Duration::days(7);

const NOTICE: &str = "This file protects nothing. It stands in for Intel's keys on machines without SGX: whoever \
reads it can make quotes of every enclave under this root.";
/// Sane files are far under this.
const MAX_FILE: u64 = 256 * 1024;

/// There is no development PKI.
#[derive(Debug, thiserror::Error)]
pub enum PkiStoreError {
    /// A file could not be read or made.
    #[error("the development PKI in {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is not what this crate writes.
    #[error(
        "{path} is not a development PKI ({what}); delete it to have a new one made, and name its new root in \
         the policies that named the old one"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Other users can read or write the keys.
    #[error("{path} has mode {mode:o}, so others have the keys: chmod 600 it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Other users can exchange the files in the folder.
    #[error(
        "{path} {how}, so others can exchange the PKI in it: chmod 700 it as its owner, or name another folder"
    )]
    Shared {
        /// The folder.
        path: PathBuf,
        /// Its owner, or its permission bits.
        how: String,
    },
    /// The PKI cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
}

impl DevelopmentPki {
    /// The PKI in `dir`; makes it if there is none, and renews collateral that has run out, is about to
    /// ([`RENEW_BEFORE`]) or does not read. Root and PCK stay as they are.
    ///
    /// # Errors
    /// [`PkiStoreError`].
    pub fn open_or_create(dir: &Path, now: OffsetDateTime) -> Result<Self, PkiStoreError> {
        only_ours(dir)?;
        let (facts, authorities) = match read_keys(dir)? {
            Some(found) => found,
            None => {
                let fresh = Self::generate(&PlatformFacts::development(), now)?;
                make_folder(dir)?;
                create_keys(dir, &fresh)?;
                // Read back: another process may have been first, and its PKI is the machine's.
                read_keys(dir)?.ok_or_else(|| PkiStoreError::Io {
                    path: dir.join(KEYS_FILE_NAME),
                    source: io::ErrorKind::NotFound.into(),
                })?
            }
        };
        let authorities = Arc::new(authorities);
        if let Some(collateral) = read_collateral(dir)?
            && collateral.is_good_at(now)
            && collateral.is_of(&authorities)
        {
            let collateral_json = collateral.to_json()?;
            let pki = Self { facts, authorities, collateral, collateral_json };
            pki.write_certificates(dir)?;
            return Ok(pki);
        }
        let pki = Self::issue(facts, authorities, now, &PkiOptions::default())?;
        pki.write_certificates(dir)?;
        pki.write_collateral(dir)?;
        Ok(pki)
    }

    /// Where a machine's PKI lies unless something else is asked for: `$ENCLAVE_OS_DEV_PKI`, else
    /// `enclave-os/dev-pki` in `$XDG_DATA_HOME`, else in `~/.local/share`; `None` if the environment has none of
    /// these. The two folders of the XDG Base Directory Specification count only if they are absolute.
    pub fn default_dir(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let path = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(named) = path("ENCLAVE_OS_DEV_PKI") {
            return Some(named);
        }
        let data = path("XDG_DATA_HOME").filter(|path| path.is_absolute());
        let home = || Some(path("HOME").filter(|path| path.is_absolute())?.join(".local/share"));
        Some(data.or_else(home)?.join("enclave-os/dev-pki"))
    }

    /// Replaces the collateral in `dir`, and returns the PKI with it.
    ///
    /// # Errors
    /// [`PkiStoreError`].
    pub fn renew_in(&self, dir: &Path, now: OffsetDateTime) -> Result<Self, PkiStoreError> {
        let renewed = self.renewed(now, &PkiOptions::default())?;
        renewed.write_collateral(dir)?;
        Ok(renewed)
    }

    /// Whether the collateral should be renewed at `now`.
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        !self.collateral.is_good_at(now)
    }

    fn write_collateral(&self, dir: &Path) -> Result<(), PkiStoreError> {
        replace(dir, COLLATERAL_FILE_NAME, &self.collateral_json)
    }

    /// The certificates beside the keys, for whoever may not read those.
    fn write_certificates(&self, dir: &Path) -> Result<(), PkiStoreError> {
        for (name, text) in [(ROOT_FILE_NAME, self.root_pem()), (PCK_CHAIN_FILE_NAME, self.pck_chain_pem())] {
            if fs::read(dir.join(name)).ok().as_deref() != Some(text.as_bytes()) {
                replace(dir, name, &text)?;
            }
        }
        Ok(())
    }
}

/// Under another name first, so that a reader sees the old file or the new one.
fn replace(dir: &Path, name: &str, text: &str) -> Result<(), PkiStoreError> {
    let path = dir.join(name);
    let draft = draft(&path);
    let written = write_new(&draft, 0o644, text.as_bytes())
        .and_then(|()| fs::rename(&draft, &path))
        .and_then(|()| File::open(dir)?.sync_all());
    written.map_err(|source| PkiStoreError::Io { path, source })
}

impl Collateral {
    fn is_good_at(&self, now: OffsetDateTime) -> bool {
        let (from, until) = (self.issued(), self.next_update());
        from.is_some_and(|from| from <= now) && until.is_some_and(|until| now + RENEW_BEFORE <= until)
    }
}

/// [`KEYS_FILE_NAME`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    notice: String,
    platform: PlatformFacts,
    root: EntityFile,
    pck_ca: EntityFile,
    tcb_signing: EntityFile,
    pck: EntityFile,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntityFile {
    key: String,
    serial: String,
    certificate: String,
}

impl Drop for EntityFile {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl EntityFile {
    fn of(entity: &Entity) -> Self {
        Self {
            key: hex(&*entity.key.scalar()),
            serial: hex(&entity.serial),
            certificate: hex(&entity.certificate),
        }
    }

    fn read(&self) -> Option<Entity> {
        let scalar = Zeroizing::new(unhex::<32>(&self.key)?);
        let key = Key::from_scalar(&scalar)?;
        let certificate = unhex_any(&self.certificate)?;
        // The certificate is over this key and has this number: both stand in it as they are.
        let holds = |part: &[u8]| certificate.windows(part.len()).any(|window| window == part);
        let serial = unhex(&self.serial)?;
        (holds(key.point()) && holds(&serial)).then_some(Entity { key, certificate, serial })
    }
}

/// The folder, if there is one, is this user's or root's, and nobody else writes into it.
fn only_ours(dir: &Path) -> Result<(), PkiStoreError> {
    let (Ok(folder), Ok(process)) = (fs::metadata(dir), fs::metadata("/proc/self")) else { return Ok(()) };
    let (owner, mode) = (folder.uid(), folder.mode() & 0o777);
    let how = if owner != process.uid() && owner != 0 {
        format!("belongs to user {owner}")
    } else if mode & 0o022 != 0 {
        format!("has mode {mode:o}")
    } else {
        return Ok(());
    };
    Err(PkiStoreError::Shared { path: dir.into(), how })
}

fn read_keys(dir: &Path) -> Result<Option<(PlatformFacts, Authorities)>, PkiStoreError> {
    let path = dir.join(KEYS_FILE_NAME);
    let io_error = |source| PkiStoreError::Io { path: path.clone(), source };
    let malformed = |what| PkiStoreError::Malformed { path: path.clone(), what };
    let file = match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error)?,
    };
    let mode = file.metadata().map_err(io_error)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PkiStoreError::Exposed { path, mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut text).map_err(io_error)?;
    let file: KeysFile = serde_json::from_str(&text).map_err(|_| malformed("it is not the JSON of one"))?;
    let entity = |entity: &EntityFile, what| entity.read().ok_or_else(|| malformed(what));
    let authorities = Authorities {
        root: entity(&file.root, "key and certificate of the root differ")?,
        pck_ca: entity(&file.pck_ca, "key and certificate of the PCK CA differ")?,
        tcb_signing: entity(&file.tcb_signing, "key and certificate of the TCB signer differ")?,
        pck: entity(&file.pck, "key and certificate of the PCK differ")?,
    };
    Ok(Some((file.platform, authorities)))
}

/// Of two makers the first wins; the file is never there in part.
fn create_keys(dir: &Path, pki: &DevelopmentPki) -> Result<(), PkiStoreError> {
    let Authorities { root, pck_ca, tcb_signing, pck } = &*pki.authorities;
    let file = KeysFile {
        notice: NOTICE.to_owned(),
        platform: pki.facts.clone(),
        root: EntityFile::of(root),
        pck_ca: EntityFile::of(pck_ca),
        tcb_signing: EntityFile::of(tcb_signing),
        pck: EntityFile::of(pck),
    };
    let text = Zeroizing::new(serde_json::to_string_pretty(&file).map_err(PkiError::Json)?);
    let path = dir.join(KEYS_FILE_NAME);
    let draft = draft(&path);
    let linked =
        write_new(&draft, 0o600, text.as_bytes()).and_then(|()| match fs::hard_link(&draft, &path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
    let removed = fs::remove_file(&draft);
    linked
        .and(removed)
        .and_then(|()| File::open(dir)?.sync_all())
        .map_err(|source| PkiStoreError::Io { path, source })
}

/// `None` also for a document that does not read: it is made anew.
fn read_collateral(dir: &Path) -> Result<Option<Collateral>, PkiStoreError> {
    let path = dir.join(COLLATERAL_FILE_NAME);
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut text)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PkiStoreError::Io { path, source }),
        Ok(_) => Ok(serde_json::from_slice(&text).ok()),
    }
}

fn make_folder(dir: &Path) -> Result<(), PkiStoreError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|source| PkiStoreError::Io { path: dir.into(), source })
}

fn draft(path: &Path) -> PathBuf {
    path.with_extension(format!("{}.draft", hex(&random::<8>())))
}

fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}
