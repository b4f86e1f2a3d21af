//! The resources `incoming-response` and `future-incoming-response`.

use enclave_worker::Task;
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use super::incoming_body::{Arriving, IncomingBody};
use super::{ErrorCode, Fields};
use crate::WasiCtx;
use crate::bindings::wasi::http::types::{HostFutureIncomingResponse, HostIncomingResponse};

/// The type of `incoming-response`.
pub struct IncomingResponse {
    status: u16,
    headers: Fields,
    body: Option<IncomingBody>,
}

type Outcome = Result<http::Response<Arriving>, ErrorCode>;

/// The type of `future-incoming-response`. Dropped, the request is given up.
pub struct FutureIncomingResponse(State);

enum State {
    Pending(Task<Outcome>),
    Ready(Box<Outcome>),
    Given,
}

impl FutureIncomingResponse {
    pub(super) fn new(task: Task<Outcome>) -> Self {
        FutureIncomingResponse(State::Pending(task))
    }
}

#[async_trait]
impl Pollable for FutureIncomingResponse {
    async fn ready(&mut self) {
        if let State::Pending(task) = &mut self.0 {
            self.0 = State::Ready(Box::new(task.await));
        }
    }
}

impl HostFutureIncomingResponse for WasiCtx {
    fn subscribe(&mut self, future: Resource<FutureIncomingResponse>) -> Result<Resource<DynPollable>> {
        subscribe(&mut self.table, future)
    }

    fn get(
        &mut self,
        future: Resource<FutureIncomingResponse>,
    ) -> Result<Option<Result<Result<Resource<IncomingResponse>, ErrorCode>, ()>>> {
        let this = self.table.get_mut(&future)?;
        let outcome = match std::mem::replace(&mut this.0, State::Given) {
            State::Ready(outcome) => *outcome,
            State::Given => return Ok(Some(Err(()))),
            pending @ State::Pending(_) => {
                this.0 = pending;
                return Ok(None);
            }
        };
        let response = match outcome {
            Ok(response) => response,
            Err(error) => return Ok(Some(Ok(Err(error)))),
        };
        let (head, body) = response.into_parts();
        let response = IncomingResponse {
            status: head.status.as_u16(),
            headers: Fields::received(head.headers, &self.http.quota)?,
            body: Some(IncomingBody::new(body, u64::MAX, None)),
        };
        Ok(Some(Ok(Ok(self.table.push(response)?))))
    }

    fn drop(&mut self, future: Resource<FutureIncomingResponse>) -> Result<()> {
        self.table.delete(future)?;
        Ok(())
    }
}

impl HostIncomingResponse for WasiCtx {
    fn status(&mut self, response: Resource<IncomingResponse>) -> Result<u16> {
        Ok(self.table.get(&response)?.status)
    }

    fn headers(&mut self, response: Resource<IncomingResponse>) -> Result<Resource<Fields>> {
        let headers = self.table.get(&response)?.headers.copy()?;
        Ok(self.table.push(headers)?)
    }

    fn consume(
        &mut self,
        response: Resource<IncomingResponse>,
    ) -> Result<Result<Resource<IncomingBody>, ()>> {
        match self.table.get_mut(&response)?.body.take() {
            Some(body) => Ok(Ok(self.table.push(body)?)),
            None => Ok(Err(())),
        }
    }

    fn drop(&mut self, response: Resource<IncomingResponse>) -> Result<()> {
        self.table.delete(response)?;
        Ok(())
    }
}
