//! What the enclave sends, and what the station does about it.

use boundary_wire::frame::{ConnId, ToHost};

use super::connection::{Connection, Moved, Phase};
use super::{LINGER_NS, Station, StationError, Violation};
use crate::clock;

/// Frames taken from the enclave in one turn.
const MAX_FRAMES: u32 = 4096;

/// What a frame asks of the station, once the message it came in is consumed.
enum News {
    Nothing,
    Late(ConnId),
    Data(ConnId, Moved),
    Dial(ConnId, String, u16),
    Invited(u32),
    Credit(ConnId, u32),
    Eof(ConnId),
    Reset(ConnId),
    Closed(ConnId),
}

impl Station {
    /// Acts on what the enclave sent. `true`: there may be more.
    pub(super) fn take_frames(&mut self) -> Result<bool, StationError> {
        for _ in 0..MAX_FRAMES {
            if self.requests.is_blocked() {
                self.requests.push(&mut self.ring, &mut self.pushed)?;
                if self.requests.is_blocked() {
                    return Ok(false);
                }
            }
            // The consumer is borrowed by the message, the rest of the station by what acts on it.
            let Station { from_enclave, connections, .. } = self;
            let Some(message) = from_enclave.peek()? else { return Ok(false) };
            let news = match ToHost::decode(message.host_slice())? {
                ToHost::Data { conn, bytes } => match connections.get_mut(&conn.0) {
                    // Sent from the ring itself.
                    Some(connection) => News::Data(conn, connection.on_data_if_open(bytes)?),
                    None => News::Late(conn),
                },
                ToHost::Request { id, last, bytes } => {
                    let doorbell = self.poller.doorbell();
                    self.requests.take(id, last, bytes, self.thread, &self.services, doorbell)?;
                    News::Nothing
                }
                ToHost::Dial { conn, port, host } => News::Dial(conn, host.to_owned(), port),
                ToHost::Credit { conn: ConnId::LISTENER, bytes } => News::Invited(bytes),
                ToHost::Credit { conn, bytes } => News::Credit(conn, bytes),
                ToHost::Eof { conn } => News::Eof(conn),
                ToHost::Reset { conn } => News::Reset(conn),
                ToHost::Closed { conn } => News::Closed(conn),
            };
            message.consume();
            self.act(news)?;
        }
        Ok(true)
    }

    fn act(&mut self, news: News) -> Result<(), StationError> {
        match news {
            News::Nothing => {}
            News::Late(conn) => self.check_late(conn)?,
            News::Data(conn, moved) => self.after_write(conn.0, moved),
            News::Dial(conn, host, port) => self.dial(conn, &host, port)?,
            News::Invited(count) => {
                self.invited = true;
                self.accept_credit = self.accept_credit.saturating_add(count);
            }
            News::Credit(conn, bytes) => {
                if let Some(connection) = self.open(conn)? {
                    connection.on_credit(bytes)?;
                    self.queue_read(conn.0);
                }
            }
            News::Eof(conn) => {
                if let Some(connection) = self.open(conn)? {
                    connection.on_eof()?;
                }
            }
            News::Reset(conn) => {
                self.check_late(conn)?;
                if let Some(connection) = self.connections.get_mut(&conn.0) {
                    connection.abort();
                    self.forget(conn.0);
                }
            }
            News::Closed(conn) => {
                let now = clock::monotonic_ns();
                if let Some(connection) = self.open(conn)? {
                    if connection.on_closed(now) {
                        self.forget(conn.0);
                    } else {
                        self.lingering.push_back((now.saturating_add(LINGER_NS), conn.0));
                        self.queue_read(conn.0);
                    }
                }
            }
        }
        Ok(())
    }

    /// An open connection; `None` for one that was open and has been forgotten.
    fn open(&mut self, conn: ConnId) -> Result<Option<&mut Connection>, StationError> {
        self.check_late(conn)?;
        match self.connections.get_mut(&conn.0) {
            Some(c) if matches!(c.phase, Phase::Open) => Ok(Some(c)),
            Some(_) => Err(Violation::NotOpen { id: conn }.into()),
            None => Ok(None),
        }
    }

    /// Frames may cross with the `Reset` that forgot their connection; only one that never was is a violation.
    fn check_late(&self, conn: ConnId) -> Result<(), StationError> {
        let last = if conn.is_dialed() { self.last_dialed } else { self.last_accepted };
        let first = if conn.is_dialed() { ConnId::dialed(1) } else { ConnId::accepted(1) };
        if (first..=last).contains(&conn) { Ok(()) } else { Err(Violation::Unknown { id: conn }.into()) }
    }
}
