//! The operator's key file of a command.

use std::fs;
use std::path::Path;

use enclave_os_client::OperatorKey;

use crate::failure::Failure;
use crate::output;

/// Reads a key file; says so if others can read it, too.
pub(crate) fn read(path: &Path) -> Result<OperatorKey, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file(path, "read", &error))?;
    let key = OperatorKey::from_pem(&text).map_err(|error| {
        Failure::usage(format!("the key {}: {error}", path.display()))
            .hint("`enclave-os key new FILE` makes one, and so does `openssl genpkey -algorithm ed25519`")
    })?;
    if is_open(path) {
        output::warning(&format!(
            "others on this machine can read the key {0}: `chmod 600 {0}`",
            path.display()
        ));
    }
    Ok(key)
}

/// Whether anybody but its owner may read the file.
#[cfg(unix)]
fn is_open(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open(_path: &Path) -> bool {
    false
}

/// Writes a file that only its owner can read, and never over another.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::file(path, "write", &error))
}
