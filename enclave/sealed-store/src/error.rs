//! What can go wrong, and whose fault it is.

use std::fmt;

use enclave_platform::{KeyError, RandomError};

use crate::backend::{BackendError, RecordId};

/// A record id as it is printed: the first bytes are enough to find it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id(pub RecordId);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the host was caught. It may be malice or a broken disk; the store cannot tell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// An answer that is none.
    #[error("it broke the protocol: {0}")]
    Protocol(String),
    /// There are records but no anchor.
    #[error("it withholds the store's anchor, yet has records")]
    AnchorMissing,
    /// The anchor is not one that this enclave wrote.
    #[error("the store's anchor was altered")]
    AnchorForged,
    /// There is an anchor but no head.
    #[error("it withholds the store's head")]
    HeadMissing,
    /// The head is not one that this enclave wrote for this store.
    #[error("the store's head was altered or is of another store")]
    HeadForged,
    /// A scan that repeats a record or is out of order.
    #[error("a scan repeats record {0} or gives it out of order")]
    ScanOrder(Id),
    /// A scan that says there is more and gives nothing.
    #[error("a scan says there is more and gives nothing")]
    ScanStuck,
    /// A scan that is empty though there is a store.
    #[error("its scan finds nothing, yet it has a store")]
    ScanEmpty,
    /// A record that this enclave did not write in this place.
    #[error("record {0} was altered, or was never written in this place")]
    RecordForged(Id),
    /// Fewer records than the head counts.
    #[error("it withholds records: the head counts {expected}, there are {found}")]
    Withheld {
        /// Counted by the head.
        expected: u64,
        /// Given by the scan.
        found: u64,
    },
    /// More records than the head counts.
    #[error("it added records: the head counts {expected}, and there are more")]
    Added {
        /// Counted by the head.
        expected: u64,
    },
    /// As many records as the head counts, each authentic, but not those the head was made over.
    #[error("it mixes records or a head of different moments: they do not belong together")]
    Mixed,
    /// A record that the enclave knows to exist was not given.
    #[error("it withholds record {0}")]
    RecordMissing(Id),
    /// An earlier state of a record.
    #[error("it gave a stale state of record {0}")]
    RecordStale(Id),
}

/// Why an operation on the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The host was caught lying, or its disk is broken. The answer was not used.
    #[error("the host misbehaved: {0}")]
    HostMisbehaved(Misbehaviour),
    /// The host says that it could not. Nothing was changed.
    #[error("storage failed: {0}")]
    Failed(BackendError),
    /// An expectation of the batch does not hold: read again and repeat. Nothing was changed.
    #[error("a record was changed by somebody else")]
    Conflict,
    /// Beyond a limit. Nothing was changed.
    #[error("{what} of {len}: at most {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The host's disk is full. Nothing was changed.
    #[error("no room is left")]
    Full,
    /// The namespace would take more than its quota. Nothing was changed.
    #[error("the quota is used up: {after} {what}, and at most {most} may be kept")]
    Quota {
        /// What there would be too much of.
        what: &'static str,
        /// How much there would be.
        after: u64,
        /// The quota.
        most: u64,
    },
    /// The record is as it was written, but not under this key.
    #[error("the key given for this namespace is not the one its records were written with")]
    WrongKey,
    /// The host could not say whether a batch was stored, so the enclave does not know what is.
    #[error(
        "it is not known whether the last batch was stored: restart the enclave, which reads the store again"
    )]
    Unsettled,
    /// The store was closed, or its committer ended.
    #[error("the store is closed")]
    Closed,
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl From<BackendError> for StoreError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Misbehaved(what) => Self::HostMisbehaved(Misbehaviour::Protocol(what)),
            BackendError::Full => Self::Full,
            BackendError::Stopping => Self::Closed,
            failed @ BackendError::Failed { .. } => Self::Failed(failed),
        }
    }
}

impl From<Misbehaviour> for StoreError {
    fn from(how: Misbehaviour) -> Self {
        Self::HostMisbehaved(how)
    }
}

/// Why the store did not open. Nothing was written to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Another enclave's store.
    #[error(
        "this store was sealed by the enclave with MRENCLAVE {}, and this is {}: \
         it was left untouched; start that enclave, or use another data directory",
        hex(store),
        hex(enclave)
    )]
    OtherMeasurement {
        /// The measurement that the store names.
        store: [u8; 32],
        /// This enclave's measurement.
        enclave: [u8; 32],
    },
    /// A format that this enclave does not know.
    #[error("this store has format {found}, and this enclave writes format {known}: it was left untouched")]
    Format {
        /// The format that the store names.
        found: u16,
        /// The one this enclave knows.
        known: u16,
    },
    /// The CPU refuses the store's sealing key.
    #[error("the store's sealing key: {0}")]
    SealKey(#[from] KeyError),
    /// The host was caught lying, or its disk is broken.
    #[error("the host misbehaved: {0}")]
    HostMisbehaved(Misbehaviour),
    /// The host says that it could not.
    #[error("storage failed: {0}")]
    Failed(BackendError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl From<BackendError> for OpenError {
    fn from(error: BackendError) -> Self {
        match error {
            BackendError::Misbehaved(what) => Self::HostMisbehaved(Misbehaviour::Protocol(what)),
            failed => Self::Failed(failed),
        }
    }
}

impl From<Misbehaviour> for OpenError {
    fn from(how: Misbehaviour) -> Self {
        Self::HostMisbehaved(how)
    }
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
