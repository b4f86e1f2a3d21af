//! Why an operation on a bucket failed, in words that begin with a stable one.

use crate::filesystem::StorageFailure;
use crate::room::Full;

use super::{MAX_BATCH_BYTES, MAX_BATCH_KEYS, MAX_BUCKET, MAX_KEY, MAX_VALUE};

/// What a function of `wasi:keyvalue` answers: an error for the guest, or a trap.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KvError {
    /// A bucket's name is too long.
    #[error("bucket-too-long: a name of {0} bytes, and at most {MAX_BUCKET} are allowed")]
    BucketTooLong(usize),
    /// A key is too long.
    #[error("key-too-long: a key of {0} bytes, and at most {MAX_KEY} are allowed")]
    KeyTooLong(usize),
    /// A value is too long.
    #[error("value-too-long: a value of {0} bytes, and at most {MAX_VALUE} are allowed")]
    ValueTooLong(usize),
    /// A batch of too many keys.
    #[error("batch-too-long: {0} keys, and at most {MAX_BATCH_KEYS} are allowed: use more batches")]
    TooManyInBatch(usize),
    /// A batch of too many bytes.
    #[error(
        "batch-too-large: keys and values of more than {MAX_BATCH_BYTES} bytes together: use more batches"
    )]
    BatchTooLarge,
    /// The application has as many keys as it may have.
    #[error(
        "quota-exceeded: there would be {after} keys, and at most {most} may be kept: delete some, or load the app \
         with a higher max_store_keys"
    )]
    TooManyKeys {
        /// How many there would be.
        after: u64,
        /// `max_store_keys` of its load.
        most: u64,
    },
    /// `increment` met something else than a number.
    #[error("not-a-number: the value is not a decimal number of this type")]
    NotANumber,
    /// `increment` has no number to return.
    #[error("overflow: the sum does not fit")]
    Overflow,
    /// A cursor that no listing gave.
    #[error("bad-cursor: give back the cursor of the page before, as it was")]
    BadCursor,
    /// All applications together hold as much as may be held for operations under way.
    #[error("overloaded: the operations under way hold as much as the enclave has room for: try again later")]
    Overloaded,
    /// The records could not be read or written.
    #[error("{code}: {0}", code = .0.code())]
    Storage(#[from] StorageFailure),
    /// The records are of another version.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// The CPU gave no random numbers.
    #[error(transparent)]
    Random(#[from] enclave_platform::RandomError),
    /// The guest named a resource that does not exist, or has too many.
    #[error("{0}")]
    Table(String),
}

/// A record that this code did not write: it was authentic and does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record of the key-value store has a format that this version does not know")]
pub struct UnknownFormat;

impl From<Full> for KvError {
    fn from(Full: Full) -> Self {
        KvError::Overloaded
    }
}

impl From<wasmtime::component::ResourceTableError> for KvError {
    fn from(error: wasmtime::component::ResourceTableError) -> Self {
        KvError::Table(error.to_string())
    }
}

impl KvError {
    /// The words for the guest, or the error that ends its call: what the host did wrong must not look to the guest
    /// like an ordinary failure.
    pub(crate) fn into_words(self) -> wasmtime::Result<String> {
        match self {
            KvError::Storage(failure @ (StorageFailure::HostMisbehaved(_) | StorageFailure::Refused(_))) => {
                Err(failure.into())
            }
            KvError::Format(error) => Err(error.into()),
            KvError::Random(error) => Err(error.into()),
            KvError::Table(error) => Err(wasmtime::Error::msg(error)),
            error => Ok(error.to_string()),
        }
    }
}
