//! The servers that are compared.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use enclave_os_client::VerifiedConnector;
use enclave_os_client::attestation::policy::VerificationPolicy;
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;
use scenarios::site::{Authority, Site};

/// The argument that makes this program the plain server.
pub(crate) const PLAIN: &str = "plain-server";

/// A plain rustls server with a P-256 certificate, in a process of its own.
pub(crate) struct Plain {
    child: Child,
    address: String,
}

impl Plain {
    pub(crate) fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(PLAIN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // It ends when its input does; this only makes sure.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// Serves until its input ends.
pub(crate) fn be_plain() {
    let authority = Authority::new("measured").unwrap();
    let site = Site::serve(&authority, "localhost", HashMap::new()).unwrap();
    println!("{}", site.address());
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    // Its accepting thread ends with the process.
    std::mem::forget(site);
}

/// An enclave, with the policy that it passes.
pub(crate) struct Enclave {
    pub(crate) platform: Platform,
    pub(crate) host: HostProcess,
    policy: VerificationPolicy,
    _folder: tempfile::TempDir,
}

impl Enclave {
    pub(crate) fn start(platform: Platform) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host =
            HostProcess::start(&HostOptions::development(platform, folder.path().join("data"))).unwrap();
        let policy = host.verification_policy().unwrap();
        Self { platform, host, policy, _folder: folder }
    }

    /// Verified connections to it.
    pub(crate) fn connector(&self) -> VerifiedConnector {
        VerifiedConnector::new(self.host.address().to_string(), self.policy.clone())
    }

    pub(crate) fn policy(&self) -> &VerificationPolicy {
        &self.policy
    }
}

/// What a process has used of the processor, in user and system mode (proc(5): utime and stime).
pub(crate) fn cpu_time(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The command's name is in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ is 100 on every Linux that runs this.
    Duration::from_millis(ticks * 10)
}
