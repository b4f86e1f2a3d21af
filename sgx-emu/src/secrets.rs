//! The secrets of one software CPU, in one file that is made once.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// What the file should be called.
pub const SECRETS_FILE_NAME: &str = "software-cpu-PROTECTS-NOTHING.txt";

/// CPUSVN of a CPU that is made.
pub(crate) const CPU_SVN: [u8; 16] = [1; 16];

const FIRST_LINE: &str = "This file protects nothing. It stands in for the fuses of an SGX CPU on machines \
without SGX: whoever reads it can read everything sealed on this machine.";

/// A sane file is under 1 KiB.
const MAX_FILE: u64 = 4096;

/// Why there is no software CPU.
#[derive(Debug, thiserror::Error)]
pub enum CpuError {
    /// The file could not be read or made.
    #[error("the software CPU's secrets in {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not what this crate writes.
    #[error(
        "{path} is not a software CPU's secrets file ({what}); \
         what was sealed with it is lost if you delete it to have a new one made"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Other users can read or write the file.
    #[error("{path} has mode {mode:o}, so others have the keys: chmod 600 it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// What fuses, the owner epoch and the power-up state are to a CPU.
pub(crate) struct Secrets {
    pub(crate) fuses: Zeroizing<[u8; 32]>,
    pub(crate) owner_epoch: Zeroizing<[u8; 16]>,
    pub(crate) cpu_svn: [u8; 16],
    /// CR_REPORT_KEYID: new at every power-up, so never stored.
    pub(crate) report_key_id: [u8; 32],
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("cpu_svn", &self.cpu_svn).finish_non_exhaustive()
    }
}

impl Secrets {
    pub(crate) fn random() -> Self {
        Self {
            fuses: Zeroizing::new(random()),
            owner_epoch: Zeroizing::new(random()),
            cpu_svn: CPU_SVN,
            report_key_id: random(),
        }
    }

    pub(crate) fn open_or_create(path: &Path) -> Result<Self, CpuError> {
        match Self::open(path) {
            Err(CpuError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::random().create(path).map_err(|source| CpuError::Io { path: path.into(), source })?;
                // Read back: another process may have been first, and its secrets are the machine's.
                Self::open(path)
            }
            other => other,
        }
    }

    fn open(path: &Path) -> Result<Self, CpuError> {
        let io_error = |source| CpuError::Io { path: path.into(), source };
        let file = fs::File::open(path).map_err(io_error)?;
        let mode = file.metadata().map_err(io_error)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(CpuError::Exposed { path: path.into(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE).read_to_string(&mut text).map_err(io_error)?;
        Self::parse(&text).map_err(|what| CpuError::Malformed { path: path.into(), what })
    }

    /// Writes a complete file under a name of its own, then links it to `path` unless that exists: a reader
    /// never sees half a file, and of two writers the first wins.
    fn create(&self, path: &Path) -> io::Result<()> {
        let unique = hex(&random::<8>());
        let draft = path.with_file_name(format!("{SECRETS_FILE_NAME}.{unique}.draft"));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            match fs::hard_link(&draft, path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        })();
        let removed = fs::remove_file(&draft);
        written?;
        removed?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    }

    fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!(
            "{FIRST_LINE}\nfuses {}\nowner-epoch {}\ncpu-svn {}\n",
            *Zeroizing::new(hex(&*self.fuses)),
            *Zeroizing::new(hex(&*self.owner_epoch)),
            hex(&self.cpu_svn),
        ))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err("the first line is another");
        }
        let mut value = |name: &str| lines.next().and_then(|l| l.strip_prefix(name)?.strip_prefix(' '));
        let fuses = value("fuses").and_then(unhex).ok_or("no fuses")?;
        let owner_epoch = value("owner-epoch").and_then(unhex).ok_or("no owner-epoch")?;
        let cpu_svn = value("cpu-svn").and_then(unhex).ok_or("no cpu-svn")?;
        if lines.next().is_some() {
            return Err("there is more in it");
        }
        Ok(Self {
            fuses: Zeroizing::new(fuses),
            owner_epoch: Zeroizing::new(owner_epoch),
            cpu_svn,
            report_key_id: random(),
        })
    }
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut out[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            // A CPU without randomness must not make keys.
            Err(e) => panic!("the operating system has no randomness: {e}"),
        }
    }
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    unhex_any(text)?.try_into().ok()
}

/// As many bytes as there are pairs of digits.
pub(crate) fn unhex_any(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_private_and_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SECRETS_FILE_NAME);
        let first = Secrets::open_or_create(&path).unwrap();
        let second = Secrets::open_or_create(&path).unwrap();
        assert_eq!(*first.fuses, *second.fuses);
        assert_eq!(*first.owner_epoch, *second.owner_epoch);
        assert_ne!(first.report_key_id, second.report_key_id, "new at every power-up");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with("This file protects nothing."));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn of_many_makers_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SECRETS_FILE_NAME);
        let all: Vec<_> = std::thread::scope(|s| {
            let makers: Vec<_> =
                (0..8).map(|_| s.spawn(|| *Secrets::open_or_create(&path).unwrap().fuses)).collect();
            makers.into_iter().map(|m| m.join().unwrap()).collect()
        });
        assert!(all.iter().all(|f| *f == all[0]));
    }

    #[test]
    fn foreign_damaged_and_exposed_files_are_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SECRETS_FILE_NAME);
        let good = Secrets::random().text();
        for bad in [
            "",
            "hello\n",
            &good[..good.len() - 2],
            &format!("{}more\n", *good),
            &good.replace("fuses ", "fuses x"),
        ] {
            fs::write(&path, bad).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(Secrets::open_or_create(&path), Err(CpuError::Malformed { .. })), "{bad:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        fs::write(&path, good.as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Secrets::open_or_create(&path), Err(CpuError::Exposed { mode: 0o640, .. })));
    }
}
