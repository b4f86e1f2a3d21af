//! What the enclave holds for guests outside their memory while something is under way: bounded for all applications
//! together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that all applications share.
#[derive(Clone)]
pub(crate) struct Room(Arc<AtomicUsize>);

/// There is no more room at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// What one of those who share takes of it, given back when dropped.
pub(crate) struct Place {
    room: Room,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// What is free at this moment.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn place(&self) -> Place {
        Place { room: self.clone(), bytes: 0 }
    }
}

impl Place {
    /// Takes that much more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let free = |free: usize| free.checked_sub(bytes);
        self.room.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).map_err(|_| Full)?;
        self.bytes += bytes;
        Ok(())
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
    fn those_who_are_under_way_share_the_room_and_give_it_back() {
        const ROOM: usize = 1000;
        let room = Room::new(ROOM);
        let (mut first, mut second) = (room.place(), room.place());
        first.grow(ROOM - 10).unwrap();
        assert_eq!(second.grow(11), Err(Full));
        second.grow(10).unwrap();
        drop(first);
        second.grow(ROOM - 10).unwrap();
        drop(second);
        assert_eq!(room.free(), ROOM);
    }
}
