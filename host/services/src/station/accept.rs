//! Connections that clients make.

use boundary_wire::frame::ConnId;
use boundary_wire::rpc::LogLevel;

use super::connection::Connection;
use super::{Station, StationError, system};
use crate::clock;
use crate::network::AcceptError;

/// Connections accepted in one turn, so that stations share a burst.
const ACCEPT_AT_ONCE: u32 = 16;
/// How long accepting pauses when the process is out of descriptors, or the host at its most connections.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listening {
    /// Not watched: no credit, or no listener.
    Off,
    On,
    PausedUntil(u64),
}

impl Station {
    pub(super) fn update_listener(&mut self) -> Result<(), StationError> {
        let Some(listener) = &self.listener else { return Ok(()) };
        let wanted = self.accept_credit > 0 && !self.drained;
        let has_room = self.services.control.has_room();
        match self.listening {
            Listening::On if !wanted || !has_room => {
                self.poller.forget_listener(listener).map_err(system("leaving the listener"))?;
                self.listening = Listening::Off;
                return self.update_listener();
            }
            Listening::Off if wanted && has_room => {
                self.poller.watch_listener(listener).map_err(system("watching the listener"))?;
                self.listening = Listening::On;
            }
            // Room is made by another station's connections, whose end nobody tells this one.
            Listening::Off if wanted => self.pause_accepting(),
            Listening::PausedUntil(at) if at <= clock::monotonic_ns() => {
                self.listening = Listening::Off;
                return self.update_listener();
            }
            _ => {}
        }
        Ok(())
    }

    fn pause_accepting(&mut self) {
        let until = clock::monotonic_ns().saturating_add(ACCEPT_PAUSE_NS);
        self.listening = Listening::PausedUntil(until);
    }

    pub(super) fn accept(&mut self) -> Result<(), StationError> {
        let Some(listener) = self.listener.clone() else { return Ok(()) };
        for _ in 0..ACCEPT_AT_ONCE.min(self.accept_credit) {
            if self.drained || !self.services.control.has_room() {
                break;
            }
            match listener.accept() {
                Ok((socket, peer)) => {
                    let id = ConnId::accepted(self.last_accepted.0 + 1);
                    if self.poller.watch(&socket, id.0).is_err() {
                        continue;
                    }
                    self.last_accepted = id;
                    self.accept_credit -= 1;
                    self.insert(Connection::accepted(id, socket, peer));
                    self.queue_owed(id.0);
                    self.queue_read(id.0);
                }
                Err(AcceptError::Empty) => break,
                Err(AcceptError::Retry) => {}
                Err(AcceptError::Exhausted) => {
                    let text = "out of file descriptors or memory: no new connections for a moment \
                                (raise the limit with `ulimit -n`)";
                    self.services.log.host(LogLevel::Warn, text);
                    self.poller.forget_listener(&listener).map_err(system("leaving the listener"))?;
                    self.pause_accepting();
                    break;
                }
            }
        }
        Ok(())
    }
}
