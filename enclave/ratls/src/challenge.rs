//! Tier `challenge`: a key, a quote and a certificate for one connection, bound to the client's nonce.
//!
//! The nonce comes as an ALPN name, which every TLS library can offer; the protocol that is selected is a
//! normal one, so the client offers that beside it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::identities::{Identities, Identity};
use crate::issue::Snapshot;
use crate::leaf::{CHALLENGE_VALIDITY, Draft, Evidence};
use crate::quoting::Quote;
use crate::report::ReportData;
use crate::tls::ALPN_PROTOCOLS;
use crate::{IdentityError, Scope, clock};

/// How the ALPN name of a nonce begins; 32 bytes in base64url without padding follow.
pub const NONCE_PROTOCOL: &str = "enclave-os-nonce/";

/// What a client offers that cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadChallenge {
    /// Not 32 bytes in base64url without padding.
    #[error("the nonce after {NONCE_PROTOCOL:?} is not 32 bytes in base64url without padding")]
    Malformed,
    /// More than one.
    #[error("more than one nonce is offered")]
    Several,
    /// None of [`ALPN_PROTOCOLS`] beside it.
    #[error("no protocol that is served is offered beside the nonce: {}", ALPN_PROTOCOLS.join(", "))]
    Alone,
}

/// The nonce among the ALPN names that a client offers; `None` if it offers none.
///
/// # Errors
/// [`BadChallenge`]. The handshake has to fail then: the client waits for an answer to its nonce.
pub fn nonce<'a>(offered: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<[u8; 32]>, BadChallenge> {
    let (mut found, mut is_served) = (None, false);
    for name in offered {
        let Some(text) = name.strip_prefix(NONCE_PROTOCOL.as_bytes()) else {
            is_served |= ALPN_PROTOCOLS.iter().any(|served| served.as_bytes() == name);
            continue;
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadChallenge::Malformed)?;
        let nonce = <[u8; 32]>::try_from(bytes).map_err(|_| BadChallenge::Malformed)?;
        if found.replace(nonce).is_some() {
            return Err(BadChallenge::Several);
        }
    }
    if found.is_some() && !is_served {
        return Err(BadChallenge::Alone);
    }
    Ok(found)
}

/// A key for one connection, before a quote vouches for it.
pub struct Challenged {
    snapshot: Arc<Snapshot>,
    scope: Scope,
    draft: Draft,
    nonce: [u8; 32],
}

impl Challenged {
    /// What the quote has to be made over.
    pub fn report_data(&self) -> ReportData {
        ReportData::challenge(&self.draft.spki_der(), &self.nonce)
    }
}

impl Identities {
    /// Draws a key for a client that asked for `server_name` and offered this nonce.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn challenged(
        &self,
        server_name: Option<&str>,
        nonce: [u8; 32],
    ) -> Result<Challenged, IdentityError> {
        let (snapshot, scope) = self.addressed(server_name);
        let draft = Draft::new(self.platform(), clock::now(self.clock())?, CHALLENGE_VALIDITY)?;
        Ok(Challenged { snapshot, scope, draft, nonce })
    }

    /// The identity of that connection. It says what was so when the key was drawn: what has changed since is
    /// stale for it.
    ///
    /// # Errors
    /// [`IdentityError`]; [`IdentityError::OtherQuote`] for a quote that was made over something else.
    pub fn answer(&self, challenged: Challenged, quote: Quote) -> Result<Identity, IdentityError> {
        if *quote.report_data() != challenged.report_data() {
            return Err(IdentityError::OtherQuote);
        }
        let Challenged { snapshot, scope, draft, .. } = challenged;
        let slot = match &scope {
            Scope::Enclave => &snapshot.enclave,
            Scope::App(app) => snapshot.app(app).unwrap_or(&snapshot.enclave),
        };
        let evidence = Evidence { quote: Some(quote), interoperable: None };
        let issued = self.issuer().issue(&snapshot.authority, &slot.claims, Arc::new(draft), evidence)?;
        Ok(Identity::new(&issued, scope, &snapshot))
    }
}
