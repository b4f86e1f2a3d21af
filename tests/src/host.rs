//! The real `enclave-os-host` as a child process, and the programs and guests that scenarios need.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use attestation::policy::{Roots, VerificationPolicy};
use enclave_os_client::{Connector, Framed, danger};
use sgx_emu::quoting::DevelopmentPki;
use time::OffsetDateTime;

use crate::image;
use crate::platform::Platform;

/// How long anything the harness waits for may take. Long, because a loaded machine is slow; never a
/// measure of anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a host is started with.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// What the enclave runs on.
    pub platform: Platform,
    /// Where its store and secrets are. Kept when the process ends.
    pub data_dir: PathBuf,
    /// The text of its policy file: read by the host on native, measured into the image otherwise.
    pub policy: String,
    /// Another image than that with this policy.
    pub image: Option<PathBuf>,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// More arguments, as typed.
    pub arguments: Vec<String>,
}

impl HostOptions {
    /// A development host on a free port.
    #[must_use]
    pub fn development(platform: Platform, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            platform,
            data_dir: data_dir.into(),
            policy: "development = true\n".to_owned(),
            image: None,
            port: 0,
            arguments: vec!["--workers".to_owned(), "2".to_owned()],
        }
    }
}

impl HostOptions {
    /// The image that is run, which is made if it has to be.
    ///
    /// # Errors
    /// If it cannot be laid out.
    pub fn image(&self) -> Result<PathBuf> {
        match &self.image {
            Some(image) => Ok(image.clone()),
            None => image::with_policy(&self.policy),
        }
    }

    /// The arguments that say whom the enclave trusts.
    fn trust(&self) -> Result<[OsString; 2]> {
        match self.platform {
            Platform::Native => {
                let policy = self.data_dir.with_extension("policy.toml");
                fs::write(&policy, &self.policy)?;
                Ok(["--policy".into(), policy.into()])
            }
            Platform::Emulated | Platform::Sgx => Ok(["--image".into(), self.image()?.into()]),
        }
    }
}

/// A running host. Killed when dropped.
pub struct HostProcess {
    child: Child,
    address: SocketAddr,
    ready_line: String,
    lines: Arc<Mutex<String>>,
}

impl HostProcess {
    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    /// If it cannot be started, or ends before it is ready: with all it printed.
    pub fn start(options: &HostOptions) -> Result<Self> {
        fs::create_dir_all(&options.data_dir)?;
        let mut child = Command::new(program("enclave-os-host")?)
            .args(["--platform", options.platform.name(), "--port", &options.port.to_string()])
            .arg("--data-dir")
            .arg(&options.data_dir)
            .args(options.trust()?)
            .args(&options.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start enclave-os-host")?;
        let lines = Arc::new(Mutex::new(String::new()));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ready = collect(stdout.context("no stdout")?, lines.clone());
        drop(collect(stderr.context("no stderr")?, lines.clone()));
        match wait_ready(&ready) {
            Ok((ready_line, address)) => Ok(Self { child, address, ready_line, lines }),
            Err(error) => {
                // It may have ended by itself; either way what it printed is the reason.
                drop(child.kill());
                let status = child.wait()?;
                let output = text(&lines).clone();
                bail!("the host did not become ready ({error}; {status}):\n{output}")
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it printed when it was ready.
    #[must_use]
    pub fn ready_line(&self) -> &str {
        &self.ready_line
    }

    /// A connection that trusts whoever answers on loopback.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn framed(&self) -> Result<Framed> {
        Ok(self.connector().framed()?)
    }

    /// What makes such connections.
    #[must_use]
    pub fn connector(&self) -> Connector {
        let connector = Connector::new(self.address.to_string()).server_name("localhost");
        danger::accept_any_certificate(connector)
    }

    /// What it measures, by its own words.
    ///
    /// # Errors
    /// If it does not say.
    pub fn mrenclave(&self) -> Result<[u8; 32]> {
        let (_, rest) = self.ready_line.split_once("MRENCLAVE ").context("no MRENCLAVE in the ready line")?;
        let digits = rest.split([',', ' ']).next().unwrap_or_default();
        let mut out = [0; 32];
        ensure!(digits.len() == 64, "`{digits}` is no MRENCLAVE");
        for (byte, at) in out.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(at..at + 2).unwrap_or_default(), 16)?;
        }
        Ok(out)
    }

    /// The policy that its enclave passes: its measurement, under the development root of this machine.
    ///
    /// # Errors
    /// If there is no development PKI.
    pub fn verification_policy(&self) -> Result<VerificationPolicy> {
        let roots = Roots::Development(vec![development_root()?]);
        Ok(VerificationPolicy::for_measurement(roots, self.mrenclave()?))
    }

    /// That policy as the file that the image build writes: what is not in it has its default.
    ///
    /// # Errors
    /// As [`HostProcess::verification_policy`].
    pub fn verification_policy_file(&self) -> Result<String> {
        let root = image_tool::Root::Development(development_root()?);
        Ok(image_tool::verification_policy(&self.mrenclave()?, root))
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        text(&self.lines).clone()
    }

    /// SIGKILL, at once.
    ///
    /// # Errors
    /// If the process cannot be signalled.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for a graceful end.
    ///
    /// # Errors
    /// If it does not end within [`PATIENCE`].
    pub fn stop(mut self) -> Result<ExitStatus> {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        if !kill.success() {
            bail!("cannot send SIGTERM");
        }
        self.wait()
    }

    /// As [`stop`](Self::stop), and gives all it printed.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub fn stop_with_output(self) -> Result<String> {
        let lines = self.lines.clone();
        let readers = Arc::downgrade(&lines);
        self.stop()?;
        // The threads that read its output end with it; each holds the text until then.
        let until = Instant::now() + PATIENCE;
        while readers.strong_count() > 1 {
            if Instant::now() > until {
                bail!("the host's output does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = text(&lines).clone();
        Ok(output)
    }

    /// Waits until it ends by itself or by a signal from outside.
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub fn wait_forever(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Waits for an end that something else brings about.
    ///
    /// # Errors
    /// If it does not end within [`PATIENCE`].
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("the host did not end; it printed:\n{}", self.output());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn text(lines: &Mutex<String>) -> MutexGuard<'_, String> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect(stream: impl Read + Send + 'static, lines: Arc<Mutex<String>>) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut all = text(&lines);
            all.push_str(&line);
            all.push('\n');
            drop(all);
            // Nobody listens once the host is ready.
            drop(sender.send(line));
        }
    });
    receiver
}

/// The line `ready: listening on ADDRESS, …`.
fn wait_ready(lines: &Receiver<String>) -> Result<(String, SocketAddr)> {
    let until = Instant::now() + PATIENCE;
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(rest) = line.strip_prefix("ready: listening on ") {
                    let address = rest.split([',', ' ']).next().unwrap_or_default();
                    let address = address.parse().with_context(|| format!("no address in `{line}`"))?;
                    return Ok((line, address));
                }
            }
            Err(RecvTimeoutError::Timeout) => bail!("no ready line in {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("it ended"),
        }
    }
}

/// SHA-256 of the root under which this machine makes development quotes.
///
/// # Errors
/// As [`development_pki`].
pub fn development_root() -> Result<[u8; 32]> {
    Ok(development_pki()?.root_fingerprint())
}

/// The PKI under which this machine makes development quotes.
///
/// # Errors
/// If there is no folder for it, or its files are damaged.
pub fn development_pki() -> Result<DevelopmentPki> {
    let dir = DevelopmentPki::default_dir(|name| std::env::var_os(name));
    let dir = dir.context("no folder for the development PKI: set HOME or ENCLAVE_OS_DEV_PKI")?;
    Ok(DevelopmentPki::open_or_create(&dir, OffsetDateTime::now_utc())?)
}

/// The path of one of the project's programs: in `ENCLAVE_OS_BIN_DIR`, or beside the running test.
///
/// # Errors
/// If it was not built, with the command that builds it.
pub fn program(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("ENCLAVE_OS_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => profile_dir()?,
    };
    let path = folder.join(name);
    if !path.is_file() {
        let package = if name == "enclave-os-host" { "host-launcher" } else { "enclave-os-cli" };
        bail!("{name} is not built: `cargo build -p {package}` builds it");
    }
    Ok(path)
}

/// The workspace's root folder.
#[must_use]
pub fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or_else(|| manifest.to_path_buf(), Path::to_path_buf)
}

/// Builds a guest crate with plain cargo and returns its component.
///
/// # Errors
/// If it does not build: with cargo's words.
pub fn guest(folder: &str, file: &str) -> Result<PathBuf> {
    let target = profile_dir()?.with_file_name("guests");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--quiet", "--target", "wasm32-wasip2"])
        .current_dir(workspace().join(folder))
        .env("CARGO_TARGET_DIR", &target);
    // The flags of an outer build (a model, a sanitizer) are not for guests.
    for variable in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"]
    {
        cargo.env_remove(variable);
    }
    let output = cargo.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the guest {folder} does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let component = target.join("wasm32-wasip2/release").join(file);
    if !component.is_file() {
        bail!("the guest {folder} gave no {file}");
    }
    Ok(component)
}

/// `target/debug` of the running program, whether it is a test (in `deps`) or a binary.
fn profile_dir() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("no folder")?;
    Ok(if folder.ends_with("deps") { folder.parent().context("no folder")? } else { folder }.to_path_buf())
}
