//! What each kind of thread does from its start to its end.

use std::sync::Arc;

use enclave_sealed_store::Backend;
use enclave_server::{Booted, Control, Server};
use enclave_worker::{Handle, LogLevel};
use futures_channel::oneshot;

use crate::EnclaveError;
use crate::backend::HostStorage;
use crate::sizes::CAPACITY;

/// How the boot went, for one worker.
pub(crate) type Announcement = oneshot::Receiver<Result<Booted, String>>;

/// Tells all workers how the boot went.
pub(crate) struct Announcer(Vec<oneshot::Sender<Result<Booted, String>>>);

pub(crate) fn announcement(workers: u16) -> (Announcer, Vec<Announcement>) {
    let (senders, receivers) = (0..workers).map(|_| oneshot::channel()).unzip();
    (Announcer(senders), receivers)
}

impl Announcer {
    /// Nothing starts, for this reason.
    pub(crate) fn refuse(self, why: &str) {
        self.tell(&Err(why.to_owned()));
    }

    fn tell(self, result: &Result<Booted, String>) {
        for worker in self.0 {
            // A worker that is not there does not need to know.
            let _gone = worker.send(result.clone()).is_err();
        }
    }
}

/// A worker: waits for the boot, then serves until it drains.
pub(crate) async fn serve(handle: Handle, announcement: Announcement) -> Result<(), EnclaveError> {
    let booted = match announcement.await {
        Ok(Ok(booted)) => booted,
        Ok(Err(why)) => return Err(EnclaveError::Refused(why)),
        Err(oneshot::Canceled) => {
            return Err(EnclaveError::Refused(
                "the control thread ended before the enclave had booted".to_owned(),
            ));
        }
    };
    let backend = Arc::new(HostStorage(handle.clone()));
    Server::new(booted, handle, backend).serve().await;
    Ok(())
}

/// The control thread: boots, tells the workers, does their jobs until none is left, closes the store.
pub(crate) async fn control(handle: Handle, workers: u16, announcer: Announcer) -> Result<(), EnclaveError> {
    let backend: Arc<dyn Backend> = Arc::new(HostStorage(handle.clone()));
    let (control, booted) = match Control::boot(handle.clone(), backend, workers, CAPACITY).await {
        Ok(booted) => booted,
        Err(error) => {
            let why = error.to_string();
            handle.log(LogLevel::Error, "enclave", &format!("the enclave does not start: {why}"));
            announcer.refuse(&why);
            return Err(EnclaveError::Refused(why));
        }
    };
    announcer.tell(&Ok(booted));
    control.run().await.map_err(|error| {
        let why = format!("the store was not closed in order: {error}");
        handle.log(LogLevel::Error, "enclave", &why);
        EnclaveError::Stopped(why)
    })
}
