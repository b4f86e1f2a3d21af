//! Workers, their tasks and their bells, outside of any host: a platform whose threads sleep on a condition
//! variable, and the host's ends of the channels in the test's hands.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use boundary_ring::host::{self, Channel};
use boundary_wire::frame::{ConnId, ToEnclave, ToHost};
use enclave_platform::clock::Clock;
use enclave_platform::{
    HostTime, Identity, KeyError, Kind, Notified, Notify, Platform, RandomError, SealKeyRequest, ThreadIndex,
};
use enclave_worker::{Account, Ended, Handle, HostMisbehaved, Room, WHOLE_TURN, Worker, Workers, queue};
use futures_lite::{AsyncReadExt, AsyncWriteExt, StreamExt, future};
use zeroize::Zeroizing;

const ROOM: Room = Room { connections: 1024, receive: 64 << 20 };

/// Longer than any of these tests takes.
const LONG: Duration = Duration::from_secs(20);

struct Sleeper {
    rung: Mutex<bool>,
    condition: Condvar,
}

/// Each thread sleeps until somebody wakes it: a wake-up that is lost is never made up for.
struct Sleepers {
    identity: Identity,
    started: Instant,
    threads: Vec<Sleeper>,
    waits: AtomicU64,
    polls: AtomicU64,
    /// What the host does at each visit.
    outside: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl Sleepers {
    fn new(threads: u16) -> Arc<Self> {
        let sleeper = |_| Sleeper { rung: Mutex::new(false), condition: Condvar::new() };
        let identity =
            Identity { mrenclave: [0; 32], mrsigner: [0; 32], isv_prod_id: 0, isv_svn: 0, debug: true };
        let threads = (0..threads).map(sleeper).collect();
        let (waits, polls) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Sleepers {
            identity,
            started: Instant::now(),
            threads,
            waits,
            polls,
            outside: Mutex::default(),
        })
    }

    fn wake(&self, thread: ThreadIndex) {
        let sleeper = &self.threads[usize::from(thread.0)];
        *sleeper.rung.lock().unwrap() = true;
        sleeper.condition.notify_one();
    }
}

impl Platform for Sleepers {
    fn kind(&self) -> Kind {
        Kind::Native
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn policy_page(&self) -> &[u8] {
        &[]
    }

    fn new_seal_key_request(&self) -> Result<SealKeyRequest, RandomError> {
        Err(RandomError)
    }

    fn seal_key(&self, _: &SealKeyRequest) -> Result<Zeroizing<[u8; 16]>, KeyError> {
        Err(KeyError(0))
    }

    fn report(&self, _: &[u8; 512], _: &[u8; 64]) -> [u8; 432] {
        [0; 432]
    }

    fn random(&self, _: &mut [u8]) -> Result<(), RandomError> {
        Err(RandomError)
    }

    fn host_time(&self) -> HostTime {
        let monotonic_ns = u64::try_from(self.started.elapsed().as_nanos()).unwrap();
        HostTime { unix_ns: monotonic_ns, monotonic_ns }
    }

    fn notify(&self, thread: ThreadIndex, notify: Notify) -> Notified {
        if let Some(outside) = &mut *self.outside.lock().unwrap() {
            outside();
            self.wake(thread);
        }
        match notify {
            Notify::Wake { thread } => self.wake(thread),
            Notify::Poll => {
                self.polls.fetch_add(1, Ordering::Relaxed);
            }
            Notify::Wait { until_ns } => {
                self.waits.fetch_add(1, Ordering::Relaxed);
                let now = self.host_time().monotonic_ns;
                let until = until_ns.map_or(LONG, |at| Duration::from_nanos(at.saturating_sub(now)));
                let sleeper = &self.threads[usize::from(thread.0)];
                let rung = sleeper.rung.lock().unwrap();
                let (mut rung, _) = sleeper.condition.wait_timeout_while(rung, until, |rung| !*rung).unwrap();
                *rung = false;
            }
        }
        Notified::Continue
    }
}

struct Enclave {
    platform: Arc<Sleepers>,
    workers: Arc<Workers>,
}

impl Enclave {
    fn new(threads: u16) -> Self {
        let platform = Sleepers::new(threads);
        let clock = Arc::new(Clock::new(platform.clone()));
        Enclave { workers: Workers::new(platform.clone(), clock, threads, ROOM), platform }
    }

    fn worker(&self, index: u16) -> (Worker, Channel) {
        let (host, enclave) = host::channel(512 * 1024).unwrap();
        (Worker::new(&self.workers, ThreadIndex(index), enclave).unwrap(), host)
    }
}

/// Two threads that have nothing to do but answer each other sleep between any two messages, so each of the
/// thousands of messages is a wake-up that could be lost.
#[test]
fn no_wake_up_between_threads_is_lost() {
    const ROUNDS: u32 = 5_000;
    let enclave = Enclave::new(2);
    let ((one, _host_one), (two, _host_two)) = (enclave.worker(0), enclave.worker(1));
    let (mut ping, mut pinged) = queue::mailbox::<u32>(1);
    let (mut pong, mut ponged) = queue::mailbox::<u32>(1);
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            one.run(async move {
                for round in 0..ROUNDS {
                    ping.try_send(round).unwrap();
                    assert_eq!(ponged.next().await, Some(round));
                }
            })
        });
        two.run(async move {
            while let Some(round) = pinged.next().await {
                pong.try_send(round).unwrap();
            }
        });
    });
    assert!(started.elapsed() < LONG, "a thread slept over a message");
    assert!(enclave.platform.waits.load(Ordering::Relaxed) > 0);
}

/// The same for tasks that are spawned on a worker from another thread, while it sleeps or works.
#[test]
fn a_task_given_to_a_sleeping_worker_runs() {
    const ROUNDS: u32 = 2_000;
    let enclave = Enclave::new(1);
    let (worker, _host) = enclave.worker(0);
    let handle = worker.handle();
    let (mut stop, mut stopped) = queue::mailbox::<()>(1);
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || worker.run(async move { assert_eq!(stopped.next().await, Some(())) }));
        for round in 0..ROUNDS {
            let task = handle.spawn(async move { round + 1 });
            assert_eq!(future::block_on(task), round + 1);
        }
        stop.try_send(()).unwrap();
    });
    assert!(started.elapsed() < LONG, "the worker slept over a task");
}

/// A host may enter a thread never, once and never again, or end its channel. The others find out, and say who.
#[test]
fn a_thread_that_never_comes_back_is_absent() {
    const PATIENCE: Duration = Duration::from_millis(200);
    // Thread 0 asks, 1 is fine, 2 is never entered.
    let enclave = Enclave::new(3);
    let ((asking, _host_asking), (fine, _host_fine)) = (enclave.worker(0), enclave.worker(1));
    let handle = asking.handle();
    let (mut stop, mut stopped) = queue::mailbox::<()>(1);
    std::thread::scope(|scope| {
        scope.spawn(move || fine.run(async move { assert_eq!(stopped.next().await, Some(())) }));
        asking.run(async move {
            assert_eq!(handle.absent(PATIENCE).await, [ThreadIndex(2)]);
            // It owes the answer already: nobody waits for it again.
            let again = handle.absent(PATIENCE);
            assert_eq!(future::poll_once(again).await, Some(vec![ThreadIndex(2)]));
            stop.try_send(()).unwrap();
            // One that has ended is absent too; how soon that shows is the scheduler's.
            while handle.absent(PATIENCE).await != [ThreadIndex(1), ThreadIndex(2)] {
                handle.sleep(Duration::from_millis(1)).await;
            }
        });
    });
}

/// Threads that sleep with nothing to do are woken by the question, and not by each one.
#[test]
fn asking_wakes_sleepers_once_in_a_while() {
    let enclave = Enclave::new(2);
    let ((asking, _host_asking), (idle, _host_idle)) = (enclave.worker(0), enclave.worker(1));
    let handle = asking.handle();
    let (mut stop, mut stopped) = queue::mailbox::<()>(1);
    std::thread::scope(|scope| {
        scope.spawn(move || idle.run(async move { assert_eq!(stopped.next().await, Some(())) }));
        let platform = enclave.platform.clone();
        asking.run(async move {
            for _ in 0..1000 {
                assert!(handle.absent(LONG).await.is_empty());
            }
            let (waits, seconds) =
                (platform.waits.load(Ordering::Relaxed), platform.started.elapsed().as_secs());
            assert!(waits < 20 + 10 * seconds, "{waits} sleeps in {seconds} s");
            stop.try_send(()).unwrap();
        });
    });
}

/// A timer that becomes the earliest one while the worker sleeps on a later one.
#[test]
fn timers_end_sleeps() {
    let enclave = Enclave::new(1);
    let (worker, _host) = enclave.worker(0);
    let handle = worker.handle();
    let started = Instant::now();
    worker.run(async move {
        let late = handle.sleep(Duration::from_secs(60));
        let soon = async {
            for _ in 0..20 {
                handle.sleep(Duration::from_millis(1)).await;
            }
        };
        future::or(late, soon).await;
    });
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(20) && took < LONG, "{took:?}");
}

/// A worker whose host has lied does not spin: it sleeps until its program ends.
#[test]
fn a_worker_whose_channel_failed_sleeps() {
    let enclave = Enclave::new(1);
    let (worker, mut host) = enclave.worker(0);
    let handle = worker.handle();
    let peer = "192.0.2.1:1".parse().unwrap();
    let uninvited = ToEnclave::Accepted { conn: ConnId::accepted(1), peer };
    assert!(host.to_enclave.push(&uninvited.encode().unwrap().parts()).unwrap());
    let ended = worker.run(async move {
        assert!(handle.accept().await.is_none());
        handle.sleep(Duration::from_millis(100)).await;
    });
    assert_eq!(ended, Ended::HostMisbehaved(HostMisbehaved::Uninvited { id: 1 }));
    let polls = enclave.platform.polls.load(Ordering::Relaxed);
    assert!(polls < 20, "{polls} visits outside in 100 ms of nothing to do");
}

/// Bytes that are no frame end the channel and nothing else.
#[test]
fn what_is_no_frame_ends_the_channel() {
    for garbage in [&b""[..], b"\xff", &[0; 16], &[3; 40]] {
        let enclave = Enclave::new(1);
        let (worker, mut host) = enclave.worker(0);
        let handle = worker.handle();
        assert!(host.to_enclave.push(&[garbage]).unwrap());
        let ended = worker.run(async move { assert!(handle.accept().await.is_none()) });
        assert!(matches!(ended, Ended::HostMisbehaved(HostMisbehaved::Frame(_))), "{ended:?}");
    }
}

/// What a dropped connection sends behind its data: the end that its owner chose.
#[test]
fn a_dropped_connection_is_reset_or_closed_as_its_owner_said() {
    for close in [false, true] {
        let enclave = Enclave::new(1);
        let (worker, mut host) = enclave.worker(0);
        let handle = worker.handle();
        let platform = enclave.platform.clone();
        let frames = std::thread::scope(|scope| {
            scope.spawn(move || {
                worker.run(async move {
                    let mut connection = handle.accept().await.unwrap();
                    connection.set_close_on_drop(close);
                    connection.write_all(b"bye").await.unwrap();
                })
            });
            let mut frames = Vec::new();
            let started = Instant::now();
            while started.elapsed() < LONG && !matches!(frames.last(), Some(&("closed" | "reset"))) {
                let Some(message) = host.to_host.peek().unwrap() else {
                    std::thread::yield_now();
                    continue;
                };
                let mut bytes = Vec::new();
                message.copy_to(&mut bytes);
                message.consume();
                match ToHost::decode(&bytes).unwrap() {
                    ToHost::Credit { conn: ConnId::LISTENER, .. } => {
                        let peer = "192.0.2.1:1".parse().unwrap();
                        let accepted = ToEnclave::Accepted { conn: ConnId::accepted(1), peer };
                        assert!(host.to_enclave.push(&accepted.encode().unwrap().parts()).unwrap());
                        platform.wake(ThreadIndex(0));
                    }
                    ToHost::Data { bytes, .. } => {
                        assert_eq!(bytes, b"bye");
                        frames.push("data");
                    }
                    ToHost::Eof { .. } => frames.push("eof"),
                    ToHost::Closed { .. } => frames.push("closed"),
                    ToHost::Reset { .. } => frames.push("reset"),
                    _ => {}
                }
            }
            frames
        });
        let expected: &[_] = if close { &["data", "eof", "closed"] } else { &["data", "reset"] };
        assert_eq!(frames, expected);
    }
}

/// A guest that computes for so many turns. What each of them did is told.
async fn guest(handle: Handle, account: Account, turns: u32, log: Arc<Mutex<Vec<Account>>>) {
    let mut turn = handle.turn(&account);
    for _ in 0..turns {
        turn.wait().await;
        log.lock().unwrap().push(account.clone());
        turn.over(WHOLE_TURN);
    }
}

/// 64 guests of one app compute. Whoever else comes has its turn next, and what moves bytes runs before either.
#[test]
fn a_newcomer_has_the_next_turn_and_tasks_run_before_guests() {
    let enclave = Enclave::new(1);
    let (worker, _host) = enclave.worker(0);
    let handle = worker.handle();
    let (hog, newcomer) = (Account::new(), Account::new());
    let log = Arc::new(Mutex::new(Vec::new()));
    let platform = enclave.platform.clone();
    worker.run(async move {
        let hogs: Vec<_> =
            (0..64).map(|_| handle.spawn(guest(handle.clone(), hog.clone(), 1000, log.clone()))).collect();
        for _ in 0..50 {
            // A moment later, all 64 wait for their turns, or one has it.
            handle.sleep(Duration::from_micros(300)).await;
            let (before, visits) = (log.lock().unwrap().len(), platform.polls.load(Ordering::Relaxed));
            let tasks = (0..100).map(|_| handle.spawn(Handle::yield_now())).collect::<Vec<_>>();
            for task in tasks {
                task.await;
            }
            let meanwhile = log.lock().unwrap().len() - before;
            let visits = platform.polls.load(Ordering::Relaxed) - visits;
            assert!(
                meanwhile as u64 <= 4 * (visits + 2),
                "{meanwhile} turns before 100 tasks, {visits} visits"
            );
            let before = log.lock().unwrap().len();
            handle.spawn(guest(handle.clone(), newcomer.clone(), 1, log.clone())).await;
            let log = log.lock().unwrap();
            let waited = log[before..].iter().position(|account| *account == newcomer).unwrap();
            assert!(waited <= 4, "{waited} turns of others before that of the newcomer");
        }
        let (turns, visits) = (log.lock().unwrap().len() as u64, platform.polls.load(Ordering::Relaxed));
        assert!(visits >= turns / 4, "{visits} visits outside in {turns} turns");
        drop(hogs);
    });
}

/// Bug: whoever took long gave way to every answer that went out, and so never ran beside a client that always had
/// another question.
/// Required: a turn after each visit outside.
#[test]
fn answers_without_end_do_not_keep_a_guest_from_its_turns() {
    let enclave = Enclave::new(1);
    let (worker, mut host) = enclave.worker(0);
    let handle = worker.handle();
    let echoes = Arc::new(AtomicU64::new(0));
    let counted = echoes.clone();
    let client = move || {
        while let Some(message) = host.to_host.peek().unwrap() {
            let mut bytes = Vec::new();
            message.copy_to(&mut bytes);
            message.consume();
            let (conn, question) =
                (ConnId::accepted(1), ToEnclave::Data { conn: ConnId::accepted(1), bytes: b"?" });
            match ToHost::decode(&bytes).unwrap() {
                ToHost::Credit { conn: ConnId::LISTENER, .. } if counted.load(Ordering::Relaxed) == 0 => {
                    let peer = "192.0.2.1:1".parse().unwrap();
                    let accepted = ToEnclave::Accepted { conn, peer };
                    assert!(host.to_enclave.push(&accepted.encode().unwrap().parts()).unwrap());
                }
                ToHost::Data { .. } => {}
                _ => continue,
            }
            if counted.fetch_add(1, Ordering::Relaxed) < 20_000 {
                assert!(host.to_enclave.push(&question.encode().unwrap().parts()).unwrap());
            }
        }
    };
    *enclave.platform.outside.lock().unwrap() = Some(Box::new(client));
    worker.run(async move {
        let mut connection = handle.accept().await.unwrap();
        let serve = handle.spawn(async move {
            let mut question = [0; 1];
            while connection.read_exact(&mut question).await.is_ok() {
                connection.write_all(b"!").await.unwrap();
            }
        });
        let log = Arc::new(Mutex::new(Vec::new()));
        let guest = handle.spawn(guest(handle.clone(), Account::new(), 500, log));
        future::or(serve, guest).await;
    });
    let echoes = echoes.load(Ordering::Relaxed);
    assert!((100..2000).contains(&echoes), "{echoes} answers in 500 turns");
}
