//! An operator with a CA of its own, made with openssl: the program that operators have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;

use crate::languages::run;

/// A throw-away CA.
pub struct Operator {
    folder: TempDir,
}

impl Operator {
    /// Makes the CA.
    ///
    /// # Errors
    /// If there is no openssl, or it refuses: in its words.
    pub fn new() -> Result<Self> {
        let operator = Self { folder: tempfile::tempdir()? };
        operator.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "root.key",
            "-out",
            "root.pem",
            "-days",
            "3650",
            "-subj",
            "/CN=Operator",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ])?;
        Ok(operator)
    }

    /// Makes the CA of an enclave an intermediate: its certificate for this request (PEM), and the root behind it.
    ///
    /// # Errors
    /// As [`Operator::new`].
    pub fn sign(&self, csr_pem: &str) -> Result<String> {
        fs::write(self.path("ca.csr"), csr_pem)?;
        let extensions = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n\
                          subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
        fs::write(self.path("ca.ext"), extensions)?;
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            "ca.csr",
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-days",
            "365",
            "-extfile",
            "ca.ext",
            "-out",
            "ca.pem",
        ])?;
        Ok(fs::read_to_string(self.path("ca.pem"))? + &fs::read_to_string(self.root())?)
    }

    /// The file with the root certificate (PEM).
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.path("root.pem")
    }

    /// `openssl verify -x509_strict` of a chain as it was served, for this name.
    ///
    /// # Errors
    /// If the chain does not lead to the root, or is for another name.
    pub fn verify_strictly<'a>(&self, chain: impl Iterator<Item = &'a [u8]>, name: &str) -> Result<()> {
        let (leaf, above): (Vec<_>, Vec<_>) = chain.enumerate().partition(|(index, _)| *index == 0);
        for (file, certificates) in [("leaf.pem", leaf), ("between.pem", above)] {
            let text: String = certificates.iter().map(|(_, der)| pem(der)).collect();
            fs::write(self.path(file), text)?;
        }
        self.openssl(&[
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-verify_hostname",
            name,
            "-CAfile",
            "root.pem",
            "-untrusted",
            "between.pem",
            "leaf.pem",
        ])
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::join(self.folder.path(), name)
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        run(Command::new("openssl").current_dir(self.folder.path()).args(arguments)).map(|_| ())
    }
}

/// A certificate as text.
#[must_use]
pub fn pem(der: &[u8]) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let text = BASE64_STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
