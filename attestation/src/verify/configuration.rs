//! Checks of the configuration, and of the operator above the enclave.

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::Disclosed;
use super::enclave::list;
use super::judge::Outcome;
use crate::evidence::CA_LEAF;
use crate::hex;
use crate::leaf_certificate::LeafCertificate;
use crate::manifest::{Manifest, Proof};
use crate::policy::{AppRule, ConfigurationRule};

/// A manifest and the leaf that vouches for it.
enum Scope<'a> {
    /// Its root is that of the enclave's tree (`.1.1`).
    Enclave(&'a Manifest),
    /// Its root is that of the app's own tree (`.3.1`), where leaves are named without `app.<name>.`.
    App(&'a Manifest, &'a str),
}

impl<'a> Scope<'a> {
    fn of(manifest: &'a Manifest, leaf: &'a LeafCertificate) -> Option<Self> {
        if manifest.root() == leaf.configuration_root {
            return Some(Scope::Enclave(manifest));
        }
        let (app, claim) = leaf.app.as_ref().zip(leaf.apps.first())?;
        (manifest.root() == app.configuration_root).then_some(Scope::App(manifest, &claim.name))
    }

    fn value_hash(&self, name: &str) -> Option<&'a [u8; 32]> {
        let leaf = match self {
            Scope::Enclave(manifest) => manifest.leaf(name),
            Scope::App(manifest, app) => {
                manifest.leaf(name.strip_prefix("app.")?.strip_prefix(app)?.strip_prefix('.')?)
            }
        };
        leaf.map(|leaf| leaf.value_hash())
    }

    fn app_root(&self, app: &str) -> Option<[u8; 32]> {
        match self {
            Scope::Enclave(manifest) => manifest.of_app(app).ok().map(|own| own.root()),
            Scope::App(..) => None,
        }
    }
}

/// The roots and leaves a policy asks for; that a document's manifest and its enclave CA (`ca`: what proves it, and
/// the certificate) are the certificate's.
pub(super) fn configuration(
    rule: Option<&ConfigurationRule>,
    app: Option<&AppRule>,
    leaf: &LeafCertificate,
    disclosed: Disclosed<'_>,
    ca: Option<(&Proof, Option<&CertificateDer<'_>>)>,
) -> Outcome {
    let manifest = disclosed.manifest;
    let found = format!("root {}", hex::encode(&leaf.configuration_root));
    let mut wrong = Vec::new();
    let scope = manifest.and_then(|manifest| Scope::of(manifest, leaf));
    if manifest.is_some() && scope.is_none() {
        wrong.push(
            "the manifest does not lead to the root in the certificate: it is of another configuration. Ask the enclave for both anew"
                .to_owned(),
        );
    }
    if let Some((proof, certificate)) = ca {
        wrong.extend(enclave_ca(proof, certificate, leaf).err());
    }
    let mut wanted = Vec::new();
    if let Some(rule) = rule {
        if let Some(accepted) = &rule.root {
            wanted.push(format!("root {}", list(accepted)));
            if !accepted.contains(&leaf.configuration_root) {
                wrong.push("the configuration root is not one of the policy's: something in the enclave is configured otherwise. `enclave-os proof` lists its settings; if they are what you want, put the root into `configuration.root`".to_owned());
            }
        }
        if let Some(accepted) = &rule.app_root {
            wanted.push(format!("app root {}", list(accepted)));
            wrong.extend(app_root(accepted, app, leaf, scope.as_ref()).err());
        }
        for (name, accepted) in &rule.leaves {
            wanted.push(format!("{name} {}", list(accepted)));
            wrong.extend(required_leaf(name, accepted, leaf, disclosed, scope.as_ref()).err());
        }
    }
    let outcome =
        if wrong.is_empty() { Outcome::pass(found) } else { Outcome::fail(found, wrong.join("; ")) };
    if wanted.is_empty() { outcome } else { outcome.wanted(wanted.join("; ")) }
}

/// Of the CA's certificate the leaf's signature binds the key alone, and its end of the chain nothing binds the
/// rest: the configuration under the quote does.
fn enclave_ca(
    proof: &Proof,
    certificate: Option<&CertificateDer<'_>>,
    leaf: &LeafCertificate,
) -> Result<(), String> {
    let proved = proof.leaf().name() == CA_LEAF && proof.verify(&leaf.configuration_root).is_ok();
    if !proved {
        return Err(format!(
            "`ca_proof` does not prove {CA_LEAF} under the root in the certificate: it is of another configuration, or was changed. Ask the enclave for another document"
        ));
    }
    let hash: Option<[u8; 32]> = certificate.map(|der| Sha256::digest(der).into());
    if hash.as_ref() == Some(proof.leaf().value_hash()) {
        return Ok(());
    }
    Err(format!(
        "the second certificate is not the one that the enclave has for its CA ({CA_LEAF}): it was changed on its way. Ask the enclave for another document"
    ))
}

fn app_root(
    accepted: &[[u8; 32]],
    app: Option<&AppRule>,
    leaf: &LeafCertificate,
    scope: Option<&Scope<'_>>,
) -> Result<(), String> {
    let own = leaf.app.as_ref().map(|own| own.configuration_root);
    let root = own.or_else(|| scope?.app_root(&app?.name));
    match root {
        Some(root) if accepted.contains(&root) => Ok(()),
        Some(root) => Err(format!(
            "the app's configuration root is {}: it is configured otherwise than the policy accepts; if that is what you want, put it into `configuration.app_root`",
            hex::encode(&root)
        )),
        None => Err("the app's configuration root is in its own certificate only: connect with its hostname, or get the manifest and name the app in [app]".to_owned()),
    }
}

fn required_leaf(
    name: &str,
    accepted: &[[u8; 32]],
    leaf: &LeafCertificate,
    disclosed: Disclosed<'_>,
    scope: Option<&Scope<'_>>,
) -> Result<(), String> {
    let told = scope.and_then(|scope| scope.value_hash(name));
    let mut proofs = disclosed.proofs.iter().filter(|proof| proof.leaf().name() == name).peekable();
    let proof_given = proofs.peek().is_some();
    let proved = || {
        let proof = proofs.find(|proof| proof.verify(&leaf.configuration_root).is_ok());
        proof.map(|proof| proof.leaf().value_hash())
    };
    match told.or_else(proved) {
        Some(hash) if accepted.contains(hash) => Ok(()),
        Some(hash) => Err(format!(
            "{name} has the value hash {}, which the policy does not accept; `enclave-os proof {name}` shows the value. If it is what you want, put the hash into `configuration.leaves`",
            hex::encode(hash)
        )),
        None if proof_given => Err(format!(
            "the proof of {name} does not lead to the root in the certificate: it is of another configuration. Ask the enclave for both anew"
        )),
        None if disclosed.manifest.is_none() => Err(format!(
            "{name} was not shown: it is mistyped, or the verifier was given neither its proof (`/.enclave/v1/proofs/{name}`) nor the manifest"
        )),
        // A manifest that is not the certificate's says nothing; that is told once.
        None if scope.is_none() => Ok(()),
        None => Err(format!(
            "{name} is not in the manifest: it is mistyped, or a leaf of the core in the manifest of an app"
        )),
    }
}

/// One of the certificates above the enclave's CA is the operator's.
pub(super) fn operator_ca(accepted: &[[u8; 32]], chain: &[CertificateDer<'_>]) -> Outcome {
    let above: Vec<[u8; 32]> = chain.iter().skip(2).map(|der| Sha256::digest(der).into()).collect();
    let found =
        if above.is_empty() { "no certificate above the enclave's CA".to_owned() } else { list(&above) };
    let outcome = if above.iter().any(|fingerprint| accepted.contains(fingerprint)) {
        Outcome::pass(found)
    } else {
        Outcome::fail(
            found,
            "the enclave is not under an operator that the policy accepts: have its request signed by that CA (`enclave-os ca csr`, `ca install`)",
        )
    };
    outcome.wanted(list(accepted))
}
