//! The host program, which can make and sign.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;

const PROGRAM: &str = "enclave-os-host";

/// Has the PKI in `dir` renewed, or made if there is none.
pub(super) fn renew(dir: &Path) -> Result<(), Failure> {
    let program = program();
    let mut command = Command::new(&program);
    command.arg("--renew-dev-pki").arg("--dev-pki").arg(dir).stdin(Stdio::null()).stdout(Stdio::null());
    let output = command.stderr(Stdio::piped()).output().map_err(|error| {
        let text = match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{PROGRAM} makes and renews the development PKI, and it is not found")
            }
            _ => format!("{} does not start: {error}", program.display()),
        };
        Failure::local("no-host", text).hint("put it beside this program or into the PATH")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or_default();
    let said = said.strip_prefix("error: ").unwrap_or(said);
    Err(Failure::local("dev-pki", format!("{PROGRAM} did not renew the development PKI: {said}")))
}

/// Beside this program, else wherever the PATH has it.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(PROGRAM)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PROGRAM.into())
}
