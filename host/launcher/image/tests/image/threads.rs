//! What becomes of an enclave whose host does not do its part, and of a host whose enclave is stopped.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use boundary_wire::start::{self, notify};
use enclave_os_client::{Connector, Reply, Request, danger};
use host_services::seats::Event;
use launcher_image::{Intercept, Kind, Registers};
use sgx_emu::PageState;

use crate::support::{Host, LONG};

#[test]
fn it_serves_and_ends_in_order_and_its_exits_are_counted() {
    let host = Host::start(2, |_| None);
    assert!(matches!(host.events.recv_timeout(LONG), Ok(Event::Serving)));
    drop(TcpStream::connect(host.address).unwrap());
    host.running.shutdown(Duration::from_secs(5));
    for _ in 0..3 {
        let event = host.events.recv_timeout(LONG).unwrap();
        assert!(matches!(event, Event::Ended { result: Ok(()), .. }), "{event:?}");
    }
    let exits = host.running.exits();
    assert_eq!((exits.of(Kind::Start), exits.of(Kind::Launch), exits.of(Kind::Exit)), (1, 2, 1), "{exits}");
    assert_eq!((exits.of(Kind::Refused), exits.of(Kind::Failed)), (0, 0), "{exits}");
    host.running.join();
}

/// Without a transition per request: whoever is inside takes all that has come meanwhile.
#[test]
fn under_load_there_are_fewer_exits_than_requests() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 50;
    let host = Host::start(1, |_| None);
    assert!(matches!(host.events.recv_timeout(LONG), Ok(Event::Serving)));
    let connector = Connector::new(host.address.to_string()).server_name("localhost");
    let connector = danger::accept_any_certificate(connector);
    let mut load: Vec<Vec<_>> =
        (0..2).map(|_| (0..CLIENTS).map(|_| connector.framed().unwrap()).collect()).collect();
    let before = host.running.exits().total();
    std::thread::scope(|scope| {
        for clients in &mut load {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    clients.iter_mut().for_each(|client| client.send(&Request::Ping).unwrap());
                    clients.iter_mut().for_each(|client| assert_eq!(client.receive().unwrap(), Reply::Pong));
                }
            });
        }
    });
    let (exits, requests) = (host.running.exits().total() - before, (2 * CLIENTS * ROUNDS) as u64);
    println!("{exits} exits for {requests} requests; in all: {}", host.running.exits());
    assert!(exits < requests, "{exits} exits for {requests} requests");
    drop(load);
    host.running.shutdown(Duration::from_secs(1));
    host.running.join();
}

/// What a person who runs it sees of a fault inside: what was tried, on which page, and where.
#[test]
fn a_fault_inside_ends_all_threads_and_is_explained() {
    let (told, enclave) = std::sync::mpsc::channel();
    let host = Host::start(2, |cpu| {
        told.send(cpu.enclave().clone()).unwrap();
        None
    });
    assert!(matches!(host.events.recv_timeout(LONG), Ok(Event::Serving)));
    let enclave = enclave.recv().unwrap();
    // The host takes the right to execute away from every page of the program.
    for page in (0..64 << 20).step_by(4096) {
        let executable = enclave.page(page).permissions() & PageState::EXECUTE != 0;
        if executable {
            enclave.restrict_permissions(page, 4096, PageState::READ).unwrap();
        }
    }
    drop(TcpStream::connect(host.address).unwrap());
    for _ in 0..3 {
        let event = host.events.recv_timeout(LONG).unwrap();
        let Event::Ended { result: Err(why), .. } = &event else { panic!("{event:?}") };
        let explained =
            why.starts_with("it crashed: page fault (#PF)") && why.contains("at enclave offset 0x");
        assert!(explained, "{why}");
    }
    host.running.join();
}

/// Bug: one thread that the host does not let in again holds up all. Cause: a lock or a wait that it left behind.
/// Required: the other worker takes connections and answers, says who is missing, and ends when it is asked to.
#[test]
fn a_worker_that_is_never_scheduled_again_stops_no_other() {
    struct Keeper {
        keeps: AtomicBool,
        kept: AtomicBool,
    }
    impl Intercept for &'static Keeper {
        fn call(&self, _: usize, call: &Registers) -> Option<(u64, u64)> {
            let worker_1 = call.rdi == start::NOTIFY && call.rsi != notify::WAKE && call.r8 == 1;
            while worker_1 && self.keeps.load(Ordering::SeqCst) {
                self.kept.store(true, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
            None
        }
    }
    static KEEPER: Keeper = Keeper { keeps: AtomicBool::new(false), kept: AtomicBool::new(false) };
    let host = Host::start(2, |_| Some(Box::new(&KEEPER)));
    assert!(matches!(host.events.recv_timeout(LONG), Ok(Event::Serving)));
    KEEPER.keeps.store(true, Ordering::SeqCst);
    let answered = || {
        let mut client = TcpStream::connect(host.address).unwrap();
        client.write_all(b"this is no TLS\r\n").unwrap();
        client
    };
    let mut clients = Vec::new();
    while !KEEPER.kept.load(Ordering::SeqCst) {
        clients.push(answered());
        std::thread::sleep(Duration::from_millis(5));
    }
    // Who is not kept accepts these, as the other one watches nothing.
    let mut client = answered();
    client.set_read_timeout(Some(LONG)).unwrap();
    let end = client.read_to_end(&mut Vec::new());
    assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    let connector = danger::accept_any_certificate(Connector::new(host.address.to_string()));
    let ready = connector.http().unwrap().ready().unwrap();
    assert_eq!(ready.status, "degraded");
    assert_eq!(ready.more["absent"], serde_json::json!(["worker-1"]));

    host.running.shutdown(Duration::from_secs(1));
    let first = host.events.recv_timeout(LONG).unwrap();
    assert!(matches!(first, Event::Ended { thread: 0, result: Ok(()) }), "{first:?}");
    KEEPER.keeps.store(false, Ordering::SeqCst);
    for _ in 0..2 {
        let event = host.events.recv_timeout(LONG).unwrap();
        assert!(matches!(event, Event::Ended { result: Ok(()), .. }), "{event:?}");
    }
    host.running.join();
}
