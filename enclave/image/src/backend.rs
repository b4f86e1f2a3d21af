//! The store's backend: requests over one thread's channel.

use boundary_wire::rpc::{FailureCode, KvOp, Request, Response};
use enclave_sealed_store::{Backend, BackendError, BoxFuture, Op, Page, RecordId};
use enclave_worker::{Handle, RpcError};

/// The host's storage, from the thread of this handle.
pub(crate) struct HostStorage(pub(crate) Handle);

impl Backend for HostStorage {
    fn get(&self, id: RecordId) -> BoxFuture<'_, Result<Option<Vec<u8>>, BackendError>> {
        Box::pin(async move {
            match self.0.call(Request::KvGet { key: id }).await {
                Ok(Response::KvValue(value)) => Ok(value),
                other => Err(failed(other)),
            }
        })
    }

    fn scan(&self, after: Option<RecordId>, max_bytes: u32) -> BoxFuture<'_, Result<Page, BackendError>> {
        Box::pin(async move {
            match self.0.call(Request::KvScan { after, max_bytes }).await {
                Ok(Response::KvPage { records, more }) => Ok(Page { records, more }),
                other => Err(failed(other)),
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
            match self.0.call(Request::KvBatch { ops }).await {
                Ok(Response::Done) => Ok(()),
                other => Err(failed(other)),
            }
        })
    }
}

fn failed(answer: Result<Response, RpcError>) -> BackendError {
    match answer {
        Ok(_) => BackendError::Misbehaved("it answered another question".to_owned()),
        Err(RpcError::HostMisbehaved(how)) => BackendError::Misbehaved(how.to_string()),
        Err(RpcError::Failed { code: FailureCode::Full, .. }) => BackendError::Full,
        Err(RpcError::Failed { code, message }) => {
            BackendError::Failed { code: code.name().to_owned(), message }
        }
        Err(error @ RpcError::BadRequest(_)) => BackendError::Failed {
            code: FailureCode::BadRequest.name().to_owned(),
            message: error.to_string(),
        },
        Err(RpcError::Stopping) => BackendError::Stopping,
    }
}
