//! An enclave program that echoes, served by the real rings and stations: what the boundary promises before
//! anything is built on it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use boundary_wire::frame::MAX_CREDIT;
use enclave_platform::clock::Clock;
use enclave_platform::{Platform, SealKeyRequest, ThreadIndex};
use enclave_worker::{Connection, Ended, Handle, Room, Worker, Workers};
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use host_services::log::{Format, Log};
use host_services::network::{Listener, Resolver, Route, raise_descriptor_limit};
use host_services::station::{Control, Services};
use host_services::storage;
use launcher_native::{Event, NativePlatform};
use rustix::time::{ClockId, clock_gettime};
use sgx_emu::SoftwareCpu;

const ROOM: Room = Room { connections: 16 * 1024, receive: 512 << 20 };

/// What runs on each worker.
type Program = fn(Handle) -> future::Boxed<()>;

struct Echo {
    address: SocketAddr,
    platform: Arc<NativePlatform>,
    services: Arc<Services>,
    threads: Vec<JoinHandle<Ended>>,
    events: Mutex<Receiver<Event>>,
    _data: tempfile::TempDir,
}

impl Echo {
    fn start(workers: u16, program: Program) -> Echo {
        Self::start_with(workers, program, Vec::new())
    }

    fn start_with(workers: u16, program: Program, routes: Vec<Route>) -> Echo {
        raise_descriptor_limit();
        let data = tempfile::tempdir().unwrap();
        let services = Arc::new(Services {
            storage: storage::open(data.path()).unwrap(),
            quoting: None,
            log: Log::to_stderr(Format::Text).unwrap(),
            resolver: Resolver::start(routes).unwrap(),
            control: Control::new(10_000),
        });
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().unwrap();
        let (told, events) = channel();
        let events_out = Box::new(move |event| drop(told.send(event)));
        let (platform, channels) = NativePlatform::new(
            SoftwareCpu::ephemeral(),
            Vec::new(),
            workers,
            services.clone(),
            listener,
            events_out,
        )
        .unwrap();
        let clock = Arc::new(Clock::new(platform.clone()));
        let shared = Workers::new(platform.clone(), clock, workers + 1, ROOM);
        let mut threads = Vec::new();
        for (index, channel) in (0..workers).zip(channels) {
            let worker = Worker::new(&shared, ThreadIndex(index), channel).unwrap();
            let platform = platform.clone();
            threads.push(std::thread::spawn(move || {
                let main = program(worker.handle());
                let ended = worker.run(main);
                platform.seats().ended(index, Ok(()), Duration::from_secs(2));
                ended
            }));
        }
        let echo = Echo { address, platform, services, threads, events: Mutex::new(events), _data: data };
        assert!(matches!(echo.event(), Event::Serving));
        echo
    }

    fn event(&self) -> Event {
        self.events.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn stop(self) -> Vec<Ended> {
        self.stop_within(Duration::from_secs(5))
    }

    fn stop_within(self, grace: Duration) -> Vec<Ended> {
        self.platform.seats().drain(grace);
        self.threads.into_iter().map(|t| t.join().unwrap()).collect()
    }
}

/// Accepts until it drains, and echoes each connection until its end.
fn echo(handle: Handle) -> future::Boxed<()> {
    Box::pin(async move {
        let mut open = Vec::new();
        while let Some(connection) = handle.accept().await {
            open.push(handle.spawn(echo_one(connection)));
        }
        let all = async {
            for task in open {
                task.await;
            }
        };
        let grace = handle.draining().await;
        future::or(all, handle.sleep(grace)).await;
    })
}

async fn echo_one(mut connection: Connection) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = connection.read(&mut bytes).await {
        if connection.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
    drop(connection.close().await);
}

fn cpu_time() -> Duration {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

#[test]
fn a_thousand_clients_are_served_and_end_in_order() {
    let server = Echo::start(2, echo);
    let mut clients: Vec<TcpStream> = (0..1000).map(|_| server.connect()).collect();
    for round in 0..3u32 {
        for (i, client) in clients.iter_mut().enumerate() {
            client.write_all(&message(i, round)).unwrap();
        }
        for (i, client) in clients.iter_mut().enumerate() {
            let expected = message(i, round);
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).unwrap();
            assert!(got == expected, "client {i} round {round}");
        }
    }
    assert_eq!(server.services.control.connections(), 1000);
    for mut client in clients {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "an end, not a reset");
    }
    assert_eq!(server.stop(), [Ended::Done, Ended::Done]);
}

fn message(client: usize, round: u32) -> Vec<u8> {
    let mut message = format!("client {client} round {round} ").into_bytes();
    message.resize(500 + client % 1000, b'.');
    message
}

#[test]
fn megabytes_come_back_unchanged_while_others_are_served() {
    let server = Echo::start(1, echo);
    let data: Vec<u8> = (0..8 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut big = server.connect();
    let mut writer = big.try_clone().unwrap();
    let sent = data.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut small = server.connect();
    for _ in 0..50 {
        small.write_all(b"ping").unwrap();
        let mut got = [0; 4];
        small.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
    }
    let mut got = Vec::new();
    big.read_to_end(&mut got).unwrap();
    writing.join().unwrap();
    assert!(got == data);
    drop(small);
    server.stop();
}

#[test]
fn a_slow_reader_grows_nothing() {
    let server = Echo::start(1, echo);
    let slow = server.connect();
    slow.set_nonblocking(true).unwrap();
    let before = resident_bytes();
    // Writes and never reads, until nothing moves any more: kernel buffers and credit are full.
    let chunk = vec![7u8; 64 * 1024];
    let (mut written, mut idle) = (0usize, 0);
    while idle < 20 {
        match (&slow).write(&chunk) {
            Ok(n) => (written, idle) = (written + n, 0),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                idle += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(e) => panic!("{e}"),
        }
        assert!(written < 64 << 20, "nothing holds the writer back");
    }
    let pending = server.services.control.pending_bytes();
    assert!(pending > 0 && pending <= MAX_CREDIT as usize, "{pending} bytes pending");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes grown for {written} written");
    // Others are served meanwhile.
    let mut other = server.connect();
    other.write_all(b"x").unwrap();
    other.read_exact(&mut [0; 1]).unwrap();
    // And the slow one gets every byte, once it reads.
    slow.set_nonblocking(false).unwrap();
    slow.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    (&slow).read_to_end(&mut rest).unwrap();
    assert!(rest.len() == written && rest.iter().all(|b| *b == 7));
    drop(other);
    server.stop();
}

#[test]
fn a_hundred_idle_connections_cost_nothing() {
    let server = Echo::start(2, echo);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
    }
    let before = cpu_time();
    std::thread::sleep(Duration::from_secs(2));
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(20), "{used:?} of CPU in two idle seconds");
    drop(clients);
    server.stop();
}

#[test]
fn a_connection_that_never_ends_gets_the_grace_and_no_more_and_waiting_costs_nothing() {
    let server = Echo::start(1, echo);
    let mut client = server.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    let before = cpu_time();
    assert_eq!(server.stop_within(Duration::from_millis(500)), [Ended::Done]);
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(50), "{used:?} of CPU to wait for half a second");
    let ended = client.read(&mut [0; 1]);
    assert!(matches!(&ended, Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset), "{ended:?}");
}

#[test]
fn a_task_that_is_always_ready_does_not_keep_the_worker_inside() {
    let server = Echo::start(1, |handle| {
        let busy = handle.spawn(async {
            loop {
                Handle::yield_now().await;
            }
        });
        Box::pin(async move {
            echo(handle).await;
            drop(busy);
        })
    });
    let mut client = server.connect();
    for _ in 0..20 {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
    }
    drop(client);
    assert_eq!(server.stop(), [Ended::Done]);
}

#[test]
fn a_client_that_resets_leaves_nothing_behind() {
    let server = Echo::start(1, echo);
    for _ in 0..50 {
        let client = server.connect();
        (&client).write_all(&vec![1; 300_000]).ok();
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    }
    let mut client = server.connect();
    client.write_all(b"still here").unwrap();
    client.read_exact(&mut [0; 10]).unwrap();
    wait_until(|| server.services.control.connections() == 1);
    drop(client);
    server.stop();
}

#[test]
fn timers_and_dials_work_and_draining_ends_the_workers() {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    static RESOLVED: AtomicBool = AtomicBool::new(false);
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let route = format!("upstream.example:443:127.0.0.1:{}", upstream.local_addr().unwrap().port());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = upstream.accept().unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).unwrap();
        stream.write_all(got.to_uppercase().as_bytes()).unwrap();
    });
    let program: Program = |handle| {
        Box::pin(async move {
            let before = handle.monotonic();
            handle.sleep(Duration::from_millis(30)).await;
            assert!(handle.monotonic().since(before) >= Duration::from_millis(30));
            REFUSED.store(handle.dial("127.0.0.1", 1).await.is_err(), Ordering::SeqCst);
            let mut up = handle.dial("upstream.example", 443).await.unwrap();
            up.write_all(b"hello").await.unwrap();
            up.close().await.unwrap();
            let mut got = String::new();
            up.read_to_string(&mut got).await.unwrap();
            RESOLVED.store(got == "HELLO", Ordering::SeqCst);
            drop(up);
            assert!(handle.accept().await.is_none(), "nobody connects; draining ends the wait");
            assert!(handle.draining().await > Duration::ZERO);
        })
    };
    let server = Echo::start_with(1, program, vec![route.parse().unwrap()]);
    serving.join().unwrap();
    assert!(REFUSED.load(Ordering::SeqCst) && RESOLVED.load(Ordering::SeqCst));
    assert_eq!(server.stop(), [Ended::Done]);
}

#[test]
fn keys_are_the_cpus_and_repeat_by_request() {
    let server = Echo::start(1, echo);
    let platform = &server.platform;
    let (first, second) =
        (platform.new_seal_key_request().unwrap(), platform.new_seal_key_request().unwrap());
    assert_ne!(first.key_id, second.key_id);
    let key = platform.seal_key(&first).unwrap();
    assert!(*key == *platform.seal_key(&first).unwrap() && *key != *platform.seal_key(&second).unwrap());
    let newer = SealKeyRequest { isv_svn: first.isv_svn + 1, ..first };
    assert!(platform.seal_key(&newer).is_err());
    let other = Echo::start(1, echo);
    assert!(*other.platform.seal_key(&second).unwrap() != *platform.seal_key(&second).unwrap());
    let mut random = [[0u8; 64]; 2];
    platform.random(&mut random[0]).unwrap();
    platform.random(&mut random[1]).unwrap();
    assert_ne!(random[0], random[1]);
    server.stop();
    other.stop();
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within five seconds");
}
