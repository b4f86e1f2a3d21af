//! Quotes for the enclave's reports, and the collateral that verifiers need beside them.

mod aesm;
mod collateral;
mod development;
mod hardware;

pub use aesm::{Aesm, SOCKET as AESM_SOCKET};
pub use collateral::{CollateralKeeper, CollateralSource, Pccs, PccsError};
pub use development::{DevelopmentQuoting, DevelopmentQuotingError};
pub use hardware::{HardwareQuoting, QuoteProvider, whole_quote};

use boundary_wire::rpc::{FailureCode, Request, Response};

/// A quoting enclave, as this host reaches it.
pub trait Quoting: Send + Sync {
    /// The TARGETINFO that a REPORT must be made for.
    ///
    /// # Errors
    /// [`QuotingError`].
    fn target_info(&self) -> Result<Vec<u8>, QuotingError>;

    /// A DCAP quote over a REPORT, with its certificate chain.
    ///
    /// # Errors
    /// [`QuotingError`].
    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, QuotingError>;

    /// The collateral document (docs/formats/quotes.md), as it is now; empty if none is known.
    ///
    /// # Errors
    /// [`QuotingError`].
    fn collateral(&self) -> Result<Vec<u8>, QuotingError>;
}

/// Why there is no quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuotingError {
    /// This host was started without one.
    #[error("this host has no quoting enclave")]
    Absent,
    /// The service behind it does not answer.
    #[error("the quoting service does not answer: {0}")]
    Unavailable(String),
    /// It refused the report.
    #[error("the quoting enclave refused the report: {0}")]
    Refused(String),
}

/// Answers the quoting requests; `None` for any other request.
pub fn answer(quoting: Option<&dyn Quoting>, request: &Request) -> Option<Response> {
    let answered = match request {
        Request::TargetInfo => {
            quoting.ok_or(QuotingError::Absent).and_then(Quoting::target_info).map(Response::TargetInfo)
        }
        Request::Quote { report } => {
            quoting.ok_or(QuotingError::Absent).and_then(|q| q.quote(report)).map(Response::Quote)
        }
        Request::Collateral => quoting.map_or(Ok(Vec::new()), Quoting::collateral).map(Response::Collateral),
        _ => return None,
    };
    Some(answered.unwrap_or_else(|error| {
        let code = match error {
            QuotingError::Absent => FailureCode::Unsupported,
            QuotingError::Unavailable(_) => FailureCode::Unavailable,
            QuotingError::Refused(_) => FailureCode::BadRequest,
        };
        Response::failed(code, &error.to_string())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_quoting_enclave_says_so() {
        for request in [Request::TargetInfo, Request::Quote { report: vec![0; 432] }] {
            match answer(None, &request) {
                Some(Response::Failed { code, message }) => {
                    assert_eq!(code, FailureCode::Unsupported);
                    assert_eq!(message, "this host has no quoting enclave");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(answer(None, &Request::Collateral), Some(Response::Collateral(Vec::new())));
        assert_eq!(answer(None, &Request::KvGet { key: [0; 32] }), None);
    }
}
