//! Results that wait until what their call wrote is durable: bounded for all calls together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use boundary_wire::client::WitType;
use enclave_wasi::cli::Room;
use serde_json::Value;
use wasmtime::component::Val;

use crate::error::CallError;
use crate::value::{self, MAX_RESULTS, TooLarge};

/// What all of them may take together: two of the largest.
const ROOM: usize = 2 * MAX_RESULTS;
/// A call's results up to this size are outside the bound.
const SMALL: usize = 64 << 10;

/// The room for results of all apps.
#[derive(Clone)]
pub(crate) struct ResultRoom(Arc<AtomicUsize>);

/// The results of one call, and their place. The place is free again when they are on their way to the client.
pub(crate) struct Held {
    pub(crate) results: Vec<Value>,
    _place: Place,
}

struct Place {
    room: ResultRoom,
    bytes: usize,
}

impl Default for ResultRoom {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(ROOM)))
    }
}

impl ResultRoom {
    /// Makes JSON of a call's results.
    ///
    /// # Errors
    /// [`CallError::TooMuchData`] when they are too large, [`CallError::Overloaded`] when too many others wait.
    pub(crate) fn take(&self, values: Vec<Val>, types: &[WitType]) -> Result<Held, CallError> {
        let (results, bytes) = value::results(values, types).map_err(|TooLarge| CallError::TooMuchData)?;
        let bytes = if bytes <= SMALL { 0 } else { bytes };
        let free = |free: usize| free.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).map_err(|_| {
            CallError::Overloaded(
                "too many large results wait to be stored and sent: try again later".to_owned(),
            )
        })?;
        Ok(Held { results, _place: Place { room: self.clone(), bytes } })
    }

    /// A place for the output of one program, which grows.
    pub(crate) fn growing(&self) -> Growing {
        Growing(Place { room: self.clone(), bytes: 0 })
    }
}

/// The place of output while it is printed.
pub(crate) struct Growing(Place);

impl Room for Growing {
    fn take(&mut self, bytes: usize) -> bool {
        let free = |free: usize| free.checked_sub(bytes);
        let taken = self.0.room.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).is_ok();
        self.0.bytes += if taken { bytes } else { 0 };
        taken
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_results_share_their_room_and_give_it_back() {
        let room = ResultRoom::default();
        let take = |bytes| room.take(vec![Val::String("x".repeat(bytes))], &[WitType::String]);
        let first = take(MAX_RESULTS - 100).unwrap();
        let second = take(MAX_RESULTS - 100).unwrap();
        assert_eq!(take(SMALL * 2).err().map(|error| error.code()), Some("overloaded"));
        assert!(take(100).is_ok(), "small ones are always taken");
        drop(first);
        assert!(take(SMALL * 2).is_ok());
        drop(second);
        assert_eq!(room.0.load(Ordering::Relaxed), ROOM);
        assert_eq!(take(MAX_RESULTS).err(), Some(CallError::TooMuchData));
        let mut output = room.growing();
        assert!(
            output.take(MAX_RESULTS) && output.take(MAX_RESULTS) && !output.take(1),
            "printed is bounded, too"
        );
        assert!(take(SMALL * 2).is_err());
        drop(output);
        assert_eq!(room.0.load(Ordering::Relaxed), ROOM);
    }
}
