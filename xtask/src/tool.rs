//! Running other programs, and saying which.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The guest target of DESIGN §4.
pub(crate) const GUEST_TARGET: &str = "wasm32-wasip2";

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.to_path_buf(), Path::to_path_buf)
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A cargo command in the workspace's root, with the cargo that runs this.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// Runs to the end with the output shown; anything but success is an error that names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// True if the program can be started and says so.
pub(crate) fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Copies a program that was just built to where later builds do not replace it.
pub(crate) fn copy_program(profile: &str, name: &str, folder: &Path) -> Result<()> {
    let built = target_dir().join(profile).join(name);
    // A running program cannot be written over, but its name can be taken.
    drop(std::fs::remove_file(folder.join(name)));
    std::fs::copy(&built, folder.join(name)).with_context(|| format!("{} was not built", built.display()))?;
    Ok(())
}

/// Adds the guest target to the toolchain in use if it is not there.
pub(crate) fn ensure_guest_target() -> Result<()> {
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .current_dir(root())
        .output()
        .context("rustc is not on PATH: install Rust with rustup")?;
    let folder = PathBuf::from(String::from_utf8_lossy(&installed.stdout).trim());
    if installed.status.success() && folder.is_dir() {
        return Ok(());
    }
    run(Command::new("rustup").args(["target", "add", GUEST_TARGET]).current_dir(root()))
        .with_context(|| format!("the guest target is missing; `rustup target add {GUEST_TARGET}` adds it"))
}

fn shown(command: &Command) -> String {
    let mut line = Path::new(command.get_program())
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
