//! What can go wrong between a client and an enclave, and whose fault it is.

use std::io;

use attestation::leaf_certificate::LeafCertificateError;
use attestation::verify::Verdict;
use boundary_wire::client::{ErrorReply, MAX_FRAME};
use thiserror::Error;

/// Why a request has no answer, or the answer is a refusal.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address is not `host:port`.
    #[error("`{0}` is not a server address: write host:port, for example 127.0.0.1:8443")]
    Address(String),
    /// The certificate authorities could not be read.
    #[error("the certificate authorities could not be read: {0}")]
    Authorities(String),
    /// Nothing to verify the enclave with.
    #[error("no certificate authority was given, so the enclave cannot be verified")]
    NothingTrusted,
    /// No TCP connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The TLS handshake failed, but not because of the certificate.
    #[error("TLS with {address} failed: {source}")]
    Tls {
        /// With whom.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The certificate does not lead to what is trusted, or is for another name.
    #[error("the certificate of {address} was refused: {reason}")]
    Untrusted {
        /// Whose.
        address: String,
        /// Why.
        reason: rustls::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The server closed before it answered.
    #[error("the server closed the connection before it answered")]
    Closed,
    /// The request does not fit a frame.
    #[error("the request is longer than a frame of {MAX_FRAME} bytes: upload over HTTP instead")]
    RequestTooLarge,
    /// An answer beyond the limit.
    #[error("the server announced an answer of {length} bytes, more than the {limit} allowed")]
    AnswerTooLarge {
        /// As announced.
        length: u64,
        /// As allowed.
        limit: u64,
    },
    /// The answer is not one of the protocol.
    #[error("the server's answer is not one of this protocol: {0}")]
    Protocol(String),
    /// The server refused, or the application failed.
    #[error("{}", .0.message)]
    Refused(ErrorReply),
    /// The leaf certificate is not one of an enclave.
    #[error("the server's certificate: {0}")]
    Certificate(#[from] LeafCertificateError),
    /// The enclave did not pass the policy.
    #[error("the enclave does not pass the policy: {0}")]
    Verification(Box<Verdict>),
    /// The chain does not say which enclave tokens are for.
    #[error(
        "the server's certificate is not signed by the authority that it names, so no token can be made for it: \
         another enclave's could be meant"
    )]
    NoAudience,
    /// The operator's key cannot be used.
    #[error("the operator's key: {0}")]
    Key(String),
    /// This machine gives no random numbers.
    #[error("this machine gives no random numbers")]
    NoRandomness,
    /// A proof does not lead to the root in the certificate.
    #[error("the proof of `{leaf}` does not lead to the configuration root in the certificate")]
    Proof {
        /// The leaf.
        leaf: String,
    },
}

/// At which door an error belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What the caller gave cannot be used.
    Caller,
    /// There is no working connection.
    Connection,
    /// The enclave is not who it should be.
    Verification,
    /// The server understood and said no.
    Refused,
}

impl ClientError {
    /// At which door it belongs.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Address(_)
            | Self::Authorities(_)
            | Self::NothingTrusted
            | Self::RequestTooLarge
            | Self::Key(_) => Fault::Caller,
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Io(_)
            | Self::Closed
            | Self::AnswerTooLarge { .. }
            | Self::NoRandomness
            | Self::Protocol(_) => Fault::Connection,
            Self::Untrusted { .. }
            | Self::NoAudience
            | Self::Certificate(_)
            | Self::Verification(_)
            | Self::Proof { .. } => Fault::Verification,
            Self::Refused(_) => Fault::Refused,
        }
    }

    /// A stable word for programs: the server's own code where there is one.
    pub fn code(&self) -> &str {
        match self {
            Self::Address(_) => "bad-address",
            Self::Authorities(_) => "bad-authorities",
            Self::NothingTrusted => "nothing-trusted",
            Self::Connect { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::Untrusted { .. } => "untrusted-certificate",
            Self::Io(_) => "connection-broke",
            Self::Closed => "connection-closed",
            Self::RequestTooLarge => "request-too-large",
            Self::AnswerTooLarge { .. } => "answer-too-large",
            Self::Protocol(_) => "protocol",
            Self::Refused(reply) => &reply.code,
            Self::Certificate(_) => "not-an-enclave",
            Self::Verification(_) => "policy",
            Self::NoAudience => "no-audience",
            Self::Key(_) => "bad-key",
            Self::NoRandomness => "no-randomness",
            Self::Proof { .. } => "proof",
        }
    }
}
