//! Clients, without sockets: bytes go from the test into a queue, and from there into frames.

use std::collections::VecDeque;

use boundary_wire::frame::{ConnId, DialFailure, FIRST_CREDIT, MAX_CREDIT, MAX_PAYLOAD, ToEnclave};

use super::Host;
use crate::rng::Rng;
use crate::schedule::{Lie, Point};
use crate::storage::altered;

/// One connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientId(usize);

/// How a connection ended, for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In order.
    Closed,
    /// It broke.
    Reset,
}

pub(super) struct Connection {
    /// Thread and id, once it is accepted.
    place: Option<(usize, ConnId)>,
    /// From the client, not yet sent on.
    outgoing: VecDeque<u8>,
    /// What the host may send.
    credit: usize,
    /// For the client.
    incoming: Vec<u8>,
    /// Bytes for the client that go behind the next ones, or later.
    held: Vec<u8>,
    late: Vec<(u64, Vec<u8>)>,
    end: Option<End>,
    touched: bool,
}

impl Connection {
    fn new(place: Option<(usize, ConnId)>) -> Connection {
        Connection {
            place,
            outgoing: VecDeque::new(),
            credit: FIRST_CREDIT as usize,
            incoming: Vec::new(),
            held: Vec::new(),
            late: Vec::new(),
            end: None,
            touched: false,
        }
    }

    pub(super) fn broke(&mut self) {
        self.end.get_or_insert(End::Reset);
    }

    /// When bytes for the client that were kept for later are due.
    pub(super) fn dues(&self) -> impl Iterator<Item = u64> {
        self.late.iter().map(|(due, _)| *due)
    }

    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Gives the client what was to go behind other bytes.
    pub(super) fn release(&mut self) -> bool {
        self.incoming.append(&mut self.held);
        !self.incoming.is_empty()
    }

    fn deliver(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
        self.incoming.append(&mut self.held);
    }
}

impl Host {
    /// A client connects.
    pub fn connect(&mut self) -> ClientId {
        self.connections.push(Connection::new(None));
        ClientId(self.connections.len() - 1)
    }

    /// A client sends.
    pub fn send(&mut self, client: ClientId, bytes: &[u8]) {
        if let Some(connection) = self.connections.get_mut(client.0) {
            connection.outgoing.extend(bytes);
        }
    }

    /// What has come for a client, and whether nothing more will.
    pub fn receive(&mut self, client: ClientId) -> (Vec<u8>, Option<End>) {
        match self.connections.get_mut(client.0) {
            Some(connection) => (std::mem::take(&mut connection.incoming), connection.end),
            None => (Vec::new(), Some(End::Reset)),
        }
    }

    /// A client leaves.
    pub fn leave(&mut self, client: ClientId) {
        let Some(connection) = self.connections.get_mut(client.0) else { return };
        if connection.end.replace(End::Reset).is_none()
            && let Some((index, conn)) = connection.place
            && let Some(seat) = self.seats.get_mut(index)
        {
            seat.push(&ToEnclave::Reset { conn });
        }
    }

    /// Whether the host did something to this connection, or to its thread, that may have ended it.
    pub fn was_touched(&self, client: ClientId) -> bool {
        let Some(connection) = self.connections.get(client.0) else { return true };
        connection.touched
            || match connection.place {
                // While the enclave is away nobody asks.
                Some((index, _)) => self.seats.get(index).is_none_or(|seat| seat.touched),
                None => self.seats.iter().any(|seat| seat.touched),
            }
    }

    /// Moves what clients have sent.
    pub(super) fn feed(&mut self) {
        for index in 0..self.connections.len() {
            self.accept(index);
            while self.feed_one(index) {}
        }
    }

    fn accept(&mut self, index: usize) {
        let waiting = self.connections.get(index).is_some_and(|c| c.place.is_none() && c.end.is_none());
        let seats = self.seats.iter().enumerate();
        let open: Vec<usize> = seats.filter(|(_, seat)| seat.accept_credit > 0).map(|(n, _)| n).collect();
        if !waiting || open.is_empty() {
            return;
        }
        let at = *self.rng.pick(&open);
        let fault = self.fault(Point::Accept);
        let (Some(seat), Some(connection)) = (self.seats.get_mut(at), self.connections.get_mut(index)) else {
            return;
        };
        let peer = ([127, 0, 0, 1], 40_000).into();
        seat.accept_credit -= 1;
        seat.accepted += 1;
        let conn = ConnId::accepted(seat.accepted);
        connection.place = Some((at, conn));
        seat.push(&ToEnclave::Accepted { conn, peer });
        let Some((lie, by)) = fault else { return };
        connection.touched = true;
        match lie {
            Lie::Reset => {
                seat.push(&ToEnclave::Reset { conn });
                connection.broke();
            }
            Lie::Eof => seat.push(&ToEnclave::Eof { conn }),
            Lie::Babble => {
                seat.push(&ToEnclave::Data { conn, bytes: &Rng::new(by).bytes(1 + by as usize % 4000) })
            }
            Lie::Uninvited => {
                seat.touched = true;
                for more in 0..u64::from(seat.accept_credit) + 1 + by % 100 {
                    seat.push(&ToEnclave::Accepted {
                        conn: ConnId::accepted(seat.accepted + 1 + more),
                        peer,
                    });
                }
            }
            // Under the same number, or one before.
            _ => {
                seat.touched = true;
                let conn = ConnId::accepted(1.max(seat.accepted.saturating_sub(by % 3)));
                seat.push(&ToEnclave::Accepted { conn, peer });
            }
        }
    }

    /// Sends one frame for a client. `false`: there is nothing that may be sent.
    fn feed_one(&mut self, index: usize) -> bool {
        let now = self.time.now();
        let Some(connection) = self.connections.get_mut(index) else { return false };
        for (_, bytes) in connection.late.extract_if(.., |(due, _)| *due <= now).collect::<Vec<_>>() {
            connection.deliver(&bytes);
        }
        let Some((at, conn)) = connection.place else { return false };
        let many = connection.outgoing.len().min(connection.credit).min(MAX_PAYLOAD);
        if many == 0 || connection.end.is_some() {
            return false;
        }
        connection.credit -= many;
        let bytes: Vec<u8> = connection.outgoing.drain(..many).collect();
        let fault = self.fault(Point::Inward);
        let (Some(seat), Some(connection)) = (self.seats.get_mut(at), self.connections.get_mut(index)) else {
            return false;
        };
        let data = ToEnclave::Data { conn, bytes: &bytes };
        let Some((lie, by)) = fault else {
            seat.push(&data);
            return true;
        };
        connection.touched = true;
        match lie {
            Lie::Lost => {}
            Lie::Twice => {
                seat.push(&data);
                seat.push(&data);
            }
            Lie::Late => seat.push_late(now + by.saturating_mul(1_000_000), &data),
            Lie::Held => seat.hold(&data),
            Lie::Reset => {
                let part = bytes.get(..by as usize % (many + 1)).unwrap_or_default();
                seat.push(&ToEnclave::Data { conn, bytes: part });
                seat.push(&ToEnclave::Reset { conn });
                connection.broke();
            }
            Lie::Eof => {
                seat.push(&ToEnclave::Eof { conn });
                seat.push(&data);
            }
            Lie::Beyond => {
                let junk = vec![0x17; MAX_PAYLOAD];
                (0..8).for_each(|_| seat.push(&ToEnclave::Data { conn, bytes: &junk }));
            }
            Lie::Credit => seat.push(&ToEnclave::Credit { conn, bytes: MAX_CREDIT }),
            Lie::Unknown => {
                seat.touched = true;
                let never = if by % 2 == 0 {
                    ConnId::accepted(seat.accepted + 1 + by)
                } else {
                    ConnId::dialed(1 + by)
                };
                seat.push(&ToEnclave::Data { conn: never, bytes: &bytes });
            }
            Lie::NoFrame => {
                seat.touched = true;
                seat.push_bytes(Rng::new(by).bytes(by as usize % 200));
            }
            Lie::Drain => {
                seat.touched = true;
                seat.push(&ToEnclave::Drain { grace_ms: u32::try_from(by).unwrap_or(u32::MAX) });
                seat.push(&data);
            }
            lie => seat.push(&ToEnclave::Data { conn, bytes: &altered(bytes.clone(), lie, by) }),
        }
        true
    }

    fn client_of(&self, at: usize, conn: ConnId) -> Option<usize> {
        self.connections.iter().rposition(|c| c.place == Some((at, conn)) && c.end.is_none())
    }

    pub(super) fn on_data(&mut self, at: usize, conn: ConnId, bytes: &[u8]) {
        self.witness.see(("the bytes of thread", at as u64 | conn.0 << 8), bytes);
        let Some(index) = self.client_of(at, conn) else { return };
        let fault = self.fault(Point::Outward);
        let now = self.time.now();
        let (Some(seat), Some(connection)) = (self.seats.get_mut(at), self.connections.get_mut(index)) else {
            return;
        };
        seat.push(&ToEnclave::Credit { conn, bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX) });
        let Some((lie, by)) = fault else { return connection.deliver(bytes) };
        connection.touched = true;
        match lie {
            Lie::Lost => {}
            Lie::Twice => {
                connection.deliver(bytes);
                connection.deliver(bytes);
            }
            Lie::Late => connection.late.push((now + by.saturating_mul(1_000_000), bytes.to_vec())),
            Lie::Held => connection.held.extend_from_slice(bytes),
            Lie::Reset => {
                connection.deliver(bytes.get(..by as usize % (bytes.len() + 1)).unwrap_or_default());
                connection.broke();
                seat.push(&ToEnclave::Reset { conn });
            }
            Lie::Eof => {
                connection.end = Some(End::Closed);
                seat.push(&ToEnclave::Reset { conn });
            }
            lie => connection.deliver(&altered(bytes.to_vec(), lie, by)),
        }
    }

    pub(super) fn on_end(&mut self, at: usize, conn: ConnId, end: End) {
        if let Some(index) = self.client_of(at, conn)
            && let Some(connection) = self.connections.get_mut(index)
        {
            connection.end = Some(end);
        }
    }

    pub(super) fn on_credit(&mut self, at: usize, conn: ConnId, credit: u32) {
        if conn == ConnId::LISTENER {
            if let Some(seat) = self.seats.get_mut(at) {
                seat.accept_credit += credit;
            }
        } else if let Some(index) = self.client_of(at, conn)
            && let Some(connection) = self.connections.get_mut(index)
        {
            connection.credit += credit as usize;
        }
    }

    /// An honest host has no network here, so that nobody is reached.
    pub(super) fn on_dial(&mut self, at: usize, conn: ConnId, host: &str) {
        self.witness.see(("the names that thread dialed", at as u64), host.as_bytes());
        let fault = self.fault(Point::Dial);
        let now = self.time.now();
        let Some(seat) = self.seats.get_mut(at) else { return };
        let failed = ToEnclave::Dialed { conn, result: Err(DialFailure::Refused) };
        let made = ToEnclave::Dialed { conn, result: Ok(()) };
        match fault {
            None => seat.push(&failed),
            Some((Lie::Silent, _)) => {}
            Some((Lie::Late, by)) => seat.push_late(now + by.saturating_mul(1_000_000), &failed),
            Some((Lie::Twice, _)) => {
                seat.push(&made);
                seat.push(&made);
            }
            Some((Lie::Fail, by)) => {
                const ALL: [DialFailure; 4] = [
                    DialFailure::Unreachable,
                    DialFailure::TimedOut,
                    DialFailure::NameNotFound,
                    DialFailure::Other,
                ];
                let result = Err(ALL[by as usize % ALL.len()]);
                seat.push(&ToEnclave::Dialed { conn, result });
            }
            Some((lie, by)) => {
                seat.push(&made);
                if lie == Lie::Babble {
                    seat.push(&ToEnclave::Data { conn, bytes: &Rng::new(by).bytes(1 + by as usize % 4000) });
                }
                seat.push(&if lie == Lie::Reset {
                    ToEnclave::Reset { conn }
                } else {
                    ToEnclave::Eof { conn }
                });
            }
        }
    }
}
