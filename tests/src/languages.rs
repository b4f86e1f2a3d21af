//! The clients of other languages: their programs, in versions that their own files pin, installed under `target/`
//! when they are first asked for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::host::workspace;

/// Python with what its client needs (`requirements.txt`), in the client's folder, reading its sources.
///
/// # Errors
/// If it cannot be installed, in the words of the program that installs it.
pub fn python() -> Result<Command> {
    let client = workspace().join("clients/python");
    let mut python = Command::new(python_environment(&client)?.join("bin/python"));
    python
        .env("PYTHONPATH", client.join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONIOENCODING", "utf-8")
        .current_dir(client);
    Ok(python)
}

/// The virtual environment of the Python client.
///
/// # Errors
/// As [`python`].
pub fn python_environment(client: &Path) -> Result<PathBuf> {
    let requirements = client.join("requirements.txt");
    made_once("python", &fs::read(&requirements)?, |made| virtual_environment(made, &requirements))
}

/// npm in a copy of the TypeScript client that is installed from its lock file and built.
///
/// # Errors
/// As [`python`].
pub fn npm() -> Result<Command> {
    let root = workspace().join("clients/typescript");
    let sources = sources(&root)?;
    let content: Vec<u8> =
        sources.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes].concat()).collect();
    let built = made_once("typescript", &content, |made| {
        for (name, bytes) in &sources {
            let path = made.join(name);
            fs::create_dir_all(path.parent().context("no folder")?)?;
            fs::write(path, bytes)?;
        }
        run(npm_in(made).args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"]))?;
        run(npm_in(made).args(["run", "--silent", "build"]))?;
        Ok(())
    })?;
    Ok(npm_in(&built))
}

/// A program of the Go toolchain, in the client's folder, without a network. The system's, if it is new enough;
/// else the one that `toolchain.txt` pins.
///
/// # Errors
/// As [`python`].
pub fn go(program: &str) -> Result<Command> {
    let client = workspace().join("clients/go");
    let mut tool = match go_toolchain(&client)? {
        Some(folder) => Command::new(folder.join(program)),
        None => Command::new(program),
    };
    tool.env("GOCACHE", folder("go")?.join("cache"))
        .env("GOFLAGS", "-mod=vendor")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .current_dir(client);
    Ok(tool)
}

/// Runs a program to its end.
///
/// # Errors
/// If it does not succeed: with everything it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| {
        let name = command.get_program().to_string_lossy().into_owned();
        format!("{name} is needed: install it with the system's package manager")
    })?;
    finished(&output)
}

/// What a program printed.
///
/// # Errors
/// If it did not succeed: with everything it printed.
pub fn finished(output: &Output) -> Result<String> {
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("{}:\n{printed}\n{errors}", output.status);
    }
    Ok(printed.into_owned())
}

/// The folder of an installed Go; none if the system's will do.
fn go_toolchain(client: &Path) -> Result<Option<PathBuf>> {
    let system =
        Command::new("go").args(["list", "./..."]).current_dir(client).env("GOTOOLCHAIN", "local").output();
    let gofmt = Command::new("gofmt").arg("-h").output();
    if system.is_ok_and(|output| output.status.success()) && gofmt.is_ok() {
        return Ok(None);
    }
    let pinned = client.join("toolchain.txt");
    let made = made_once("go", &fs::read(&pinned)?, |made| virtual_environment(made, &pinned))?;
    for library in fs::read_dir(made.join("lib"))? {
        let programs = library?.path().join("site-packages/go/bin");
        if programs.is_dir() {
            return Ok(Some(programs));
        }
    }
    bail!("the package has no programs of Go in go/bin")
}

/// A virtual environment of Python with what a file pins by hash.
fn virtual_environment(made: &Path, pinned: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(made))?;
    let mut pip = Command::new(made.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    run(pip.args(["--require-hashes", "--requirement"]).arg(pinned))?;
    Ok(())
}

/// A folder that is made once for each content of what it is made of.
fn made_once(language: &str, content: &[u8], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = folder(language)?;
    // Tests are processes of their own: one of them makes it, the others wait.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let name: String = Sha256::digest(content).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let (made, complete) = (folder.join(&name), folder.join(format!("{name}.complete")));
    if !complete.is_file() {
        if made.exists() {
            fs::remove_dir_all(&made)?;
        }
        fs::create_dir_all(&made)?;
        make(&made).with_context(|| format!("the client in {language} cannot be set up"))?;
        fs::write(&complete, "")?;
    }
    Ok(made)
}

fn folder(language: &str) -> Result<PathBuf> {
    // A program of this workspace lies in `<target>/<profile>`, a test in `deps` below it.
    let own = std::env::current_exe()?;
    let profile = own.ancestors().find(|folder| folder.join(".fingerprint").is_dir());
    let target = profile.and_then(Path::parent).context("the running program is in no build folder")?;
    let folder = target.join("clients").join(language);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn npm_in(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder).env("NO_UPDATE_NOTIFIER", "1").env("NODE_NO_WARNINGS", "1");
    npm
}

/// The files of a client by name, without what is installed or built in place.
fn sources(root: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                if !path.ends_with("node_modules") && !path.ends_with("dist") {
                    folders.push(path);
                }
            } else {
                let name = path.strip_prefix(root)?.to_str().context("a name that is not Unicode")?;
                found.push((name.to_owned(), fs::read(&path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}
