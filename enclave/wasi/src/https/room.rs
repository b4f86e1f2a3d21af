//! Bodies of requests and responses that are under way: bounded for all applications together, because they are
//! held outside the memory of the guests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all of them may take together.
const ROOM: usize = 64 << 20;

/// The room for bodies.
#[derive(Clone)]
pub(crate) struct Room(Arc<AtomicUsize>);

/// There is no more room at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// What one exchange takes of it, given back when dropped.
pub(super) struct Place {
    room: Room,
    bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(ROOM)))
    }
}

impl Room {
    pub(super) fn place(&self) -> Place {
        Place { room: self.clone(), bytes: 0 }
    }
}

impl Place {
    /// Takes that much more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
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
    fn bodies_share_the_room_and_give_it_back() {
        let room = Room::default();
        let (mut first, mut second) = (room.place(), room.place());
        first.grow(ROOM - 10).unwrap();
        assert_eq!(second.grow(11), Err(Full));
        second.grow(10).unwrap();
        drop(first);
        second.grow(ROOM - 10).unwrap();
        drop(second);
        assert_eq!(room.0.load(Ordering::Relaxed), ROOM);
    }
}
