//! What the enclave sends, and what it is answered.

use boundary_wire::frame::{MAX_PAYLOAD, ToEnclave, ToHost};
use boundary_wire::rpc::{FailureCode, MAX_RESPONSE, Request, Response, fragments};

use super::{End, Host, Stuck};
use crate::rng::Rng;
use crate::schedule::{Lie, Point};

impl Host {
    /// Takes all that the enclave has sent, and gives it what is there for it.
    pub(super) fn serve(&mut self) -> Result<(), Stuck> {
        for at in 0..self.seats.len() {
            while let Some(frame) = self.take(at)? {
                self.act(at, &frame)?;
            }
        }
        self.feed();
        let now = self.time.now();
        self.seats.iter_mut().for_each(|seat| seat.flush(now));
        Ok(())
    }

    fn take(&mut self, at: usize) -> Result<Option<Vec<u8>>, Stuck> {
        let Some(seat) = self.seats.get_mut(at) else { return Ok(None) };
        let broken = |error: &dyn std::fmt::Display| Stuck::Test(format!("the enclave's ring: {error}"));
        let Some(message) = seat.from_enclave.peek().map_err(|error| broken(&error))? else {
            return Ok(None);
        };
        let mut frame = Vec::new();
        message.copy_to(&mut frame);
        message.consume();
        self.witness.see(("the ring of thread", at as u64), &frame);
        Ok(Some(frame))
    }

    fn act(&mut self, at: usize, frame: &[u8]) -> Result<(), Stuck> {
        let broken =
            |error: &dyn std::fmt::Display| Stuck::Test(format!("the enclave broke the protocol: {error}"));
        match ToHost::decode(frame).map_err(|error| broken(&error))? {
            ToHost::Data { conn, bytes } => self.on_data(at, conn, bytes),
            ToHost::Dial { conn, host, .. } => self.on_dial(at, conn, host),
            ToHost::Credit { conn, bytes } => self.on_credit(at, conn, bytes),
            // A client that reads to the end has it when the connection is over.
            ToHost::Eof { .. } => {}
            ToHost::Reset { conn } => self.on_end(at, conn, End::Reset),
            ToHost::Closed { conn } => self.on_end(at, conn, End::Closed),
            ToHost::Request { id, last, bytes } => {
                self.witness.see(("the requests of thread", at as u64), bytes);
                let Some(seat) = self.seats.get_mut(at) else { return Ok(()) };
                let message = seat.partial.push(id, last, bytes).map_err(|error| broken(&error))?;
                let Some(message) = message else { return Ok(()) };
                let request = Request::decode(&message).map_err(|error| broken(&error))?;
                self.on_request(at, id, &request);
            }
        }
        Ok(())
    }

    fn on_request(&mut self, at: usize, id: u64, request: &Request) {
        let point = match request {
            Request::KvGet { .. } => Point::Get,
            Request::KvScan { .. } => Point::Scan,
            Request::KvBatch { .. } => Point::Batch,
            Request::Log(line) => {
                self.log.push(format!("{}: {}", line.target, line.message));
                Point::Log
            }
            Request::Quote { .. } | Request::TargetInfo | Request::Collateral => Point::Quote,
        };
        let fault = self.fault(point);
        if let (Request::KvBatch { .. }, None, 1..) = (request, fault, self.refusing.0) {
            self.refusing.0 -= 1;
            let code = if self.refusing.1 == Lie::Full { FailureCode::Full } else { FailureCode::Io };
            return self.reply(at, id, &Response::failed(code, "the disk cannot be written"));
        }
        match fault {
            None => {
                let answer = self.honest_answer(request);
                self.reply(at, id, &answer);
            }
            Some((lie, by)) => self.lie_to(at, id, request, lie, by),
        }
    }

    fn honest_answer(&mut self, request: &Request) -> Response {
        match request {
            Request::Log(_) => Response::Done,
            request => self
                .machine
                .storage
                .answer(request)
                .unwrap_or_else(|| Response::failed(FailureCode::Unsupported, "this host has no quotes")),
        }
    }

    /// Lies about how an answer is given, which are the same for all; the others are the storage's.
    fn lie_to(&mut self, at: usize, id: u64, request: &Request, lie: Lie, by: u64) {
        let due = self.time.now() + by.saturating_mul(1_000_000);
        match lie {
            Lie::Silent => {}
            Lie::Fail => {
                const CODES: [FailureCode; 7] = [
                    FailureCode::Unsupported,
                    FailureCode::BadRequest,
                    FailureCode::Io,
                    FailureCode::Full,
                    FailureCode::Busy,
                    FailureCode::Unavailable,
                    FailureCode::Internal,
                ];
                let code = CODES[by as usize % CODES.len()];
                self.reply(at, id, &Response::failed(code, "the host has its reasons"));
            }
            Lie::Full | Lie::ReadOnly => {
                self.refusing = (by % 50, lie);
                let code = if lie == Lie::Full { FailureCode::Full } else { FailureCode::Io };
                self.reply(at, id, &Response::failed(code, "the disk cannot be written"));
            }
            Lie::WrongKind => {
                let other = match request {
                    Request::KvBatch { .. } | Request::Log(_) => Response::KvValue(None),
                    _ => Response::Done,
                };
                self.reply(at, id, &other);
            }
            Lie::Late | Lie::Twice | Lie::Held | Lie::Nobody => {
                let bytes = self.honest_answer(request).encode().unwrap_or_default();
                if matches!(lie, Lie::Twice | Lie::Nobody) {
                    self.touch(at);
                }
                let Some(seat) = self.seats.get_mut(at) else { return };
                for (last, bytes) in fragments(&bytes) {
                    let frame = ToEnclave::Reply { id, last, bytes };
                    match lie {
                        Lie::Late => seat.push_late(due, &frame),
                        Lie::Held => seat.hold(&frame),
                        _ => seat.push(&frame),
                    }
                }
                if lie == Lie::Nobody {
                    seat.push(&ToEnclave::Reply { id: id + 1000 + by, last: true, bytes: &bytes });
                }
                if lie == Lie::Twice {
                    fragments(&bytes)
                        .for_each(|(last, bytes)| seat.push(&ToEnclave::Reply { id, last, bytes }));
                }
            }
            Lie::Unfinished => {
                let bytes = Rng::new(by).bytes(1 + by as usize % MAX_PAYLOAD);
                if let Some(seat) = self.seats.get_mut(at) {
                    seat.push(&ToEnclave::Reply { id, last: false, bytes: &bytes });
                }
            }
            Lie::Endless => {
                self.touch(at);
                let bytes = vec![1; MAX_PAYLOAD];
                for _ in 0..=MAX_RESPONSE / MAX_PAYLOAD {
                    if let Some(seat) = self.seats.get_mut(at) {
                        seat.push(&ToEnclave::Reply { id, last: false, bytes: &bytes });
                    }
                }
            }
            Lie::Garbage => {
                self.touch(at);
                let bytes = Rng::new(by).bytes(by as usize % 300);
                self.reply_bytes(at, id, &bytes);
            }
            lie => {
                // What a whole earlier store is, nobody can tell from the truth.
                self.rolled_back |=
                    matches!(request, Request::KvScan { .. }) && matches!(lie, Lie::Stale | Lie::Empty);
                self.unstored |= matches!(lie, Lie::Ignored | Lie::Torn);
                if let Some(answer) = self.machine.storage.lie(request, lie, by) {
                    self.reply(at, id, &answer);
                }
            }
        }
    }

    fn reply(&mut self, at: usize, id: u64, answer: &Response) {
        match answer.encode() {
            Ok(bytes) => self.reply_bytes(at, id, &bytes),
            // A lie that has no encoding is told as one byte that is nothing.
            Err(_) => {
                self.touch(at);
                self.reply_bytes(at, id, &[0xff]);
            }
        }
    }

    fn reply_bytes(&mut self, at: usize, id: u64, bytes: &[u8]) {
        if let Some(seat) = self.seats.get_mut(at) {
            fragments(bytes).for_each(|(last, bytes)| seat.push(&ToEnclave::Reply { id, last, bytes }));
        }
    }

    /// Nothing else happens: what was to go behind the next thing goes now.
    pub(super) fn release_held(&mut self) -> bool {
        let mut released = false;
        self.seats.iter_mut().for_each(|seat| released |= seat.release());
        for connection in self.connections.iter_mut().filter(|connection| connection.holds()) {
            released |= connection.release();
        }
        released
    }
}
