//! What the demo needs around the enclave: programs, the compiled example, a web site, a policy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use attestation::policy::VerificationPolicy;
use scenarios::example::{self, NEWS};
use scenarios::host::{HostProcess, guest, program};
use scenarios::image;
use scenarios::platform::Platform;
use tempfile::TempDir;

use crate::report::{chapter, holds, note};

/// The application's name in the demo.
pub(crate) const APP: &str = "test-app";

/// The file with the policy that clients verify by.
const POLICY: &str = "enclave-os.policy.toml";

/// Everything outside the enclave.
pub(crate) struct World {
    folder: TempDir,
    outside: example::World,
    /// The compiled example.
    pub(crate) artifact: Vec<u8>,
}

impl World {
    /// Builds and starts what is needed.
    pub(crate) fn prepare(platform: Platform) -> Result<Self> {
        chapter("Prepare");
        let folder = tempfile::Builder::new().prefix("enclave-os-demo-").tempdir()?;
        let component = guest("examples/wasm-example", "wasm_example.wasm")?;
        holds("examples/wasm-example builds with `cargo build --target wasm32-wasip2`");
        let artifact = example::compile(platform, &component)?;
        holds(&format!("compiled ahead of time to {} kB of native code", artifact.len() / 1000));
        let outside = example::World::new(platform, folder.path().join("data"))?;
        note(&format!("https://{NEWS}/ is played by a local site at {}", outside.site().address()));
        Ok(Self { folder, outside, artifact })
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        self.outside.data_dir()
    }

    /// Starts the host on the data directory.
    pub(crate) fn host(&self) -> Result<HostProcess> {
        self.outside.start()
    }

    /// The policy by which the demo knows its enclave: what the image build writes for this image. Without an
    /// image there is no measurement to know beforehand; then it is what the host says.
    pub(crate) fn verification_policy(&self, host: &HostProcess) -> Result<VerificationPolicy> {
        let options = self.outside.options();
        if options.platform == Platform::Native {
            return host.verification_policy();
        }
        let text = image::verification_policy(&options.image()?)?;
        fs::write(self.folder.path().join(POLICY), &text)?;
        Ok(VerificationPolicy::from_toml(&text)?)
    }

    /// How many requests reached the site.
    pub(crate) fn site_requests(&self) -> u64 {
        self.outside.site().requests()
    }

    /// Leaves a server on 8443 until the user ends it.
    pub(crate) fn keep(&self) -> Result<()> {
        let mut options = self.outside.options();
        options.port = 8443;
        let mut host = HostProcess::start(&options)?;
        host.framed()?.load(crate::story::load(&self.artifact))?;
        let artifact = self.folder.path().join("wasm_example.cwasm");
        fs::write(&artifact, &self.artifact)?;
        chapter(&format!("Running on {} with {APP} loaded. Type in another terminal:", host.address()));
        let (cli, artifact) = (shown(&program("enclave-os")?), shown(&artifact));
        let text = self.verification_policy(&host)?.to_toml()?;
        let policy = self.folder.path().join(POLICY);
        fs::write(&policy, text)?;
        let policy = shown(&policy);
        anstream::println!("  {cli} verify localhost:8443 --policy {policy}");
        anstream::println!("  {cli} --policy {policy} list");
        anstream::println!("  {cli} --policy {policy} call {APP} 'kv-store(\"greeting\", \"hi\")'");
        anstream::println!("  {cli} --policy {policy} call {APP} 'kv-read(\"greeting\")'");
        anstream::println!("  python3 examples/wasm-example/tests/test_wasm_functions.py {artifact}");
        anstream::println!("Ctrl-C ends it; its data goes with it.");
        let status = host.wait_forever()?;
        note(&format!("the host ended: {status}"));
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    let here: PathBuf = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
