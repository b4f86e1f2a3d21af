//! `enclave-os proof`: is a configuration leaf part of what the certificate names?

use attestation::manifest::{Leaf, LeafValue};
use serde_json::{Value, json};

use super::hex;
use crate::args::Proof;
use crate::failure::Failure;
use crate::output;
use crate::session::Session;

pub(crate) fn run(session: &Session, args: &Proof) -> Result<(), Failure> {
    session.warn();
    let mut http = session.http()?;
    let claims = http.peer().claims()?;
    let mut root = claims.configuration_root;
    let leaves = match &args.leaf {
        Some(name) => {
            let proof = http.proof(name)?;
            if proof.leaf().name() != name {
                let message = format!("asked for `{name}`, the proof is for `{}`", proof.leaf().name());
                return Err(Failure::verification("proof", message));
            }
            http.peer().check_proof(&proof)?;
            vec![proof.leaf().clone()]
        }
        None => {
            let manifest = http.manifest()?;
            // At an application's hostname it is the application's own.
            if let Some(own) = claims.app.filter(|own| own.configuration_root == manifest.root()) {
                root = own.configuration_root;
            }
            if manifest.root() != root {
                return Err(Failure::verification(
                    "manifest",
                    "the manifest is not the configuration that the certificate names",
                )
                .hint("the configuration may just have changed: try again"));
            }
            manifest.leaves().to_vec()
        }
    };
    if session.json {
        let leaves: Vec<Value> = leaves
            .iter()
            .map(|leaf| {
                json!({ "name": leaf.name(), "value_hash": hex(leaf.value_hash()), "value": value(leaf) })
            })
            .collect();
        output::json(&json!({ "status": "proved", "root": hex(&root), "leaves": leaves }));
        return Ok(());
    }
    let rows = leaves.iter().map(|leaf| vec![leaf.name().to_owned(), shown(leaf)]).collect();
    output::table(&["LEAF", "VALUE"], rows);
    output::note(&format!("part of the configuration {} that the certificate names", hex(&root)));
    Ok(())
}

fn value(leaf: &Leaf) -> Value {
    match leaf.value() {
        LeafValue::Raw(bytes) => Value::String(hex(bytes)),
        LeafValue::Json(value) => value.clone(),
        LeafValue::Withheld => Value::Null,
    }
}

fn shown(leaf: &Leaf) -> String {
    match leaf.value() {
        LeafValue::Raw(bytes) if bytes.len() > 64 => {
            format!("{} bytes, SHA-256 {}", bytes.len(), hex(leaf.value_hash()))
        }
        // A word such as `mozilla` in place of a hash.
        LeafValue::Raw(bytes) if bytes.len() < 32 && bytes.is_ascii() => {
            String::from_utf8_lossy(bytes).into_owned()
        }
        LeafValue::Raw(bytes) => hex(bytes),
        LeafValue::Json(value) => value.to_string(),
        LeafValue::Withheld => format!("withheld, salted hash {}", hex(leaf.value_hash())),
    }
}
