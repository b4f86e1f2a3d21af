//! `enclave-os dev-pki`: the PKI under which emulated and native enclaves are quoted.
//!
//! What can be read of it lies beside its keys, and is read here. Only the host program has the code that makes and
//! signs, so that program is started where something must be made.

mod folder;
mod host;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::hex;
use crate::args::DevPki;
use crate::failure::Failure;
use crate::output;
use folder::Pki;

pub(crate) fn run(command: &DevPki, json: bool) -> Result<(), Failure> {
    match command {
        DevPki::Export { out, dir } => export(&folder(dir.as_deref())?, out, json),
        DevPki::Show { dir } => show(&Pki::read(&folder(dir.as_deref())?)?, json),
        DevPki::Renew { dir } => {
            let dir = folder(dir.as_deref())?;
            host::renew(&dir)?;
            show(&Pki::read(&dir)?, json)
        }
    }
}

/// Where the host keeps the PKI, by the same rule.
fn folder(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = named.map(Path::to_owned).or_else(|| path("ENCLAVE_OS_DEV_PKI"));
    let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
    let data = || absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    named.or_else(|| Some(data()?.join("enclave-os/dev-pki"))).ok_or_else(|| {
        Failure::usage("the environment has no home for the development PKI")
            .hint("--dir names its folder, and so does ENCLAVE_OS_DEV_PKI")
    })
}

fn export(dir: &Path, out: &Path, json: bool) -> Result<(), Failure> {
    // A host makes the PKI when it first needs it; whoever exports it needs it too.
    let pki = match Pki::read(dir) {
        Ok(pki) if !pki.has_run_out() => pki,
        Err(failure) if failure.code != folder::MISSING => return Err(failure),
        _ => {
            host::renew(dir)?;
            Pki::read(dir)?
        }
    };
    fs::create_dir_all(out).map_err(|error| Failure::file(out, "make", &error))?;
    let policy = policy(&pki);
    let files = [
        ("root.pem", &pki.root_pem),
        ("pck-chain.pem", &pki.pck_chain_pem),
        ("collateral.json", &pki.collateral),
        ("policy.toml", &policy),
    ];
    for (name, text) in files {
        let path = out.join(name);
        fs::write(&path, text).map_err(|error| Failure::file(&path, "write", &error))?;
    }
    let names = files.map(|(name, _)| name);
    if json {
        output::json(&json!({
            "status": "exported", "folder": out, "files": names, "root": hex(&pki.root),
        }));
    } else {
        output::done("exported", &format!("{} to {}", names.join(", "), out.display()));
        output::field("root", &hex(&pki.root));
    }
    Ok(())
}

fn show(pki: &Pki, json: bool) -> Result<(), Failure> {
    if json {
        output::json(&json!({
            "status": "ok",
            "folder": pki.dir,
            "root": hex(&pki.root),
            "issued": pki.issued,
            "next_update": pki.next_update,
            "fmspc": pki.fmspc,
        }));
        return Ok(());
    }
    output::done("development PKI", &pki.dir.display().to_string());
    output::field("root", &hex(&pki.root));
    output::field("collateral", &format!("{} to {}", pki.issued, pki.next_update));
    output::field("platform", &format!("FMSPC {}", pki.fmspc));
    output::field(
        "protects",
        "nothing: whoever reads this folder can make quotes of any enclave under this root",
    );
    Ok(())
}

/// What a policy needs so that quotes under this root are accepted, and nothing more.
fn policy(pki: &Pki) -> String {
    format!(
        "# For development only: quotes under this root prove nothing.\n\
         # Add an [enclave] section; without one a policy accepts no enclave.\n\
         format = 1\n\n[roots]\ndevelopment = [\"{}\"]\n",
        hex(&pki.root)
    )
}
