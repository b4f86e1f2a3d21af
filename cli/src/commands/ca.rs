//! `enclave-os ca`: the enclave's own certificate authority and the operator above it.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::args::Ca;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Ca) -> Result<(), Failure> {
    match args {
        Ca::Csr { output: file } => {
            session.warn();
            let csr = session.http()?.ca_csr()?;
            if let Some(path) = file {
                fs::write(path, &csr).map_err(|e| Failure::file(path, "write", &e))?;
            }
            match (session.json, file) {
                (true, _) => output::json(&json!({ "status": "csr", "csr": csr })),
                (false, Some(path)) => output::done("written", &path.display().to_string()),
                (false, None) => output::raw(&csr),
            }
            Ok(())
        }
        Ca::Install { chain } => {
            let pem = fs::read(chain).map_err(|e| Failure::file(chain, "read", &e))?;
            only_certificates(chain, &pem)?;
            session.warn();
            session.http()?.ca_install(&pem)?;
            if session.json {
                output::json(&json!({ "status": "installed" }));
            } else {
                output::done("installed", &chain.display().to_string());
            }
            Ok(())
        }
    }
}

/// The operator's key lies beside the chain, and must not be sent to anybody by mistake.
fn only_certificates(path: &Path, pem: &[u8]) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(pem);
    let mut blocks = text.lines().filter_map(|line| line.trim().strip_prefix("-----BEGIN "));
    let message = match blocks.find(|block| *block != "CERTIFICATE-----") {
        Some(block) => format!("holds more than certificates: {}", block.trim_end_matches('-')),
        None if text.contains("-----BEGIN CERTIFICATE-----") => return Ok(()),
        None => "holds no certificate (PEM)".to_owned(),
    };
    Err(Failure::usage(format!("{} {message}; nothing was sent", path.display()))
        .hint("the enclave's new CA certificate comes first, then the certificates above it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_not_sent() {
        let check = |pem: &str| only_certificates(Path::new("x"), pem.as_bytes());
        let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        assert!(check(certificate).is_ok());
        for key in ["PRIVATE KEY", "EC PRIVATE KEY", "EC PARAMETERS"] {
            let pem = format!("{certificate}-----BEGIN {key}-----\nAA==\n-----END {key}-----\n");
            assert!(check(&pem).unwrap_err().message.contains(key));
        }
        assert!(check("").is_err());
    }
}
