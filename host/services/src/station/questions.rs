//! Questions to the quoting enclave, on a thread of their own: who answers them may take long, and the enclave
//! thread that asks has its records to write meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};

use boundary_wire::rpc::{FailureCode, Request, Response};

use super::poller::Doorbell;
use crate::quoting::{self, Quoting};

/// Questions that may wait; more are refused. The enclave asks for one quote at a time.
const WAITING: usize = 8;

/// The thread is started by the first question and ends when this is dropped and its last question answered.
pub(super) struct Questions {
    thread: Option<Thread>,
}

struct Thread {
    questions: SyncSender<Question>,
    answers: Receiver<Answer>,
}

struct Question {
    id: u64,
    request: Request,
}

/// What became of a question.
pub(super) struct Answer {
    /// The request.
    pub(super) id: u64,
    pub(super) response: Response,
}

impl Questions {
    pub(super) fn new() -> Self {
        Questions { thread: None }
    }

    /// Passes a question on. The answer comes by [`Questions::answer`], announced by the doorbell; `Some` is one
    /// that is there at once.
    pub(super) fn ask(
        &mut self,
        id: u64,
        request: Request,
        quoting: &Arc<dyn Quoting>,
        doorbell: &Doorbell,
    ) -> Option<Response> {
        let thread = match self.thread.take().map_or_else(|| start(quoting, doorbell), Ok) {
            Ok(thread) => thread,
            Err(error) => {
                let why = format!("no thread for the quoting service: {error}");
                return Some(Response::failed(FailureCode::Unavailable, &why));
            }
        };
        match thread.questions.try_send(Question { id, request }) {
            Ok(()) => {
                self.thread = Some(thread);
                None
            }
            Err(TrySendError::Full(_)) => {
                self.thread = Some(thread);
                let why = "the quoting service has not answered what it was asked before";
                Some(Response::failed(FailureCode::Busy, why))
            }
            // The next question starts another.
            Err(TrySendError::Disconnected(_)) => {
                Some(Response::failed(FailureCode::Unavailable, "the quoting service broke down"))
            }
        }
    }

    /// An answer that has come.
    pub(super) fn answer(&self) -> Option<Answer> {
        self.thread.as_ref()?.answers.try_recv().ok()
    }
}

fn start(quoting: &Arc<dyn Quoting>, doorbell: &Doorbell) -> io::Result<Thread> {
    let (questions, asked) = mpsc::sync_channel(WAITING);
    let (answer, answers) = mpsc::sync_channel(WAITING);
    let (quoting, doorbell) = (Arc::clone(quoting), doorbell.clone());
    std::thread::Builder::new()
        .name("quoting".into())
        .spawn(move || run(&*quoting, &asked, &answer, &doorbell))?;
    Ok(Thread { questions, answers })
}

fn run(quoting: &dyn Quoting, asked: &Receiver<Question>, answers: &SyncSender<Answer>, doorbell: &Doorbell) {
    while let Ok(Question { id, request }) = asked.recv() {
        let response = quoting::answer(Some(quoting), &request).unwrap_or_else(|| {
            Response::failed(FailureCode::Unsupported, "this is no question for a quoting service")
        });
        if answers.send(Answer { id, response }).is_err() {
            return;
        }
        doorbell.ring();
    }
}
