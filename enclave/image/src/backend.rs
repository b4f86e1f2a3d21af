//! The store's backend: requests over one thread's channel.

use std::time::Duration;

use boundary_wire::rpc::{FailureCode, KvOp, Request, Response};
use enclave_sealed_store::{Backend, BackendError, BoxFuture, Op, Page, RecordId};
use enclave_worker::{Handle, RpcError};
use futures_lite::future;

/// For the host to answer one request. A disk that is busy may take seconds; without an end, a host that says
/// nothing would keep loads, and the enclave's own end, waiting for ever.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// The host's storage, from the thread of this handle.
pub(crate) struct HostStorage(pub(crate) Handle);

impl HostStorage {
    async fn ask(&self, request: Request) -> Result<Response, BackendError> {
        let answer = async { self.0.call(request).await.map_err(failed) };
        let silence = async {
            self.0.sleep(ANSWER_TIME).await;
            let message = format!("its storage did not answer within {} seconds", ANSWER_TIME.as_secs());
            Err(BackendError::Failed { code: "no-answer".to_owned(), message })
        };
        future::or(answer, silence).await
    }
}

impl Backend for HostStorage {
    fn get(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Vec<u8>>, BackendError>> {
        Box::pin(async move {
            match self.ask(Request::KvGet { key: id }).await? {
                Response::KvValue(value) => Ok(value),
                _ => Err(another_question()),
            }
        })
    }

    fn scan(&self, after: Option<RecordId>, max_bytes: u32) -> BoxFuture<'_, Result<Page, BackendError>> {
        Box::pin(async move {
            match self.ask(Request::KvScan { after, max_bytes }).await? {
                Response::KvPage { records, more } => Ok(Page { records, more }),
                _ => Err(another_question()),
            }
        })
    }

    fn batch(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<(), BackendError>> {
        let ops = ops
            .into_iter()
            .map(|op| match op {
                Op::Put { id, value } => KvOp::Put { key: id, value },
                Op::Delete { id } => KvOp::Delete { key: id },
            })
            .collect();
        Box::pin(async move {
            match self.ask(Request::KvBatch { ops }).await? {
                Response::Done => Ok(()),
                _ => Err(another_question()),
            }
        })
    }
}

fn another_question() -> BackendError {
    BackendError::Misbehaved("it answered another question".to_owned())
}

fn failed(error: RpcError) -> BackendError {
    match error {
        RpcError::HostMisbehaved(how) => BackendError::Misbehaved(how.to_string()),
        RpcError::Failed { code: FailureCode::Full, .. } => BackendError::Full,
        RpcError::Failed { code, message } => BackendError::Failed { code: code.name().to_owned(), message },
        error @ RpcError::BadRequest(_) => BackendError::Failed {
            code: FailureCode::BadRequest.name().to_owned(),
            message: error.to_string(),
        },
        RpcError::Stopping => BackendError::Stopping,
    }
}
