//! `enclave-os ca`: the enclave's own certificate authority and the operator above it.

use std::fs;

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
