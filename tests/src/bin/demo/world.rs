//! What the demo needs around the enclave: programs, the compiled example, a web site, a policy.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use enclave_os_client::{Connector, Framed, danger};
use scenarios::host::{HostOptions, HostProcess, guest, program};
use scenarios::site::{Authority, Site};
use tempfile::TempDir;

use crate::report::{chapter, holds, note};

/// The application's name in the demo.
pub(crate) const APP: &str = "test-app";

const NEWS: &str = "www.lemonde.fr";

/// Everything outside the enclave.
pub(crate) struct World {
    folder: TempDir,
    site: Site,
    authority: Authority,
    /// The compiled example.
    pub(crate) artifact: Vec<u8>,
}

impl World {
    /// Builds and starts what is needed.
    pub(crate) fn prepare() -> Result<Self> {
        chapter("Prepare");
        let folder = tempfile::Builder::new().prefix("enclave-os-demo-").tempdir()?;
        let component = guest("examples/wasm-example", "wasm_example.wasm")?;
        holds("examples/wasm-example builds with `cargo build --target wasm32-wasip2`");
        let compiled = folder.path().join("wasm_example.cwasm");
        compile(&component, &compiled)?;
        let artifact = fs::read(&compiled)?;
        holds(&format!("compiled ahead of time to {} kB of native code", artifact.len() / 1000));
        let authority = Authority::new("throw-away authority of the demo")?;
        fs::write(folder.path().join("authority.pem"), authority.pem())?;
        let site = Site::serve(&authority, NEWS, pages())?;
        note(&format!("https://{NEWS}/ is played by a local site at {}", site.address()));
        Ok(Self { folder, site, authority, artifact })
    }

    /// The data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts the host on the data directory.
    pub(crate) fn host(&self) -> Result<HostProcess> {
        HostProcess::start(&self.options(0))
    }

    /// How many requests reached the site.
    pub(crate) fn site_requests(&self) -> u64 {
        self.site.requests()
    }

    fn options(&self, port: u16) -> HostOptions {
        let mut options = HostOptions::development(self.data_dir());
        options.port = port;
        options.policy = format!("development = true\negress_ca = '''\n{}'''\n", self.authority.pem());
        options.arguments.extend(["--resolve".to_owned(), format!("{NEWS}:443:{}", self.site.address())]);
        options
    }

    /// Leaves a server on 8443 until the user ends it.
    pub(crate) fn keep(&self) -> Result<()> {
        let mut host = HostProcess::start(&self.options(8443))?;
        let mut client = connect(&host)?;
        client.load(crate::story::load(&self.artifact))?;
        let artifact = self.folder.path().join("wasm_example.cwasm");
        let cli = program("enclave-os")?;
        chapter(&format!("Running on {} with {APP} loaded. Type in another terminal:", host.address()));
        let (cli, artifact) = (shown(&cli), shown(&artifact));
        anstream::println!("  {cli} list");
        anstream::println!("  {cli} call {APP} 'kv-store(\"greeting\", \"hi\")'");
        anstream::println!("  {cli} call {APP} 'kv-read(\"greeting\")'");
        anstream::println!("  python3 examples/wasm-example/tests/test_wasm_functions.py {artifact}");
        anstream::println!("Ctrl-C ends it; its data goes with it.");
        let status = host.wait_forever()?;
        note(&format!("the host ended: {status}"));
        Ok(())
    }
}

fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

/// A connection that trusts whoever answers on loopback: certificates carry no quote yet.
pub(crate) fn connect(host: &HostProcess) -> Result<Framed> {
    let connector = Connector::new(host.address().to_string()).server_name("localhost");
    Ok(danger::accept_any_certificate(connector).framed()?)
}

fn compile(component: &Path, artifact: &Path) -> Result<()> {
    let output = Command::new(program("enclave-os")?)
        .arg("compile")
        .arg(component)
        .arg("--output")
        .arg(artifact)
        .output()
        .context("cannot start enclave-os")?;
    if !output.status.success() {
        bail!("enclave-os compile failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The site: a feed with more items than the example shows.
fn pages() -> HashMap<&'static str, (&'static str, String)> {
    let items: String = (1..=12)
        .map(|n| {
            format!("<item><title><![CDATA[Headline number {n} &amp; more]]></title><link>x</link></item>")
        })
        .collect();
    let feed = format!("<?xml version=\"1.0\"?><rss><channel><title>The news</title>{items}</channel></rss>");
    HashMap::from([("/rss/une.xml", ("application/rss+xml", feed))])
}
