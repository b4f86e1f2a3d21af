//! What the enclave gets: frames that are owed, replies, and what clients send.

use boundary_ring::host::Producer;
use boundary_wire::frame::ToEnclave;

use super::connection::Moved;
use super::{Station, StationError};

/// Reads in one turn.
const MAX_READS: u32 = 1024;

impl Station {
    /// Pushes what the ring takes: what is owed, replies, then data.
    pub(super) fn feed(&mut self) -> Result<(), StationError> {
        if let Some(grace_ms) = self.drain_owed {
            if !push(&mut self.ring, &ToEnclave::Drain { grace_ms })? {
                return Ok(());
            }
            self.drain_owed = None;
            self.pushed += 1;
        }
        if !self.pay_all()? || !self.requests.push(&mut self.ring, &mut self.pushed)? {
            return Ok(());
        }
        for _ in 0..MAX_READS {
            let Some(id) = self.readable.pop_front() else { break };
            if !self.read(id)? {
                return Ok(());
            }
        }
        // Ends that were found by reading go out behind the data.
        self.pay_all()?;
        Ok(())
    }

    /// Pays what connections owe. `false`: the ring is full.
    pub(super) fn pay_all(&mut self) -> Result<bool, StationError> {
        while let Some(&id) = self.owing.front() {
            if !self.pay(id)? {
                return Ok(false);
            }
            self.owing.pop_front();
        }
        Ok(true)
    }

    /// Pays what one connection owes. `false`: the ring is full.
    pub(super) fn pay(&mut self, id: u64) -> Result<bool, StationError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(true) };
        let failed_dial = matches!(connection.owed.dialed, Some(Err(_)));
        let over = connection.owed.reset || failed_dial;
        let owes = connection.owes();
        let paid = connection.pay(&mut self.ring)?;
        self.pushed += u64::from(owes);
        if paid {
            connection.owed.queued = false;
            if over {
                self.forget(id);
            } else {
                self.queue_read(id);
            }
        }
        Ok(paid)
    }

    /// Reads one connection once. `false`: the ring is full.
    pub(super) fn read(&mut self, id: u64) -> Result<bool, StationError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(true) };
        connection.in_turn = false;
        if !connection.can_read() {
            return Ok(true);
        }
        let lingering = connection.is_lingering();
        let moved = if lingering { connection.discard() } else { connection.receive(&mut self.ring)? };
        self.pushed += u64::from(!lingering && moved == Moved::Some);
        match moved {
            Moved::Broken => self.broken(id),
            Moved::RingFull => {
                connection.in_turn = true;
                self.readable.push_front(id);
                return Ok(false);
            }
            Moved::Some | Moved::Nothing if connection.is_over() => self.forget(id),
            Moved::Some => self.queue_read(id),
            Moved::Nothing => {
                if connection.owes() {
                    self.queue_owed(id);
                }
            }
        }
        Ok(true)
    }

    /// The socket is of no further use: the enclave is told, unless it has let go.
    pub(super) fn broken(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.is_lingering() {
            self.forget(id);
            return;
        }
        connection.abort();
        connection.owed.reset = true;
        self.report(id);
        self.queue_owed(id);
    }

    pub(super) fn after_write(&mut self, id: u64, moved: Moved) {
        self.report(id);
        if moved == Moved::Broken {
            self.broken(id);
            return;
        }
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.is_over() {
            self.forget(id);
        } else if connection.owes() {
            self.queue_owed(id);
        }
    }

    pub(super) fn queue_owed(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !std::mem::replace(&mut connection.owed.queued, true)
        {
            self.owing.push_back(id);
        }
    }

    pub(super) fn queue_read(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.can_read()
            && !std::mem::replace(&mut connection.in_turn, true)
        {
            self.readable.push_back(id);
        }
    }
}

/// Pushes one frame. `false`: the ring is full.
pub(super) fn push(ring: &mut Producer, frame: &ToEnclave<'_>) -> Result<bool, StationError> {
    Ok(ring.push(&frame.encode()?.parts())?)
}
