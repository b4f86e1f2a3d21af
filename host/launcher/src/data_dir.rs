//! The data directory: one host at a time, one platform and one image for good.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::run::hex;

/// Locked while a host uses the directory; holds its process id.
const LOCK_FILE: &str = "host.lock";
/// Names the platform whose keys sealed what lies here: `native`, or a platform and the image's MRENCLAVE.
const PLATFORM_FILE: &str = "platform";

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The lock lasts as long as the file is open, so it ends with the process, however that ends.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error(
        "the data directory {path} is held by another host{holder}: stop it, or choose another with --data-dir"
    )]
    Held { path: PathBuf, holder: String },
    #[error(
        "the data directory {path} belongs to platform {theirs}, whose keys {ours} does not have: choose another \
         with --data-dir, or start with --platform {theirs}"
    )]
    OtherPlatform { path: PathBuf, theirs: String, ours: &'static str },
    #[error(
        "the data directory {path} is sealed to MRENCLAVE {theirs}, and this image has MRENCLAVE {ours}, which can \
         open none of it: start the other image with --image, or choose another directory with --data-dir"
    )]
    OtherImage { path: PathBuf, theirs: String, ours: String },
    #[error("the data directory: {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

impl DataDir {
    /// Takes the directory for this process, `platform` and the image of this measurement, if it is one; makes it
    /// (mode 0700) if it is not there.
    pub(crate) fn open(
        path: &Path,
        platform: &'static str,
        mrenclave: Option<[u8; 32]>,
    ) -> Result<DataDir, DataDirError> {
        let failed = |at: &Path| {
            let at = at.to_owned();
            move |source| DataDirError::Io { path: at, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))?;
        let lock = lock(path)?;
        let marker = path.join(PLATFORM_FILE);
        let ours = mrenclave.map(|mrenclave| hex(&mrenclave));
        match fs::read_to_string(&marker) {
            Ok(theirs) => check(path, theirs.trim(), platform, ours)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let text = ours.map_or(platform.to_owned(), |ours| format!("{platform} {ours}"));
                write_durably(&marker, &text).map_err(failed(&marker))?;
            }
            Err(e) => return Err(failed(&marker)(e)),
        }
        Ok(DataDir { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether the directory is of this platform and this image.
fn check(
    path: &Path,
    theirs: &str,
    platform: &'static str,
    ours: Option<String>,
) -> Result<(), DataDirError> {
    let shown = |text: &str| text.escape_default().take(64).collect();
    let (name, image) = match theirs.split_once(' ') {
        Some((name, image)) => (name, Some(image)),
        None => (theirs, None),
    };
    if name != platform || image.is_some() != ours.is_some() {
        return Err(DataDirError::OtherPlatform {
            path: path.to_owned(),
            theirs: shown(name),
            ours: platform,
        });
    }
    match (image, ours) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            Err(DataDirError::OtherImage { path: path.to_owned(), theirs: shown(theirs), ours })
        }
        _ => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join(LOCK_FILE);
    let failed = |source: io::Error| DataDirError::Io { path: path.clone(), source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            return Err(DataDirError::Held { path: dir.to_owned(), holder: holder(&mut file) });
        }
        Err(error) => return Err(failed(error.into())),
    }
    let id = format!("{}\n", std::process::id());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(id.as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

/// The other host's process id, as far as the file says it.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(16).read_to_string(&mut text) {
        Ok(_) => text.trim().parse::<u32>().map_or_else(|_| String::new(), |id| format!(" (process {id})")),
        Err(_) => String::new(),
    }
}

/// Whole or not at all, whenever the machine stops.
fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::open(&path, "native", None).unwrap();
        let error = DataDir::open(&path, "native", None).unwrap_err().to_string();
        assert!(error.contains(&format!("held by another host (process {})", std::process::id())), "{error}");
        drop(first);
        DataDir::open(&path, "native", None).unwrap();
    }

    #[test]
    fn one_platform_for_good() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), "native", None).unwrap());
        let error = DataDir::open(dir.path(), "sgx", Some([1; 32])).unwrap_err();
        assert!(
            matches!(&error, DataDirError::OtherPlatform { theirs, .. } if theirs == "native"),
            "{error}"
        );
        DataDir::open(dir.path(), "native", None).unwrap();
    }

    #[test]
    fn one_image_for_good() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), "emulated", Some([1; 32])).unwrap());
        drop(DataDir::open(dir.path(), "emulated", Some([1; 32])).unwrap());
        let error = DataDir::open(dir.path(), "emulated", Some([0xab; 32])).unwrap_err().to_string();
        assert!(error.contains(&"01".repeat(32)) && error.contains(&"ab".repeat(32)), "{error}");
        for (platform, image) in [("sgx", Some([1; 32])), ("native", None), ("emulated", None)] {
            let error = DataDir::open(dir.path(), platform, image).unwrap_err();
            assert!(matches!(error, DataDirError::OtherPlatform { .. }), "{platform}: {error}");
        }
    }

    #[test]
    fn a_file_is_no_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        File::create(&path).unwrap();
        assert!(matches!(DataDir::open(&path, "native", None), Err(DataDirError::Io { .. })));
    }
}
