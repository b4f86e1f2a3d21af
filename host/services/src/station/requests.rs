//! Requests of the enclave and the replies that wait for the ring.

use std::collections::VecDeque;

use boundary_ring::host::Producer;
use boundary_wire::frame::{MAX_PAYLOAD, ToEnclave};
use boundary_wire::rpc::{FailureCode, Limits, MAX_REQUEST, Reassembler, Request, Response, RpcError};

use super::feed::push;
use super::poller::Doorbell;
use super::questions::Questions;
use super::{Services, StationError};
use crate::log::Source;
use crate::{quoting, storage};

/// Bytes of replies that may wait; while more do, no request is taken.
const MAX_WAITING: usize = 4 * 1024 * 1024;
/// Requests whose end has not come.
const MAX_PARTIAL: usize = 64;

pub(super) struct Requests {
    partial: Reassembler,
    questions: Questions,
    replies: VecDeque<Reply>,
    waiting: usize,
}

struct Reply {
    id: u64,
    bytes: Vec<u8>,
    sent: usize,
}

impl Requests {
    pub(super) fn new() -> Self {
        let limits = Limits { message: MAX_REQUEST, total: 2 * MAX_REQUEST, messages: MAX_PARTIAL };
        let partial = Reassembler::new(limits);
        Requests { partial, questions: Questions::new(), replies: VecDeque::new(), waiting: 0 }
    }

    /// Too many replies wait for the ring.
    pub(super) fn is_blocked(&self) -> bool {
        self.waiting >= MAX_WAITING
    }

    /// Takes a fragment, and answers the request if it is the last: at once, but for questions to the quoting
    /// enclave, whose answers come through [`Requests::take_answers`].
    pub(super) fn take(
        &mut self,
        id: u64,
        last: bool,
        bytes: &[u8],
        thread: u16,
        services: &Services,
        doorbell: &Doorbell,
    ) -> Result<(), StationError> {
        let Some(message) = self.partial.push(id, last, bytes)? else { return Ok(()) };
        let request = Request::decode(&message)?;
        let response = match (&request, &services.quoting) {
            (Request::TargetInfo | Request::Quote { .. } | Request::Collateral, Some(quoting)) => {
                self.questions.ask(id, request, quoting, doorbell)
            }
            _ => Some(answer(&request, thread, services)),
        };
        response.map_or(Ok(()), |response| self.reply(id, &response))
    }

    /// Takes what the quoting enclave has answered since the doorbell rang.
    pub(super) fn take_answers(&mut self) -> Result<(), StationError> {
        while let Some(answer) = self.questions.answer() {
            self.reply(answer.id, &answer.response)?;
        }
        Ok(())
    }

    /// Nobody waits for an answer any more.
    pub(super) fn stop(&mut self) {
        self.questions = Questions::new();
    }

    fn reply(&mut self, id: u64, response: &Response) -> Result<(), StationError> {
        let bytes = match response.encode() {
            Ok(bytes) => bytes,
            Err(error) => unsendable(&error).encode()?,
        };
        self.waiting += bytes.len();
        self.replies.push_back(Reply { id, bytes, sent: 0 });
        Ok(())
    }

    /// Pushes replies, counting the frames. `false`: the ring is full.
    pub(super) fn push(&mut self, ring: &mut Producer, pushed: &mut u64) -> Result<bool, StationError> {
        while let Some(reply) = self.replies.front_mut() {
            let rest = reply.bytes.get(reply.sent..).unwrap_or_default();
            let part = rest.get(..MAX_PAYLOAD).unwrap_or(rest);
            let last = part.len() == rest.len();
            if !push(ring, &ToEnclave::Reply { id: reply.id, last, bytes: part })? {
                return Ok(false);
            }
            *pushed += 1;
            reply.sent += part.len();
            if last {
                self.waiting = self.waiting.saturating_sub(reply.bytes.len());
                self.replies.pop_front();
            }
        }
        Ok(true)
    }
}

fn answer(request: &Request, thread: u16, services: &Services) -> Response {
    if let Request::Log(line) = request {
        services.log.line(line.level, Source::Enclave(thread), &line.target, &line.message);
        return Response::Done;
    }
    storage::answer(&*services.storage, request)
        // Where there is quoting, its questions went to a thread of their own.
        .or_else(|| quoting::answer(None, request))
        .unwrap_or_else(|| Response::failed(FailureCode::Unsupported, "this host has no such service"))
}

/// A service answered more than a response holds: its fault, and no reason to stop the station.
fn unsendable(error: &RpcError) -> Response {
    Response::failed(FailureCode::Internal, &format!("the answer cannot be sent: {error}"))
}
