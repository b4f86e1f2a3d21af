//! `examples/wasm-example`, compiled, and the outside world it expects: a news site under its real name.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::{HostOptions, HostProcess, guest, program};
use crate::platform::Platform;
use crate::site::{Authority, Site};

/// The site the example reads its headlines from.
pub const NEWS: &str = "www.lemonde.fr";

/// The example as an artifact for a platform.
///
/// # Errors
/// If it does not build or compile.
pub fn artifact(platform: Platform) -> Result<Vec<u8>> {
    compile(platform, &guest("examples/wasm-example", "wasm_example.wasm")?)
}

/// Compiles a component for a platform, with `enclave-os compile`.
///
/// # Errors
/// If it does not compile: with the command's words.
pub fn compile(platform: Platform, component: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let artifact = folder.path().join("app.cwasm");
    let output = Command::new(program("enclave-os")?)
        .arg("compile")
        .arg(component)
        .arg("--output")
        .arg(&artifact)
        .args(platform.target().iter().flat_map(|target| ["--target", target]))
        .output()
        .context("cannot start enclave-os")?;
    if !output.status.success() {
        bail!("enclave-os compile failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(fs::read(&artifact)?)
}

/// Everything around the enclave: the site, the authority that vouches for it, a data directory.
pub struct World {
    site: Site,
    authority: Authority,
    data_dir: PathBuf,
    platform: Platform,
}

impl World {
    /// Starts the site.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn new(platform: Platform, data_dir: impl Into<PathBuf>) -> Result<Self> {
        let authority = Authority::new("throw-away authority of a test")?;
        let site = Site::serve(&authority, NEWS, pages())?;
        Ok(Self { site, authority, data_dir: data_dir.into(), platform })
    }

    /// The site.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Where the host keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A development host that is routed to the site and trusts its authority.
    #[must_use]
    pub fn options(&self) -> HostOptions {
        let mut options = HostOptions::development(self.platform, &self.data_dir);
        options.policy = format!("development = true\negress_ca = '''\n{}'''\n", self.authority.pem());
        let route = format!("{NEWS}:443:{}", self.site.address());
        options.arguments.extend(["--resolve".to_owned(), route]);
        options
    }

    /// Starts such a host.
    ///
    /// # Errors
    /// As [`HostProcess::start`].
    pub fn start(&self) -> Result<HostProcess> {
        HostProcess::start(&self.options())
    }
}

/// A feed with more items than the example shows.
fn pages() -> HashMap<&'static str, (&'static str, String)> {
    let items: String = (1..=12)
        .map(|n| {
            format!("<item><title><![CDATA[Headline number {n} &amp; more]]></title><link>x</link></item>")
        })
        .collect();
    let feed = format!("<?xml version=\"1.0\"?><rss><channel><title>The news</title>{items}</channel></rss>");
    HashMap::from([("/rss/une.xml", ("application/rss+xml", feed))])
}
