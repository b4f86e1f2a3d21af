//! Requests to the host and their replies.

use std::collections::{HashMap, VecDeque};
use std::task::{Context, Poll, Waker};

use boundary_ring::Producer;
use boundary_wire::frame::{MAX_PAYLOAD, ToHost};
use boundary_wire::rpc::{Limits, MAX_RESPONSE, Reassembler, Response};
use futures_channel::oneshot;

use crate::error::{HostMisbehaved, RpcError};
use crate::reactor::send;
use crate::wait_list::{Place, WaitList};

/// Requests without a reply. More wait.
pub(crate) const MAX_CALLS: usize = 256;
/// Bytes of requests that wait for the ring. More wait at their callers.
const MAX_OUTGOING: usize = 4 * 1024 * 1024;
/// Bytes of replies whose end has not come.
const MAX_PARTIAL_REPLIES: usize = 8 * MAX_RESPONSE;

pub(crate) type Reply = oneshot::Receiver<Result<Response, RpcError>>;

pub(crate) struct Calls {
    last_id: u64,
    /// Requests without a reply, those whose caller has given up included: their replies are expected.
    pending: HashMap<u64, oneshot::Sender<Result<Response, RpcError>>>,
    replies: Reassembler,
    outgoing: VecDeque<Outgoing>,
    outgoing_bytes: usize,
    callers: WaitList,
    failure: Option<HostMisbehaved>,
    stopped: bool,
}

struct Outgoing {
    id: u64,
    bytes: Vec<u8>,
    sent: usize,
}

impl Default for Calls {
    fn default() -> Self {
        let limits = Limits { message: MAX_RESPONSE, total: MAX_PARTIAL_REPLIES, messages: MAX_CALLS };
        Calls {
            last_id: 0,
            pending: HashMap::new(),
            replies: Reassembler::new(limits),
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            callers: WaitList::default(),
            failure: None,
            stopped: false,
        }
    }
}

impl Calls {
    /// Takes over a request when there is room for it.
    pub(crate) fn poll_submit(
        &mut self,
        request: &mut Vec<u8>,
        place: &mut Place,
        cx: &Context<'_>,
    ) -> Poll<Result<Reply, RpcError>> {
        if let Some(lie) = &self.failure {
            return Poll::Ready(Err(lie.clone().into()));
        }
        if self.stopped {
            return Poll::Ready(Err(RpcError::Stopping));
        }
        let fits =
            self.outgoing.is_empty() || self.outgoing_bytes.saturating_add(request.len()) <= MAX_OUTGOING;
        if !self.has_room() || !fits {
            self.callers.wait(place, cx);
            return Poll::Pending;
        }
        self.callers.leave(place);
        Poll::Ready(Ok(self.push(std::mem::take(request))))
    }

    /// A place in the queue was given up. What it was woken for goes to the next.
    pub(crate) fn leave(&mut self, place: &mut Place, wakes: &mut Vec<Waker>) {
        if self.callers.leave(place) {
            wakes.extend(self.callers.take_first());
        }
    }

    /// Whether one more request may be made.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.len() < MAX_CALLS
    }

    /// Queues a request.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) -> Reply {
        let (caller, reply) = oneshot::channel();
        self.last_id += 1;
        self.pending.insert(self.last_id, caller);
        self.outgoing_bytes = self.outgoing_bytes.saturating_add(bytes.len());
        self.outgoing.push_back(Outgoing { id: self.last_id, bytes, sent: 0 });
        reply
    }

    pub(crate) fn is_blocked(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Sends fragments while the ring has room. `false`: it is full.
    pub(crate) fn flush(
        &mut self,
        output: &mut Producer,
        wakes: &mut Vec<Waker>,
    ) -> Result<bool, HostMisbehaved> {
        while let Some(request) = self.outgoing.front_mut() {
            let rest = request.bytes.get(request.sent..).unwrap_or_default();
            let part = rest.get(..MAX_PAYLOAD).unwrap_or(rest);
            let last = part.len() == rest.len();
            if !send(output, &ToHost::Request { id: request.id, last, bytes: part })? {
                return Ok(false);
            }
            request.sent += part.len();
            if last {
                self.outgoing_bytes = self.outgoing_bytes.saturating_sub(request.bytes.len());
                self.outgoing.pop_front();
                wakes.extend(self.callers.take_first());
            }
        }
        Ok(true)
    }

    /// The host said `Reply`. An error ends the channel.
    pub(crate) fn on_reply(
        &mut self,
        id: u64,
        last: bool,
        bytes: &[u8],
        wakes: &mut Vec<Waker>,
    ) -> Result<(), HostMisbehaved> {
        let unsent = self.outgoing.iter().any(|request| request.id == id);
        if unsent || !self.pending.contains_key(&id) {
            return Err(HostMisbehaved::ReplyToNobody { id });
        }
        let Some(message) = self.replies.push(id, last, bytes)? else { return Ok(()) };
        let response = Response::decode(&message).map_err(|reason| HostMisbehaved::Reply { id, reason })?;
        let result = match response {
            Response::Failed { code, message } => Err(RpcError::Failed { code, message }),
            response => Ok(response),
        };
        if let Some(caller) = self.pending.remove(&id) {
            // A caller that has given up has no use for it.
            drop(caller.send(result));
        }
        wakes.extend(self.callers.take_first());
        Ok(())
    }

    /// The worker ends: nobody gets an answer any more.
    pub(crate) fn stop(&mut self, wakes: &mut Vec<Waker>) {
        // Callers see that their side of the answer is gone.
        self.pending.clear();
        self.outgoing.clear();
        self.outgoing_bytes = 0;
        self.callers.take_all(wakes);
        self.stopped = true;
    }

    pub(crate) fn fail(&mut self, lie: &HostMisbehaved, wakes: &mut Vec<Waker>) {
        for (_, caller) in self.pending.drain() {
            drop(caller.send(Err(lie.clone().into())));
        }
        self.outgoing.clear();
        self.outgoing_bytes = 0;
        self.callers.take_all(wakes);
        self.failure = Some(lie.clone());
    }
}
