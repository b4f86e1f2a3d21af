//! The way from the workers to the control thread.

use boundary_wire::client::{AppInfo, Load};
use enclave_access::ApprovedArtifact;
use enclave_ratls::Change;
use futures_channel::{mpsc, oneshot};
use futures_lite::StreamExt;

use crate::budget::{Permit, Permits, Share};
use crate::refusal::Refusal;

/// What workers ask of the control thread.
pub(crate) enum Job {
    /// Load an app, or replace it. The share covers the upload until the job is done, whether or not the
    /// client still waits.
    Load { load: Box<Load>, artifact: ApprovedArtifact, share: Share, done: Done<(AppInfo, Change)> },
    /// Unload an app; `None`: there is none of that name.
    Unload { name: String, done: Done<Option<Change>> },
    /// Use the certificates that an operator made for the enclave CA.
    InstallCa { chain_pem: String, done: Done<Change> },
}

pub(crate) type Done<T> = oneshot::Sender<Result<T, Refusal>>;

/// Asks the control thread. The thread ends its work when all of these are gone.
#[derive(Clone)]
pub(crate) struct Mailbox {
    jobs: mpsc::UnboundedSender<(Job, Permit)>,
    /// Bounds the channel: a bounded one has a place more for each of its senders.
    places: Permits,
}

/// The control thread's end.
pub(super) struct Jobs(mpsc::UnboundedReceiver<(Job, Permit)>);

impl Jobs {
    /// The next job; the permit is kept until it is done. `None`: nobody is left to ask.
    pub(super) async fn next(&mut self) -> Option<(Job, Permit)> {
        self.0.next().await
    }
}

impl Mailbox {
    /// For at most `places` jobs under way and waiting.
    pub(super) fn new(places: usize) -> (Mailbox, Jobs) {
        let (sender, receiver) = mpsc::unbounded();
        (Mailbox { jobs: sender, places: Permits::new(places) }, Jobs(receiver))
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask<T>(&self, job: impl FnOnce(Done<T>) -> Job) -> Result<T, Refusal> {
        let stopping = || Refusal::new("stopping", "the enclave is stopping");
        let permit = self.places.take().ok_or_else(|| {
            Refusal::new("overloaded", "too many changes are waiting already; try again in a moment")
        })?;
        let (done, answer) = oneshot::channel();
        self.jobs.unbounded_send((job(done), permit)).map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn jobs_are_bounded_also_when_those_who_asked_are_gone() {
        block_on(async {
            let (mailbox, mut jobs) = Mailbox::new(2);
            let unload = |done| Job::Unload { name: "a".to_owned(), done };
            for _ in 0..2 {
                // The client hangs up; its job is done all the same.
                let worker = mailbox.clone();
                assert!(poll_once(Box::pin(worker.ask(unload))).await.is_none());
            }
            let refused = mailbox.clone().ask(unload).await.err().unwrap();
            assert_eq!(refused.code(), "overloaded");
            let under_way = jobs.next().await.unwrap();
            assert_eq!(mailbox.ask(unload).await.err().unwrap().code(), "overloaded");
            drop(under_way);
            assert!(poll_once(Box::pin(mailbox.ask(unload))).await.is_none(), "there is a place again");
            drop(jobs);
            assert_eq!(mailbox.ask(unload).await.err().unwrap().code(), "stopping");
        });
    }
}
