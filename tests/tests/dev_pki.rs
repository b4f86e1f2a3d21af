//! The development PKI of a running host, exported and renewed by the command line tool.
//!
//! Required: what is exported is enough for a verifier that never saw the machine; the PKI of another machine verifies
//! nothing of this one, and the verdict names the root.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use attestation::collateral::Collateral;
use attestation::policy::VerificationPolicy;
use attestation::verify::CheckId;
use enclave_os_client::{ClientError, VerifiedConnector};
use scenarios::host::{HostOptions, HostProcess, program};
use scenarios::platform::Platform;
use serde_json::Value;

scenarios::on_each_platform!(
    what_is_exported_verifies_this_machine_and_no_other,
    a_renewal_keeps_the_root_and_verifies_quotes_of_before,
);

/// A host with a PKI of its own.
struct Machine {
    folder: tempfile::TempDir,
    host: HostProcess,
}

/// What `dev-pki export` wrote.
struct Exported {
    folder: PathBuf,
    root: String,
}

impl Machine {
    fn start(platform: Platform) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut options = HostOptions::development(platform, folder.path().join("data"));
        options.arguments.extend(["--dev-pki".to_owned(), text(&folder.path().join("pki"))]);
        Ok(Machine { host: HostProcess::start(&options)?, folder })
    }

    fn pki(&self) -> PathBuf {
        self.folder.path().join("pki")
    }

    fn address(&self) -> String {
        self.host.address().to_string()
    }

    /// The policy snippet of an export, completed by hand as it says: with this machine's enclave.
    fn completed(&self, exported: &Exported) -> PathBuf {
        let measured: String =
            self.host.mrenclave().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        let snippet = fs::read_to_string(exported.folder.join("policy.toml")).unwrap();
        let path = exported.folder.join("completed.toml");
        fs::write(&path, format!("{snippet}\n[enclave]\nmrenclave = [\"{measured}\"]\n")).unwrap();
        path
    }

    /// The check that fails with this policy and this collateral, and no other.
    fn fails(&self, policy: &Path, collateral: &Exported) -> Option<CheckId> {
        let policy = VerificationPolicy::from_toml(&fs::read_to_string(policy).unwrap()).unwrap();
        let connector = VerifiedConnector::new(self.address(), policy).collateral(collateral.collateral());
        match connector.framed() {
            Ok(mut connection) => {
                connection.ping().unwrap();
                None
            }
            Err(ClientError::Verification(verdict)) => Some(verdict.failed().next().unwrap().check),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Exported {
    fn of(pki: &Path, out: PathBuf) -> Self {
        let (code, report, errors) =
            run(&["dev-pki", "export", "--dir", &text(pki), "--out", &text(&out), "--json"]);
        assert_eq!(code, 0, "{report}{errors}");
        let report: Value = serde_json::from_str(&report).unwrap();
        Exported { folder: out, root: report["root"].as_str().unwrap().to_owned() }
    }

    fn collateral(&self) -> Collateral {
        Collateral::from_json(&fs::read_to_string(self.folder.join("collateral.json")).unwrap()).unwrap()
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program("enclave-os").unwrap());
    command.args(arguments);
    for variable in ["ENCLAVE_OS_CA", "ENCLAVE_OS_SERVER", "ENCLAVE_OS_VERIFY_POLICY"] {
        command.env_remove(variable);
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn what_is_exported_verifies_this_machine_and_no_other(platform: Platform) -> Result<()> {
    let machine = Machine::start(platform)?;
    let own = Exported::of(&machine.pki(), machine.folder.path().join("own"));
    // Alone it accepts no enclave, as it says.
    let (code, _, errors) =
        run(&["verify", &machine.address(), "--policy", &text(&own.folder.join("policy.toml"))]);
    assert!(code == 2 && errors.contains("missing field `enclave`"), "{code}: {errors}");
    let policy = machine.completed(&own);
    let (code, report, errors) = run(&["verify", &machine.address(), "--policy", &text(&policy)]);
    assert!(code == 0 && report.contains(&own.root), "{report}{errors}");
    assert_eq!(machine.fails(&policy, &own), None);

    // Another machine's, which is made by the export because nobody has needed it yet.
    let other = machine.folder.path().join("other-pki");
    let other = Exported::of(&other, machine.folder.path().join("other"));
    assert_ne!(other.root, own.root);
    let foreign = machine.completed(&other);
    let (code, report, _) = run(&["verify", &machine.address(), "--policy", &text(&foreign)]);
    assert!(code == 4 && report.contains("✘ root"), "{report}");
    assert!(report.contains(&own.root) && report.contains(&other.root), "both roots are named: {report}");
    assert_eq!(machine.fails(&foreign, &own), Some(CheckId::Root));
    assert_eq!(machine.fails(&policy, &other), Some(CheckId::Quote), "collateral under another root");
    Ok(())
}

fn a_renewal_keeps_the_root_and_verifies_quotes_of_before(platform: Platform) -> Result<()> {
    let machine = Machine::start(platform)?;
    let before = Exported::of(&machine.pki(), machine.folder.path().join("before"));
    let policy = machine.completed(&before);
    let (code, report, errors) = run(&["dev-pki", "renew", "--dir", &text(&machine.pki()), "--json"]);
    assert_eq!(code, 0, "{report}{errors}");
    assert_eq!(serde_json::from_str::<Value>(&report)?["root"], before.root);
    let after = Exported::of(&machine.pki(), machine.folder.path().join("after"));
    assert_eq!(after.root, before.root);
    for kept in ["root.pem", "pck-chain.pem", "policy.toml"] {
        assert_eq!(fs::read(after.folder.join(kept))?, fs::read(before.folder.join(kept))?, "{kept}");
    }
    assert_ne!(after.collateral(), before.collateral());
    // The host was not started again: its quotes are of before the renewal.
    assert_eq!(machine.fails(&policy, &after), None);
    Ok(())
}
