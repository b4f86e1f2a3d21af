//! What lies in the folder of a development PKI, but for its keys.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use attestation::collateral::Collateral;
use attestation::instant;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::failure::Failure;

/// The word for a PKI that is not there.
pub(super) const MISSING: &str = "no-dev-pki";

/// A development PKI, as its folder has it.
pub(super) struct Pki {
    pub(super) dir: PathBuf,
    pub(super) root_pem: String,
    pub(super) pck_chain_pem: String,
    pub(super) collateral: String,
    /// SHA-256 of the root certificate (DER).
    pub(super) root: [u8; 32],
    pub(super) issued: String,
    pub(super) next_update: String,
    pub(super) fmspc: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TcbInfo {
    issue_date: String,
    next_update: String,
    fmspc: String,
}

impl Pki {
    pub(super) fn read(dir: &Path) -> Result<Self, Failure> {
        only_ours(dir)?;
        let root_pem = file(dir, "root.pem")?;
        let pck_chain_pem = file(dir, "pck-chain.pem")?;
        let collateral = file(dir, "collateral.json")?;
        let damaged = |name: &str| {
            let text = format!("{} is not what a host writes", dir.join(name).display());
            Failure::local("damaged-dev-pki", text).hint("`enclave-os dev-pki renew` writes it again")
        };
        let root = fingerprint(&root_pem).ok_or_else(|| damaged("root.pem"))?;
        let parts = Collateral::from_json(&collateral).map_err(|_| damaged("collateral.json"))?;
        let TcbInfo { issue_date, next_update, fmspc } =
            serde_json::from_str(&parts.tcb_info).map_err(|_| damaged("collateral.json"))?;
        let (dir, issued) = (dir.to_owned(), issue_date);
        Ok(Self { dir, root_pem, pck_chain_pem, collateral, root, issued, next_update, fmspc })
    }

    pub(super) fn has_run_out(&self) -> bool {
        instant::parse(&self.next_update).is_none_or(|end| end <= OffsetDateTime::now_utc())
    }
}

/// Nobody else can have put anything into it, by the rule that the host has. What is not there is told later.
fn only_ours(dir: &Path) -> Result<(), Failure> {
    let (Ok(folder), Ok(process)) = (fs::metadata(dir), fs::metadata("/proc/self")) else { return Ok(()) };
    let wrong = if folder.uid() != process.uid() && folder.uid() != 0 {
        format!("belongs to user {}", folder.uid())
    } else if folder.mode() & 0o022 != 0 {
        format!("has mode {:o}", folder.mode() & 0o777)
    } else {
        return Ok(());
    };
    let text = format!("{} {wrong}: others can exchange the development PKI in it", dir.display());
    Err(Failure::local("exposed-dev-pki", text)
        .hint("`chmod 700` it as its owner, or name another with --dir"))
}

fn file(dir: &Path, name: &str) -> Result<String, Failure> {
    let path = dir.join(name);
    fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let text = format!("there is no development PKI in {} ({name} is missing)", dir.display());
            Failure::local(MISSING, text).hint(
                "enclave-os-host makes one when it starts on platform native or emulated, and so does \
                 `enclave-os dev-pki renew`; --dir names another folder",
            )
        }
        _ => Failure::file(&path, "read", &error),
    })
}

/// SHA-256 of the one certificate in a PEM file.
fn fingerprint(pem: &str) -> Option<[u8; 32]> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let text: String = body.split_whitespace().collect();
    let der = BASE64.decode(text).ok().filter(|der| !der.is_empty())?;
    Some(Sha256::digest(der).into())
}
