//! Group commit: one task at a time, in nobody's call, carries out what waits and commits it as one batch.
//!
//! Operations are carried out one after the other, so each is atomic towards all others. The task outlives the call
//! that started it: once an operation is begun it is done, whatever becomes of its caller. One whose caller went away
//! before it was begun is not done, so that nothing is held for nobody.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_channel::oneshot;

use super::error::KvError;
use super::plan::{Op, Outcome, Plan};
use super::record::{Key, Meta};
use super::records::Records;
use crate::filesystem::StorageFailure;
use crate::room::{Full, Place, Room};

/// When a group is large enough: more would only make its first member wait.
const GROUP_BYTES: usize = 2 << 20;
/// The same, in operations.
const GROUP_OPS: usize = 256;
/// What a queued operation counts beside what it holds.
const JOB: usize = 256;

type Answer = Result<Outcome, KvError>;

pub(crate) struct Writer {
    max_keys: u64,
    /// For what is queued, of all applications.
    room: Room,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// What the store holds about all buckets, once it was read.
    meta: Option<Option<Meta>>,
    /// Tasks that were dropped, each of whose commits may have been under way.
    dropped: u64,
    /// As many of them are settled.
    settled: u64,
    /// A task carries out what waits.
    running: bool,
    /// Nothing is begun until a call starts.
    ended: bool,
    /// What is queued is dropped.
    abandoned: bool,
    waiting: Vec<Waker>,
}

struct Job {
    bucket: Arc<str>,
    op: Op,
    ack: oneshot::Sender<Answer>,
    _place: Place,
}

impl Writer {
    pub(crate) fn new(max_keys: u64, room: Room) -> Self {
        Writer { max_keys, room, state: Mutex::default() }
    }

    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keys(&self) -> Option<u64> {
        self.state().meta.map(|meta| meta.map_or(0, |meta| meta.keys))
    }

    pub(crate) fn call_starts(&self) {
        let mut state = self.state();
        (state.ended, state.abandoned) = (false, false);
    }

    /// Carries out an operation. Durable when it returns.
    pub(crate) async fn run(
        self: &Arc<Self>,
        records: &Arc<dyn Records>,
        bucket: &Arc<str>,
        op: Op,
    ) -> Answer {
        let (ack, done) = oneshot::channel();
        let place = self.place(JOB + op.weight())?;
        let runs_already = {
            let mut state = self.state();
            if state.ended {
                return Err(unavailable(Ended));
            }
            state.queue.push_back(Job { bucket: bucket.clone(), op, ack, _place: place });
            std::mem::replace(&mut state.running, true)
        };
        if !runs_already {
            let task = Task { writer: self.clone(), ended: false };
            records.spawn(Box::pin(task.run(records.clone())));
        }
        done.await.unwrap_or_else(|_| Err(unavailable(Stopping)))
    }

    /// A place for an operation; if there is none, without what waits here for nobody.
    fn place(&self, bytes: usize) -> Result<Place, Full> {
        let mut place = self.room.place();
        if place.grow(bytes).is_err() {
            self.state().queue.retain(|job| !job.ack.is_canceled());
            place.grow(bytes)?;
        }
        Ok(place)
    }

    /// Waits for what is queued. Nothing is begun after it until a call starts.
    pub(crate) async fn settle(&self) {
        self.state().ended = true;
        self.idle().await;
    }

    /// Drops what is queued and waits for what is under way. Nothing is begun after it until a call starts.
    pub(crate) async fn abandon(&self) {
        let dropped = {
            let mut state = self.state();
            (state.ended, state.abandoned) = (true, true);
            std::mem::take(&mut state.queue)
        };
        drop(dropped);
        self.idle().await;
    }

    async fn idle(&self) {
        poll_fn(|cx| {
            let mut state = self.state();
            if !state.running {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|waiting| waiting.will_wake(cx.waker())) {
                state.waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Reads what the store holds about all buckets, if it was not read yet.
    pub(crate) async fn recall(&self, records: &dyn Records) -> Result<(), StorageFailure> {
        match self.meta(records).await {
            Ok(_) => Ok(()),
            Err(KvError::Storage(failure)) => Err(failure),
            Err(error) => Err(StorageFailure::Refused(Arc::new(error))),
        }
    }

    async fn meta(&self, records: &dyn Records) -> Result<Option<Meta>, KvError> {
        loop {
            let (known, dropped, settled) = {
                let state = self.state();
                (state.meta, state.dropped, state.settled)
            };
            if let Some(meta) = known {
                return Ok(meta);
            }
            if settled < dropped {
                records.barrier().await?;
                self.state().settled = dropped;
            }
            let found = records.get(&Key::Meta.to_bytes()).await?;
            let meta = found.map(|found| Meta::decode(&found.value)).transpose()?;
            let mut state = self.state();
            if state.dropped == dropped {
                // What a task has made of it meanwhile is newer.
                return Ok(*state.meta.get_or_insert(meta));
            }
        }
    }

    /// Carries out what fits into one batch of these, and gives back the rest.
    async fn carry_out(&self, records: &dyn Records, mut group: Vec<Job>) -> Vec<Job> {
        let mut rest = Vec::new();
        match self.commit(records, &group).await {
            Ok(answers) => {
                rest = group.split_off(answers.len());
                for (job, answer) in group.into_iter().zip(answers) {
                    // A caller that went away needs no answer.
                    drop(job.ack.send(answer));
                }
            }
            // Not everybody's fault: who fits is let in.
            Err(KvError::Storage(failure)) if failure.is_full() && group.len() > 1 => {
                for job in group {
                    let answer = self.commit(records, std::slice::from_ref(&job)).await;
                    let answer = answer.and_then(|mut answers| answers.pop().unwrap_or(Ok(Outcome::Done)));
                    drop(job.ack.send(answer));
                }
            }
            Err(error) => {
                for job in group {
                    drop(job.ack.send(Err(error.clone())));
                }
            }
        }
        rest
    }

    /// One batch with everything that these operations change, or the first of them: as many as were answered.
    async fn commit(&self, records: &dyn Records, group: &[Job]) -> Result<Vec<Answer>, KvError> {
        let meta = self.meta(records).await?;
        let mut plan = Plan::new(records, meta, self.max_keys)?;
        let mut answers = Vec::with_capacity(group.len());
        for job in group {
            if plan.is_large() {
                break;
            }
            answers.push(plan.add(&job.bucket, &job.op).await?);
        }
        let (changes, meta) = plan.finish().await?;
        if !changes.is_empty() {
            records.commit(changes).await?;
            self.state().meta = Some(meta);
        }
        Ok(answers)
    }
}

/// The one task that carries out what waits, also when it is dropped half-way.
struct Task {
    writer: Arc<Writer>,
    ended: bool,
}

impl Task {
    async fn run(mut self, records: Arc<dyn Records>) {
        while let Some(group) = self.next() {
            let rest = self.writer.carry_out(&*records, group).await;
            self.writer.state().put_back(rest);
        }
    }

    /// What is carried out next, together. After `None` another task may run: under one lock, so that what is queued
    /// meanwhile is not left to nobody.
    fn next(&mut self) -> Option<Vec<Job>> {
        let mut state = self.writer.state();
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < GROUP_OPS && bytes < GROUP_BYTES {
            let Some(job) = state.queue.pop_front() else { break };
            if job.ack.is_canceled() {
                continue;
            }
            bytes += job.op.weight();
            group.push(job);
        }
        if group.is_empty() {
            self.ended = true;
            state.end();
            return None;
        }
        Some(group)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut state = self.writer.state();
        // It is not known here what became of a commit under way.
        state.meta = None;
        state.dropped += 1;
        // Those who wait are told by this that nobody carries it out.
        state.queue.clear();
        state.end();
    }
}

impl State {
    /// To the front, in their order.
    fn put_back(&mut self, jobs: Vec<Job>) {
        if !self.abandoned {
            jobs.into_iter().rev().for_each(|job| self.queue.push_front(job));
        }
    }

    /// No task runs any more.
    fn end(&mut self) {
        self.running = false;
        self.waiting.drain(..).for_each(Waker::wake);
    }
}

fn unavailable(why: impl std::error::Error + Send + Sync + 'static) -> KvError {
    KvError::Storage(StorageFailure::Unavailable(Arc::new(why)))
}

/// The task was dropped before its end, or the operation with what was queued.
#[derive(Debug, thiserror::Error)]
#[error("the enclave is stopping, or the application is being unloaded or replaced")]
struct Stopping;

/// The records are about to be erased, or given to a successor.
#[derive(Debug, thiserror::Error)]
#[error("the application is being unloaded or replaced")]
struct Ended;
