//! Compiling the enclave so that the result depends on the sources alone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use image_tool::Parameters;

use crate::tool::{self, run};

/// What an enclave is compiled for.
pub(crate) const TARGET: &str = "x86_64-fortanix-unknown-sgx";
const PROFILE: &str = "image";
const PROGRAM: &str = "enclave-os-image";
const UNWIND_STUB: &str = "enclave/image/unwind/unwind.rs";

/// The compiler that builds an image.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    pub(crate) sysroot: PathBuf,
    /// Its version.
    pub(crate) release: String,
    /// Target triple of the machine that it runs on.
    host: String,
}

impl Toolchain {
    /// The one that `rust-toolchain.toml` pins, with the sources of std, which are added if they are missing.
    pub(crate) fn pinned() -> Result<Self> {
        let root = tool::root();
        let pin = std::fs::read_to_string(root.join("rust-toolchain.toml")).context("rust-toolchain.toml")?;
        let pinned = pin.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
        let pinned = pinned.context("rust-toolchain.toml names no channel")?;
        let about = output(Command::new("rustc").arg("-vV").current_dir(&root))
            .context("rustc is not on PATH: install Rust with rustup (https://rustup.rs)")?;
        let line = |name: &str| about.lines().find_map(|line| line.strip_prefix(name));
        let (release, host) = (line("release: ").unwrap_or("?"), line("host: ").unwrap_or("?"));
        if release != pinned {
            bail!(
                "an image is built with Rust {pinned}, and this is {release}: another compiler makes another \
                 MRENCLAVE. `rustup toolchain install {pinned}` installs it"
            );
        }
        let toolchain = Self {
            sysroot: sysroot_of(Command::new("rustc").current_dir(&root))?,
            release: release.to_owned(),
            host: host.to_owned(),
        };
        toolchain.ensure_sources()?;
        toolchain.linker_folder()?;
        Ok(toolchain)
    }

    /// The same compiler in another place.
    pub(crate) fn moved_to(&self, sysroot: PathBuf) -> Self {
        Self { sysroot, ..self.clone() }
    }

    /// Where the sources of std lie.
    pub(crate) fn library(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }

    fn ensure_sources(&self) -> Result<()> {
        if self.library().join("Cargo.lock").is_file() {
            return Ok(());
        }
        run(Command::new("rustup").args(["component", "add", "rust-src"]).current_dir(tool::root()))
            .context("std's sources are missing; `rustup component add rust-src` adds them")
    }

    fn linker_folder(&self) -> Result<PathBuf> {
        let folder = self.sysroot.join("lib/rustlib").join(&self.host).join("bin");
        if !folder.join("rust-lld").is_file() {
            bail!("the toolchain has no rust-lld in {}: install it with rustup", folder.display());
        }
        Ok(folder)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.sysroot.join("bin").join(name)
    }
}

/// One build of the enclave. Everything that may differ between two machines is a field.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    pub(crate) toolchain: Toolchain,
    /// The checkout.
    pub(crate) root: PathBuf,
    pub(crate) target_dir: PathBuf,
    pub(crate) cargo_home: PathBuf,
    /// What else is set in its environment.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    pub(crate) flags: Vec<String>,
}

impl Build {
    pub(crate) fn of_this_checkout(parameters: &Parameters, target_dir: PathBuf) -> Result<Self> {
        Ok(Self {
            toolchain: Toolchain::pinned()?,
            root: tool::root(),
            target_dir: std::path::absolute(target_dir)?,
            cargo_home: cargo_home()?,
            environment: Vec::new(),
            flags: code_generation(parameters),
        })
    }

    /// Compiles, and gives the linked program.
    pub(crate) fn run(&self) -> Result<PathBuf> {
        let stub = self.unwind_stub()?;
        let program = |name| self.toolchain.program(name);
        // The folder that this compiler takes std from is the one whose name is replaced.
        let sysroot = sysroot_of(&mut Command::new(program("rustc")))?;
        if sysroot != self.toolchain.sysroot {
            bail!(
                "the compiler in {} says that it belongs to {}",
                self.toolchain.sysroot.display(),
                sysroot.display()
            );
        }
        let mut cargo = Command::new(program("cargo"));
        cargo
            .args(["build", "--locked", "-p", "enclave-image", "--bin", PROGRAM])
            .args(["--target", TARGET, "--profile", PROFILE])
            // std with these flags, and without the symbolizer of backtraces, which would find nothing.
            .args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features="])
            .current_dir(&self.root);
        // What a shell has set for other builds must not reach this one.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let network = ["CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"];
            let ours = (text.starts_with("CARGO") && !network.iter().any(|prefix| text.starts_with(prefix)))
                || (text.starts_with("RUST") && !text.starts_with("RUSTUP_"));
            if ours {
                cargo.env_remove(&name);
            }
        }
        without_foreign_libraries(&mut cargo)
            .env("RUSTC", program("rustc"))
            // Stands for a nightly toolchain: std is built from source.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_HOME", &self.cargo_home)
            .env("CARGO_TARGET_DIR", &self.target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(&stub).join("\x1f"))
            .env("PATH", self.path()?)
            .envs(self.environment.iter().cloned());
        run(&mut cargo)?;
        let elf = self.target_dir.join(TARGET).join(PROFILE).join(PROGRAM);
        self.refuse_paths(&elf)?;
        Ok(elf)
    }

    /// std asks the linker for `libunwind.a`, even where panics abort.
    fn unwind_stub(&self) -> Result<PathBuf> {
        let folder = self.target_dir.join("unwind");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let (source, archive) = (self.root.join(UNWIND_STUB), folder.join("libunwind.a"));
        let modified = |file: &Path| std::fs::metadata(file).and_then(|about| about.modified());
        let fresh =
            matches!((modified(&archive), modified(&source)), (Ok(made), Ok(changed)) if made > changed);
        if !fresh {
            run(without_foreign_libraries(&mut Command::new(self.toolchain.program("rustc")))
                .args(["--edition", "2024", "--crate-name", "unwind", "--crate-type", "staticlib"])
                .args(["--target", TARGET, "-Cpanic=abort", "-o"])
                .args([&archive, &source])
                .env("RUSTC_BOOTSTRAP", "1"))?;
        }
        Ok(folder)
    }

    /// Flags for the target. Paths outside the checkout are replaced, so that no machine's are measured; cargo
    /// names files within the checkout relative to it.
    fn rustflags(&self, stub: &Path) -> Vec<String> {
        let mut flags = self.flags.clone();
        flags.push(format!("-L{}", stub.display()));
        // The names of its LVI features are unstable, and the compiler says so of each crate. Lints are clippy's.
        flags.push("-Awarnings".to_owned());
        for (path, name) in
            [(&self.target_dir, "/target"), (&self.cargo_home, "/cargo"), (&self.toolchain.sysroot, "/rust")]
        {
            flags.push(format!("--remap-path-prefix={}={name}", path.display()));
        }
        flags
    }

    fn path(&self) -> Result<OsString> {
        let before = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.toolchain.linker_folder()?).chain(std::env::split_paths(&before));
        Ok(std::env::join_paths(folders)?)
    }

    /// A path of this machine in the program would be in the measurement.
    fn refuse_paths(&self, elf: &Path) -> Result<()> {
        let program = super::read(elf)?;
        let folders = [&self.root, &self.target_dir, &self.cargo_home, &self.toolchain.sysroot];
        match folders.into_iter().find_map(|folder| named(&program, folder)) {
            Some(found) => bail!(
                "the program names a path of this machine, so that another would build another one: {found}"
            ),
            None => Ok(()),
        }
    }
}

/// What a program says from where it names something in this folder.
fn named(program: &[u8], folder: &Path) -> Option<String> {
    const SHOWN: usize = 200;
    let needle = format!("{}/", folder.display()).into_bytes();
    let at = program.windows(needle.len()).position(|window| window == needle)?;
    let found = String::from_utf8_lossy(&program[at..program.len().min(at + SHOWN)]);
    Some(found.chars().take_while(|c| !c.is_control()).collect())
}

/// Where cargo keeps what it has downloaded.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    let home = std::env::home_dir().context("there is no home folder: set HOME or CARGO_HOME")?;
    Ok(std::env::var_os("CARGO_HOME").map_or(home.join(".cargo"), PathBuf::from))
}

/// What the code is compiled for.
fn code_generation(parameters: &Parameters) -> Vec<String> {
    let mut features: Vec<_> = parameters.target_features().iter().map(|name| format!("+{name}")).collect();
    // Fences against load value injection, which this target has on by default, cost a factor of five, and the
    // baseline's CPUs do not need them (INTEL-SA-00334).
    features.extend(["-lvi-load-hardening", "-lvi-cfi"].map(str::to_owned));
    vec![
        format!("-Ctarget-cpu={}", parameters.target_cpu()),
        format!("-Ctarget-feature={}", features.join(",")),
        // The target exports every symbol; then nothing that std contains can be left out.
        "-Clink-arg=--no-export-dynamic".to_owned(),
    ]
}

/// Where a compiler's own files lie.
fn sysroot_of(rustc: &mut Command) -> Result<PathBuf> {
    let printed = output(without_foreign_libraries(rustc.args(["--print", "sysroot"])))?;
    Ok(PathBuf::from(printed.trim()))
}

/// A compiler with its own libraries. `cargo run` has set the path for the compiler that it uses; another one
/// would load the first one's libraries, and take std from there.
fn without_foreign_libraries(compiler: &mut Command) -> &mut Command {
    compiler.env_remove("LD_LIBRARY_PATH")
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_parameters_say_is_what_is_compiled_for() {
        let parameters = super::super::parameters(&tool::root()).unwrap();
        let flags = code_generation(&parameters);
        assert!(flags.contains(&"-Ctarget-cpu=x86-64-v3".to_owned()), "{flags:?}");
        let features = flags.iter().find_map(|flag| flag.strip_prefix("-Ctarget-feature=")).unwrap();
        let features: Vec<_> = features.split(',').collect();
        for name in parameters.target_features() {
            assert!(features.contains(&&*format!("+{name}")), "{name} is asked of the CPU and not used");
        }
        assert!(features.contains(&"-lvi-load-hardening") && features.contains(&"-lvi-cfi"));
    }

    #[test]
    fn a_compiler_is_asked_without_the_libraries_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let asked = folder.path().join("rustc");
        std::fs::write(&asked, "#!/bin/sh\necho \"/sysroot$LD_LIBRARY_PATH\"\n").unwrap();
        std::fs::set_permissions(&asked, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut rustc = Command::new(&asked);
        let sysroot = sysroot_of(rustc.env("LD_LIBRARY_PATH", "/of/another")).unwrap();
        assert_eq!(sysroot, Path::new("/sysroot"));
    }

    #[test]
    fn a_path_of_this_machine_is_found_wherever_it_stands() {
        let folder = Path::new("/home/somebody/checkout");
        let program = b"\0panicked at /home/somebody/checkout/src/lib.rs\0more";
        assert_eq!(named(program, folder).unwrap(), "/home/somebody/checkout/src/lib.rs");
        assert_eq!(
            named(&program[..program.len() - 5], folder).unwrap(),
            "/home/somebody/checkout/src/lib.rs"
        );
        assert_eq!(named(b"/home/somebody/checkouts/src", folder), None);
        assert_eq!(named(b"", folder), None);
    }
}
