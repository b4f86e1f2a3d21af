//! Messages longer than a frame.

use std::{borrow::Cow, collections::BTreeMap};

use crate::frame::MAX_PAYLOAD;

/// Cuts a message into what frames carry: `(last, bytes)`, at least one.
pub fn fragments(message: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    let count = message.len().div_ceil(MAX_PAYLOAD).max(1);
    (0..count).map(move |index| {
        let start = index * MAX_PAYLOAD;
        let end = message.len().min(start + MAX_PAYLOAD);
        (index + 1 == count, message.get(start..end).unwrap_or_default())
    })
}

/// Why a fragment cannot belong to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassemblyError {
    /// The message grew beyond its limit.
    #[error("message {id} goes on beyond {max} bytes")]
    TooLong {
        /// Its id.
        id: u64,
        /// The limit.
        max: usize,
    },
    /// All unfinished messages together grew beyond the limit.
    #[error("unfinished messages hold more than {max} bytes together")]
    TooMuch {
        /// The limit.
        max: usize,
    },
    /// Too many messages are unfinished.
    #[error("more than {max} messages are unfinished")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A fragment that neither ends its message nor adds to it.
    #[error("message {id} has an empty fragment that is not its last")]
    Empty {
        /// Its id.
        id: u64,
    },
}

/// Puts messages together from fragments that may be interleaved, within bounds.
///
/// After an error the other side has broken the protocol and the channel is of no further use. An enclave
/// gives it only fragments of requests that are under way.
#[derive(Debug)]
pub struct Reassembler {
    limits: Limits,
    partial: BTreeMap<u64, Vec<u8>>,
    held: usize,
}

/// How much a [`Reassembler`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of one message.
    pub message: usize,
    /// Most bytes of all unfinished messages together.
    pub total: usize,
    /// Most unfinished messages.
    pub messages: usize,
}

impl Reassembler {
    /// Holds nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, partial: BTreeMap::new(), held: 0 }
    }

    /// Takes the next fragment of message `id`, and gives the message when that was the last one. A message
    /// of a single fragment is not copied.
    ///
    /// # Errors
    /// [`ReassemblyError`] when a limit would be passed; nothing is taken then.
    pub fn push<'a>(
        &mut self,
        id: u64,
        last: bool,
        bytes: &'a [u8],
    ) -> Result<Option<Cow<'a, [u8]>>, ReassemblyError> {
        let Limits { message, total, messages } = self.limits;
        let so_far = self.partial.get(&id).map(Vec::len);
        if so_far.unwrap_or(0).saturating_add(bytes.len()) > message {
            return Err(ReassemblyError::TooLong { id, max: message });
        }
        if last && so_far.is_none() {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        if !last && bytes.is_empty() {
            return Err(ReassemblyError::Empty { id });
        }
        if so_far.is_none() && self.partial.len() >= messages {
            return Err(ReassemblyError::TooMany { max: messages });
        }
        if self.held.saturating_add(bytes.len()) > total {
            return Err(ReassemblyError::TooMuch { max: total });
        }
        self.held += bytes.len();
        self.partial.entry(id).or_default().extend_from_slice(bytes);
        Ok(if last { self.forget(id).map(Cow::Owned) } else { None })
    }

    /// Lets go of an unfinished message.
    pub fn forget(&mut self, id: u64) -> Option<Vec<u8>> {
        let message = self.partial.remove(&id)?;
        self.held -= message.len();
        Some(message)
    }

    /// Bytes of unfinished messages.
    pub fn held(&self) -> usize {
        self.held
    }
}
