//! Everything that happens on one channel, as one state machine: frames in, frames out, who is woken.
//!
//! Every method collects the wakers it takes in `wakes`; they are woken after the lock is released.

mod tasks;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::task::Waker;
use std::time::Duration;

use boundary_ring::Producer;
use boundary_wire::frame::{ConnId, ToEnclave, ToHost};

use crate::calls::Calls;
use crate::error::HostMisbehaved;
use crate::log::LogQueue;
use crate::streams::{End, Failure, Stream};
use crate::wait_list::WaitList;

/// Connections that may wait for `accept`.
pub(crate) const BACKLOG: u32 = 128;

/// What the connections of one worker may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Connections, dialed ones included.
    pub(crate) connections: usize,
    /// Bytes received and not yet read, beyond the first credit of each connection.
    pub(crate) spare: usize,
}

pub(crate) struct Reactor {
    output: Producer,
    connections: usize,
    /// What is left of [`Share::spare`].
    spare: usize,
    streams: HashMap<u64, Stream>,
    /// Connections with something owed, each at most once.
    owing: VecDeque<u64>,
    last_accepted: ConnId,
    dials: u64,
    listening: bool,
    /// Connections that the host may still send.
    accept_window: u32,
    owed_accepts: u32,
    backlog: VecDeque<u64>,
    accepters: WaitList,
    pub(crate) calls: Calls,
    pub(crate) log: LogQueue,
    /// Writers that found the ring full.
    ring_waiters: WaitList,
    draining: Option<Duration>,
    drainers: WaitList,
    failure: Option<HostMisbehaved>,
}

impl Reactor {
    pub(crate) fn new(output: Producer, share: Share) -> Self {
        Reactor {
            output,
            connections: share.connections,
            spare: share.spare,
            streams: HashMap::new(),
            owing: VecDeque::new(),
            last_accepted: ConnId::LISTENER,
            dials: 0,
            listening: false,
            accept_window: 0,
            owed_accepts: 0,
            backlog: VecDeque::new(),
            accepters: WaitList::default(),
            calls: Calls::default(),
            log: LogQueue::default(),
            ring_waiters: WaitList::default(),
            draining: None,
            drainers: WaitList::default(),
            failure: None,
        }
    }

    // ---- from the host ----

    /// Acts on one frame. What it may do wrong to a single connection is settled here; an error ends the
    /// channel.
    pub(crate) fn on_frame(
        &mut self,
        frame: ToEnclave<'_>,
        wakes: &mut Vec<Waker>,
    ) -> Result<(), HostMisbehaved> {
        match frame {
            ToEnclave::Accepted { conn, peer } => self.on_accepted(conn, Stream::accepted(peer), wakes),
            ToEnclave::Dialed { conn, result } => {
                self.on_stream(conn, wakes, |s, id, w| s.on_dialed(id, result, w))
            }
            ToEnclave::Data { conn, bytes } => {
                self.on_stream(conn, wakes, |s, id, w| s.on_data(id, bytes, w))
            }
            ToEnclave::Eof { conn } => self.on_stream(conn, wakes, Stream::on_eof),
            ToEnclave::Credit { conn, bytes } => {
                self.on_stream(conn, wakes, |s, id, w| s.on_credit(id, bytes, w))
            }
            ToEnclave::Reset { conn } => self.on_stream(conn, wakes, Stream::on_reset),
            ToEnclave::Reply { id, last, bytes } => self.calls.on_reply(id, last, bytes, wakes),
            ToEnclave::Drain { grace_ms } => {
                self.drain(Duration::from_millis(u64::from(grace_ms)), wakes);
                Ok(())
            }
        }
    }

    fn on_accepted(
        &mut self,
        conn: ConnId,
        stream: Stream,
        wakes: &mut Vec<Waker>,
    ) -> Result<(), HostMisbehaved> {
        let id = conn.0;
        if conn.is_dialed() || conn <= self.last_accepted {
            return Err(HostMisbehaved::ConnectionReused { id });
        }
        let Some(window) = self.accept_window.checked_sub(1) else {
            return Err(HostMisbehaved::Uninvited { id });
        };
        self.accept_window = window;
        self.last_accepted = conn;
        self.streams.insert(id, stream);
        if self.draining.is_some() {
            self.let_go(id);
        } else {
            self.backlog.push_back(id);
            wakes.extend(self.accepters.take_first());
        }
        Ok(())
    }

    fn on_stream(
        &mut self,
        conn: ConnId,
        wakes: &mut Vec<Waker>,
        act: impl FnOnce(&mut Stream, u64, &mut Vec<Waker>) -> Result<(), HostMisbehaved>,
    ) -> Result<(), HostMisbehaved> {
        let id = conn.0;
        let Some(stream) = self.streams.get_mut(&id) else {
            // Frames may cross with the `Reset` or `Closed` that forgot the connection.
            let last = if conn.is_dialed() { ConnId::dialed(self.dials) } else { self.last_accepted };
            let first = if conn.is_dialed() { ConnId::dialed(1) } else { ConnId::accepted(1) };
            return if (first..=last).contains(&conn) {
                Ok(())
            } else {
                Err(HostMisbehaved::UnknownConnection { id })
            };
        };
        if let Err(lie) = act(stream, id, wakes) {
            if !stream.gone {
                stream.owed.end = Some(End::Reset);
            }
            stream.fail(Failure::Misbehaved(lie), wakes);
            self.owes(id);
        }
        self.forget_if_over(id);
        Ok(())
    }

    /// Ends the channel: nothing that the host says is believed any more.
    pub(crate) fn fail(&mut self, lie: HostMisbehaved, wakes: &mut Vec<Waker>) {
        if self.failure.is_some() {
            return;
        }
        for stream in self.streams.values_mut() {
            stream.gone = true;
            stream.owed.queued = false;
            stream.fail(Failure::Misbehaved(lie.clone()), wakes);
        }
        self.owing.clear();
        self.backlog.clear();
        self.calls.fail(&lie, wakes);
        self.accepters.take_all(wakes);
        self.drainers.take_all(wakes);
        self.ring_waiters.take_all(wakes);
        self.failure = Some(lie);
    }

    pub(crate) fn failure(&self) -> Option<&HostMisbehaved> {
        self.failure.as_ref()
    }

    /// Stops taking connections. What waits for `accept` is reset, open connections go on.
    pub(crate) fn drain(&mut self, grace: Duration, wakes: &mut Vec<Waker>) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(grace);
        for id in std::mem::take(&mut self.backlog) {
            self.let_go(id);
        }
        self.accepters.take_all(wakes);
        self.drainers.take_all(wakes);
    }

    /// The worker ends: whoever still waits for something of it, on other threads, is told.
    pub(crate) fn stop(&mut self, wakes: &mut Vec<Waker>) {
        self.drain(Duration::ZERO, wakes);
        self.calls.stop(wakes);
    }

    // ---- to the host ----

    /// Puts what is owed into the ring, as far as it has room, and lets writers try again.
    pub(crate) fn flush(&mut self, wakes: &mut Vec<Waker>) {
        if self.failure.is_some() {
            return;
        }
        if let Err(lie) = self.try_flush(wakes) {
            self.fail(lie, wakes);
        }
    }

    /// How far the ring was filled: another value when there is something new in it for the host.
    pub(crate) fn sent_to(&self) -> u64 {
        self.output.sent_to()
    }

    /// Something waits for room in the ring: it is the host's turn.
    pub(crate) fn is_blocked(&self) -> bool {
        self.failure.is_none()
            && (!self.owing.is_empty()
                || self.owed_accepts > 0
                || self.calls.is_blocked()
                || !self.ring_waiters.is_empty())
    }

    fn try_flush(&mut self, wakes: &mut Vec<Waker>) -> Result<(), HostMisbehaved> {
        if self.owed_accepts > 0 {
            let credit = ToHost::Credit { conn: ConnId::LISTENER, bytes: self.owed_accepts };
            if !send(&mut self.output, &credit)? {
                return Ok(());
            }
            self.accept_window = self.accept_window.saturating_add(self.owed_accepts);
            self.owed_accepts = 0;
        }
        while let Some(&id) = self.owing.front() {
            if !self.pay(id)? {
                return Ok(());
            }
            self.owing.pop_front();
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.owed.queued = false;
            }
            self.forget_if_over(id);
        }
        if !self.calls.flush(&mut self.output, wakes)?
            || !self.log.flush(&mut self.calls, &mut self.output, wakes)?
        {
            return Ok(());
        }
        if !self.ring_waiters.is_empty() {
            let room = self.output.max_message();
            if self.output.reserve(room)?.is_some() {
                self.ring_waiters.take_all(wakes);
            }
        }
        Ok(())
    }

    /// Sends what one connection owes. `false`: the ring is full.
    fn pay(&mut self, id: u64) -> Result<bool, HostMisbehaved> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(true) };
        let (conn, owed, output) = (ConnId(id), &mut stream.owed, &mut self.output);
        if stream.gone {
            return Ok(true);
        }
        if owed.end == Some(End::Reset) {
            let sent = send(output, &ToHost::Reset { conn })?;
            stream.gone = sent;
            return Ok(sent);
        }
        if let Some((host, port)) = &owed.dial {
            if !send(output, &ToHost::Dial { conn, port: *port, host })? {
                return Ok(false);
            }
            owed.dial = None;
        }
        if owed.credit > 0 {
            if !send(output, &ToHost::Credit { conn, bytes: owed.credit })? {
                return Ok(false);
            }
            owed.credit = 0;
        }
        if owed.eof {
            if !send(output, &ToHost::Eof { conn })? {
                return Ok(false);
            }
            owed.eof = false;
        }
        if owed.end == Some(End::Closed) {
            stream.gone = send(output, &ToHost::Closed { conn })?;
            return Ok(stream.gone);
        }
        Ok(true)
    }

    fn owes(&mut self, id: u64) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.gone
            && !std::mem::replace(&mut stream.owed.queued, true)
        {
            self.owing.push_back(id);
        }
    }

    /// Removes a connection that both sides have let go of, and makes room for a new one.
    fn forget_if_over(&mut self, id: u64) {
        if self.streams.get(&id).is_some_and(|s| s.gone && s.dropped && !s.owed.queued) {
            if let Some(stream) = self.streams.remove(&id) {
                self.spare = self.spare.saturating_add(stream.receive.taken());
            }
            self.invite();
        }
    }

    /// Gives the host accept credit, in portions.
    fn invite(&mut self) {
        if !self.listening || self.draining.is_some() || self.failure.is_some() {
            return;
        }
        let waiting = u32::try_from(self.backlog.len()).unwrap_or(BACKLOG);
        let outstanding = self.accept_window.saturating_add(self.owed_accepts).saturating_add(waiting);
        let free = self.connections.saturating_sub(self.streams.len().saturating_sub(self.backlog.len()));
        let wanted = BACKLOG.min(u32::try_from(free).unwrap_or(BACKLOG)).saturating_sub(outstanding);
        if wanted >= BACKLOG / 4 || (wanted > 0 && outstanding == 0) {
            self.owed_accepts = self.owed_accepts.saturating_add(wanted);
        }
    }
}

/// Puts one frame into the ring. `false`: it is full.
pub(crate) fn send(output: &mut Producer, frame: &ToHost<'_>) -> Result<bool, HostMisbehaved> {
    let Ok(encoded) = frame.encode() else {
        debug_assert!(false, "what is sent was checked where it was made");
        return Ok(true);
    };
    Ok(output.push(&encoded.parts())?)
}
