//! `enclave-os inspect`: what a file says, without a word on whether it is true.

use std::fs;
use std::path::Path;

use attestation::evidence::EvidenceDocument;
use attestation::leaf_certificate::{LeafCertificate, LeafCertificateError};
use attestation::quote::{Body, Quote};
use enclave_os_client::pem;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::hex;
use crate::args::Inspect;
use crate::failure::Failure;
use crate::output;

/// Larger files are none of the three kinds.
const MAX_FILE: u64 = 16 << 20;

pub(crate) fn run(args: &Inspect, as_json: bool) -> Result<(), Failure> {
    let path = &args.file;
    let file = |error: std::io::Error| Failure::file(path, "read", &error);
    if fs::metadata(path).map_err(file)?.len() > MAX_FILE {
        return Err(Failure::usage(format!("{} is larger than any evidence", path.display())));
    }
    let bytes = fs::read(path).map_err(file)?;
    let said = read(path, &bytes)?;
    if as_json {
        output::json(&said);
    } else {
        output::note("nothing of this is verified: `enclave-os verify` judges");
        show(&said);
    }
    Ok(())
}

fn read(path: &Path, bytes: &[u8]) -> Result<Value, Failure> {
    let neither = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("{} cannot be read: {why}", path.display()))
            .hint("certificates (PEM or DER), a raw quote and an evidence document (JSON) can be inspected")
    };
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    match (first, bytes.first()) {
        (Some(b'{'), _) => {
            let text = std::str::from_utf8(bytes).map_err(|e| neither(&e))?;
            evidence(&EvidenceDocument::from_json(text).map_err(|e| neither(&e))?)
        }
        (Some(b'-'), _) => {
            let chain = pem::certificates(bytes).map_err(|e| neither(&e))?;
            let chain: Result<Vec<_>, _> = chain.iter().map(|der| certificate(der)).collect();
            Ok(json!({ "kind": "certificates", "certificates": chain? }))
        }
        (_, Some(0x30)) => Ok(json!({ "kind": "certificates", "certificates": [certificate(bytes)?] })),
        _ => Ok(json!({ "kind": "quote", "quote": quote(bytes).map_err(|e| neither(&e))? })),
    }
}

fn evidence(document: &EvidenceDocument) -> Result<Value, Failure> {
    let chain: Result<Vec<_>, _> = document.certificate_chain.iter().map(|der| certificate(der)).collect();
    let leaves: Vec<_> = document.manifest.leaves().iter().map(|leaf| leaf.name().to_owned()).collect();
    let own = document.evidence_quote.as_deref().map(quote).transpose();
    let own = own.map_err(|e| Failure::usage(format!("the evidence quote: {e}")))?;
    Ok(json!({
        "kind": "evidence",
        "issued": attestation::instant::format(document.issued),
        "certificates": chain?,
        "evidence_quote": own,
        "collateral": document.collateral.is_some(),
        "manifest": { "root": hex(&document.manifest.root()), "leaves": leaves },
        "generations": document.generations.len(),
    }))
}

fn certificate(der: &[u8]) -> Result<Value, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("a certificate cannot be read: {why}"));
    let (_, x509) = X509Certificate::from_der(der).map_err(|e| wrong(&e))?;
    let mut said = json!({
        "subject": x509.subject().to_string(),
        "issuer": x509.issuer().to_string(),
        "not_before": x509.validity().not_before.to_string(),
        "not_after": x509.validity().not_after.to_string(),
        "authority": x509.is_ca(),
    });
    let leaf = match LeafCertificate::from_der(der) {
        Ok(leaf) => leaf,
        // Not one of ours, such as an authority's.
        Err(LeafCertificateError::Missing(_)) => return Ok(said),
        Err(error) => return Err(wrong(&error)),
    };
    let quote = leaf.quote.as_deref().map(quote).transpose();
    let quote = quote.map_err(|e| wrong(&format!("its quote: {e}")))?;
    let apps: Vec<_> = leaf
        .apps
        .iter()
        .map(|app| json!({ "name": app.name, "route_prefix": app.route_prefix, "code_hash": hex(&app.code_hash) }))
        .collect();
    if let Some(said) = said.as_object_mut() {
        said.insert("configuration_root".to_owned(), hex(&leaf.configuration_root).into());
        said.insert("workloads_hash".to_owned(), hex(&leaf.workloads_hash).into());
        said.insert("apps".to_owned(), apps.into());
        if let Some(app) = &leaf.app {
            said.insert("app_configuration_root".to_owned(), hex(&app.configuration_root).into());
            said.insert("key_source".to_owned(), app.key_source.clone().into());
        }
        said.insert("quote".to_owned(), quote.unwrap_or_default());
    }
    Ok(said)
}

fn quote(bytes: &[u8]) -> Result<Value, attestation::quote::ParseError> {
    let quote = Quote::parse(bytes)?;
    let body = match &quote.body {
        Body::Sgx(report) => json!({
            "tee": "SGX",
            "mrenclave": hex(&report.mrenclave),
            "mrsigner": hex(&report.mrsigner),
            "isv_prod_id": report.isv_prod_id,
            "isv_svn": report.isv_svn,
            "debug": report.is_debug(),
            "cpu_svn": hex(&report.cpu_svn),
        }),
        Body::Td(report) => json!({ "tee": "TDX", "mr_td": hex(report.mr_td) }),
    };
    let chain = pem::certificates(quote.signature.pck_chain_pem).unwrap_or_default();
    let subject = |der: &Vec<u8>| X509Certificate::from_der(der).ok().map(|(_, x)| x.subject().to_string());
    Ok(json!({
        "version": quote.header.version,
        "bytes": bytes.len(),
        "body": body,
        "report_data": hex(quote.report_data()),
        "signed_under": chain.iter().filter_map(subject).collect::<Vec<_>>(),
    }))
}

/// Names and values, indented by depth.
fn show(said: &Value) {
    fn walk(name: &str, value: &Value, depth: usize) {
        let name = format!("{}{}", "  ".repeat(depth), name.replace('_', " "));
        match value {
            Value::Null => output::field(&name, "none"),
            Value::String(text) => output::field(&name, text),
            Value::Array(items) => {
                for item in items {
                    walk(name.trim(), item, depth);
                }
            }
            Value::Object(fields) => {
                output::line(&format!("  {name}"));
                fields.iter().for_each(|(name, value)| walk(name, value, depth + 1));
            }
            other => output::field(&name, &other.to_string()),
        }
    }
    if let Some(fields) = said.as_object() {
        fields.iter().for_each(|(name, value)| walk(name, value, 0));
    }
}
