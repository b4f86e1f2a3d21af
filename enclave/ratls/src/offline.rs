//! What an evidence document is made of.

use std::sync::{Arc, PoisonError};

use attestation::evidence::CA_LEAF;
use attestation::manifest::{Manifest, ManifestError, Proof};
use rustls_pki_types::CertificateDer;

use crate::history::Generation;
use crate::identities::Identities;
use crate::issue::{Documents, Issued, Snapshot};
use crate::quoting::Quote;
use crate::report::ReportData;
use crate::{Scope, interop};

/// The current certificate of a scope with all that belongs to it, taken at one moment.
pub struct Offline {
    snapshot: Arc<Snapshot>,
    issued: Arc<Issued>,
    manifest: Manifest,
    app: Option<String>,
}

/// A quote beside that of the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// Over leaf and manifest (DESIGN D13): what an offline verifier judges.
    Evidence,
    /// Over the claims of interoperable RA-TLS.
    Interoperable,
}

impl Identities {
    /// What there is to say offline of the enclave or of one app; `None` for an app that is gone.
    ///
    /// # Errors
    /// As [`Manifest::of_app`].
    pub fn offline(&self, scope: &Scope) -> Result<Option<Offline>, ManifestError> {
        let snapshot = self.snapshot();
        let (issued, manifest, app) = match scope {
            Scope::Enclave => (snapshot.enclave.issued(), Manifest::clone(&snapshot.manifest), None),
            Scope::App(app) => match snapshot.app(app) {
                Some(slot) => (slot.issued(), snapshot.manifest.of_app(app)?, Some(app.clone())),
                None => return Ok(None),
            },
        };
        Ok(Some(Offline { snapshot, issued, manifest, app }))
    }
}

impl Offline {
    /// Leaf, enclave CA, and what is installed above it.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.issued.chain
    }

    /// The quote in the leaf.
    pub fn certificate_quote(&self) -> Option<&Quote> {
        self.issued.evidence.quote.as_ref()
    }

    /// The configuration that the leaf commits to: all of it, or that of the app alone.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// That the CA in the chain is the one of the enclave's configuration; of the others it says nothing.
    pub fn ca_proof(&self) -> Option<Proof> {
        self.snapshot.manifest.proof(CA_LEAF)
    }

    /// The configurations so far; an app's evidence names no other app.
    pub fn generations(&self) -> Vec<Generation> {
        match &self.app {
            Some(app) => self.snapshot.history.of_app(app),
            None => self.snapshot.history.generations().to_vec(),
        }
    }

    /// The claims of interoperable RA-TLS (CBOR).
    pub fn interoperable_claims(&self) -> Vec<u8> {
        interop::claims(&self.issued.draft.spki_der())
    }

    /// What the quote of that document is made over.
    pub fn report_data(&self, document: Document) -> ReportData {
        let leaf = self.issued.chain.first().map(|der| &der[..]).unwrap_or_default();
        match document {
            Document::Evidence => ReportData::evidence(leaf, &self.manifest.root()),
            Document::Interoperable => self.issued.draft.interoperable(),
        }
    }

    /// The quote of that document, if it was made since the leaf was.
    pub fn quote(&self, document: Document) -> Option<Quote> {
        match document {
            Document::Evidence => self.documents().evidence.clone(),
            Document::Interoperable => {
                let in_leaf = self.issued.evidence.interoperable.clone();
                in_leaf.or_else(|| self.documents().interoperable.clone())
            }
        }
    }

    /// Keeps a quote for those who ask later, as long as the leaf stays. A quote over something else is not
    /// kept.
    pub fn keep(&self, document: Document, quote: &Quote) {
        if *quote.report_data() != self.report_data(document) {
            return;
        }
        let mut documents = self.documents();
        match document {
            Document::Evidence => documents.evidence = Some(quote.clone()),
            Document::Interoperable => documents.interoperable = Some(quote.clone()),
        }
    }

    fn documents(&self) -> std::sync::MutexGuard<'_, Documents> {
        self.issued.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
