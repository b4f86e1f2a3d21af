//! The host's ends of one enclave thread's channel.

use std::collections::VecDeque;

use boundary_ring::host::{Channel, Consumer, Producer};
use boundary_wire::frame::ToEnclave;
use boundary_wire::rpc::{Limits, MAX_REQUEST, Reassembler};

pub(super) struct Seat {
    pub(super) ring: Producer,
    pub(super) from_enclave: Consumer,
    pub(super) partial: Reassembler,
    /// Frames for the ring, in order.
    inbox: VecDeque<Vec<u8>>,
    /// Frames for later.
    late: Vec<(u64, Vec<u8>)>,
    /// Frames that go behind the next one.
    held: Vec<Vec<u8>>,
    /// Something was put into the ring since the thread was in.
    pub(super) has_news: bool,
    pub(super) accept_credit: u32,
    pub(super) accepted: u64,
    pub(super) starved_until: u64,
    /// The host did something that may end the channel.
    pub(super) touched: bool,
}

impl Seat {
    pub(super) fn new(channel: Channel) -> Seat {
        let limits = Limits { message: MAX_REQUEST, total: 2 * MAX_REQUEST, messages: 1024 };
        Seat {
            ring: channel.to_enclave,
            from_enclave: channel.to_host,
            partial: Reassembler::new(limits),
            inbox: VecDeque::new(),
            late: Vec::new(),
            held: Vec::new(),
            has_news: false,
            accept_credit: 0,
            accepted: 0,
            starved_until: 0,
            touched: false,
        }
    }

    pub(super) fn push(&mut self, frame: &ToEnclave<'_>) {
        if let Ok(encoded) = frame.encode() {
            self.push_bytes(encoded.to_vec());
        }
    }

    /// Puts any message into the queue for the ring.
    pub(super) fn push_bytes(&mut self, message: Vec<u8>) {
        self.inbox.push_back(message);
        self.inbox.extend(self.held.drain(..));
    }

    pub(super) fn push_late(&mut self, due: u64, frame: &ToEnclave<'_>) {
        if let Ok(encoded) = frame.encode() {
            self.late.push((due, encoded.to_vec()));
        }
    }

    /// Behind the next frame, or alone when nothing else happens any more.
    pub(super) fn hold(&mut self, frame: &ToEnclave<'_>) {
        if let Ok(encoded) = frame.encode() {
            self.held.push(encoded.to_vec());
        }
    }

    pub(super) fn release(&mut self) -> bool {
        self.inbox.extend(self.held.drain(..));
        !self.inbox.is_empty()
    }

    /// When frames that were kept for later are due.
    pub(super) fn dues(&self) -> impl Iterator<Item = u64> {
        self.late.iter().map(|(due, _)| *due)
    }

    /// Puts what is due into the ring, as far as there is room.
    pub(super) fn flush(&mut self, now: u64) {
        for (_, frame) in self.late.extract_if(.., |(due, _)| *due <= now) {
            self.inbox.push_back(frame);
        }
        while let Some(message) = self.inbox.front() {
            match self.ring.push(&[message]) {
                Ok(true) => {
                    self.has_news = true;
                    self.inbox.pop_front();
                }
                Ok(false) => return,
                // Longer than the ring carries: not even a liar can send it.
                Err(_) => drop(self.inbox.pop_front()),
            }
        }
    }
}
