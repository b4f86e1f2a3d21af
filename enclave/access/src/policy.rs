//! The measured policy, parsed and checked as far as keys can be checked.

use attestation::image_policy::{ImagePolicy, Operator, PageError, PublicKey};
use attestation::operator_token::Role;
use graviola::signing::ecdsa::{P256, VerifyingKey};
use graviola::signing::eddsa::Ed25519VerifyingKey;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::names::Hostname;

/// What the owner of the image allows. Made from the measured page alone.
#[derive(Clone, Debug)]
pub struct Policy {
    page: ImagePolicy,
    /// Names of the operators' keys in tokens, in the order of the page.
    key_names: Vec<String>,
}

/// Why the page in the image is no policy. The enclave does not start with one.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It breaks the page's format.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Key bytes that are no point on the curve.
    #[error("the key of {0:?} in the policy is not a valid public key: check the file it was made from")]
    Key(String),
    /// The egress CA holds no certificate.
    #[error("the egress CA of the policy cannot be read: {0}")]
    EgressCa(rustls_pki_types::pem::Error),
}

impl Policy {
    /// Reads the policy page. An empty page is the closed policy, which grants nothing beyond reading
    /// evidence and calling apps, and with which no app can be loaded.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn from_page(page: &[u8]) -> Result<Policy, PolicyError> {
        let policy = ImagePolicy::from_page(page)?;
        let operators = policy.operators.iter().map(|entry| (&entry.name, &entry.key));
        let signers = policy.code_signing.iter().map(|entry| (&entry.name, &entry.key));
        for (name, key) in operators.chain(signers) {
            if !is_usable(key) {
                return Err(PolicyError::Key(name.clone()));
            }
        }
        if let Some(pem) = &policy.egress_ca_pem {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                certificate.map_err(PolicyError::EgressCa)?;
            }
        }
        let key_names = policy.operators.iter().map(|operator| operator.key.thumbprint()).collect();
        Ok(Policy { page: policy, key_names })
    }

    /// Whether nothing is protected: whoever reaches the port may load code.
    pub fn development(&self) -> bool {
        self.page.development
    }

    /// Certificates that replace the Mozilla roots for outgoing connections.
    pub fn egress_ca_pem(&self) -> Option<&str> {
        self.page.egress_ca_pem.as_deref()
    }

    /// Whether certificates also carry interoperable evidence.
    pub fn interop(&self) -> bool {
        self.page.interop
    }

    /// DNS names of the enclave's own certificate.
    pub fn served_names(&self) -> &[String] {
        &self.page.served_names
    }

    /// Whether `hostname` is the enclave's own, so that no app may have it: a client that asks for it means
    /// the enclave, management included.
    pub fn is_reserved(&self, hostname: &Hostname) -> bool {
        hostname.as_str() == "localhost"
            || self.page.served_names.iter().any(|name| name == hostname.as_str())
    }

    /// Whether the policy names anybody who could look after the enclave.
    pub fn has_operators(&self) -> bool {
        !self.page.operators.is_empty()
    }

    /// Whether the policy names anybody who has this role, or delegates it.
    pub fn has_role(&self, role: Role) -> bool {
        self.page.operators.iter().any(|operator| Role::from(operator.role) >= role)
    }

    /// The operator whose key has this name ([`PublicKey::thumbprint`]).
    pub(crate) fn operator(&self, key_name: &str) -> Option<&Operator> {
        let at = self.key_names.iter().position(|name| name == key_name)?;
        self.page.operators.get(at)
    }

    /// The policy as it stands in the page.
    pub fn page(&self) -> &ImagePolicy {
        &self.page
    }
}

fn is_usable(key: &PublicKey) -> bool {
    match key {
        PublicKey::P256(point) => VerifyingKey::<P256>::from_x962_uncompressed(point).is_ok(),
        PublicKey::Ed25519(key) => Ed25519VerifyingKey::from_bytes(key).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attestation::image_policy::{CodeSigner, Role};

    fn read(policy: ImagePolicy) -> Result<Policy, PolicyError> {
        Policy::from_page(&policy.to_page().unwrap())
    }

    #[test]
    fn keys_off_the_curve_are_refused() {
        let mut point = [4; 65];
        point[1..].fill(1);
        let name = || "broken".to_owned();
        let operator = Operator { name: name(), role: Role::Manager, key: PublicKey::P256(point) };
        let signer = CodeSigner { name: name(), key: PublicKey::P256(point) };
        for policy in [
            ImagePolicy { operators: vec![operator], ..Default::default() },
            ImagePolicy { code_signing: vec![signer], ..Default::default() },
        ] {
            assert!(matches!(read(policy), Err(PolicyError::Key(name)) if name == "broken"));
        }
    }

    #[test]
    fn the_enclaves_own_names_are_no_apps() {
        let policy =
            read(ImagePolicy { served_names: vec!["e.example".into()], ..Default::default() }).unwrap();
        for (name, reserved) in [("localhost", true), ("e.example", true), ("a.e.example", false)] {
            assert_eq!(policy.is_reserved(&Hostname::parse(name).unwrap()), reserved, "{name}");
        }
    }

    #[test]
    fn any_page_is_answered() {
        for page in [&b"x"[..], b"{}", b"\0", b"{\"format\":1}", &[b'['; 4096]] {
            assert!(Policy::from_page(page).is_err());
        }
        assert!(!Policy::from_page(b"").unwrap().development());
    }
}
