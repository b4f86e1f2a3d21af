//! Stations against real sockets, with an enclave that the test plays frame by frame.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use boundary_ring::{Consumer, Producer, host};
use boundary_wire::frame::{ConnId, DialFailure, FIRST_CREDIT, MAX_CREDIT, MAX_PAYLOAD, ToEnclave, ToHost};
use boundary_wire::rpc::{
    FailureCode, KvOp, Limits, MAX_RESPONSE, Reassembler, Request, Response, fragments,
};
use host_services::clock::monotonic_ns;
use host_services::log::{Format, Log};
use host_services::network::{Listener, Resolver};
use host_services::station::{Control, Services, Station, StationError, Turn, Violation};
use host_services::storage;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What the host said, without borrowing.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Accepted(ConnId),
    Dialed(ConnId, Result<(), DialFailure>),
    Data(ConnId, Vec<u8>),
    Eof(ConnId),
    Reset(ConnId),
    Credit(ConnId, u32),
    Reply(u64, Response),
    Drain(u32),
}

struct Enclave {
    station: Station,
    input: Consumer,
    output: Producer,
    replies: Reassembler,
    address: SocketAddr,
    services: Arc<Services>,
    _data: tempfile::TempDir,
}

impl Enclave {
    fn new() -> Enclave {
        Self::with_routes(&[])
    }

    fn with_routes(routes: &[String]) -> Enclave {
        let data = tempfile::tempdir().unwrap();
        let services = Arc::new(Services {
            storage: storage::open(data.path()).unwrap(),
            quoting: None,
            log: Log::to_stderr(Format::Text).unwrap(),
            resolver: Resolver::start(routes.iter().map(|r| r.parse().unwrap()).collect()).unwrap(),
            control: Control::new(1000),
        });
        let (here, there) = host::channel(512 * 1024).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().unwrap();
        let station = Station::new(0, here, services.clone(), Some(listener)).unwrap();
        let limits = Limits { message: MAX_RESPONSE, total: MAX_RESPONSE, messages: 16 };
        Enclave {
            station,
            input: Consumer::new(there.to_enclave).unwrap(),
            output: Producer::new(there.to_host).unwrap(),
            replies: Reassembler::new(limits),
            address,
            services,
            _data: data,
        }
    }

    fn send(&mut self, frame: ToHost<'_>) {
        assert!(self.output.push(&frame.encode().unwrap().parts()).unwrap(), "the ring has room");
    }

    fn invite(&mut self, connections: u32) {
        self.send(ToHost::Credit { conn: ConnId::LISTENER, bytes: connections });
    }

    fn ask(&mut self, id: u64, request: &Request) {
        for (last, bytes) in fragments(&request.encode().unwrap()) {
            while !self.output.push(&ToHost::Request { id, last, bytes }.encode().unwrap().parts()).unwrap() {
                self.station.turn(Turn::Poll).unwrap();
            }
        }
    }

    fn take(&mut self) -> Vec<Said> {
        let mut said = Vec::new();
        let mut frame = Vec::new();
        while let Some(message) = self.input.peek().unwrap() {
            message.copy_to(&mut frame);
            message.consume();
            said.extend(match ToEnclave::decode(&frame).unwrap() {
                ToEnclave::Accepted { conn, .. } => Some(Said::Accepted(conn)),
                ToEnclave::Dialed { conn, result } => Some(Said::Dialed(conn, result)),
                ToEnclave::Data { conn, bytes } => Some(Said::Data(conn, bytes.to_vec())),
                ToEnclave::Eof { conn } => Some(Said::Eof(conn)),
                ToEnclave::Reset { conn } => Some(Said::Reset(conn)),
                ToEnclave::Credit { conn, bytes } => Some(Said::Credit(conn, bytes)),
                ToEnclave::Drain { grace_ms } => Some(Said::Drain(grace_ms)),
                ToEnclave::Reply { id, last, bytes } => {
                    let message = self.replies.push(id, last, bytes).unwrap();
                    message.map(|message| Said::Reply(id, Response::decode(&message).unwrap()))
                }
            });
        }
        said
    }

    /// What comes within a while; the station decides when a wait ends.
    fn wait(&mut self) -> Vec<Said> {
        for _ in 0..200 {
            let until_ns = Some(monotonic_ns() + 50_000_000);
            self.station.turn(Turn::Wait { until_ns }).unwrap();
            let said = self.take();
            if !said.is_empty() {
                return said;
            }
        }
        panic!("nothing in ten seconds");
    }

    /// What does not come: a few turns that bring nothing.
    fn nothing(&mut self) {
        for _ in 0..3 {
            let until_ns = Some(monotonic_ns() + 20_000_000);
            self.station.turn(Turn::Wait { until_ns }).unwrap();
        }
        assert_eq!(self.take(), []);
    }

    /// A client and the connection it has become.
    fn accept(&mut self) -> (TcpStream, ConnId) {
        self.invite(1);
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        match self.wait().as_slice() {
            [Said::Accepted(conn)] => (client, *conn),
            other => panic!("{other:?}"),
        }
    }

    fn fails(&mut self) -> StationError {
        self.station.turn(Turn::Poll).unwrap_err()
    }
}

#[test]
fn only_invited_connections_are_accepted() {
    let mut enclave = Enclave::new();
    let _first = TcpStream::connect(enclave.address).unwrap();
    let _second = TcpStream::connect(enclave.address).unwrap();
    enclave.nothing();
    assert!(!enclave.station.is_invited());
    enclave.invite(1);
    assert_eq!(enclave.wait(), [Said::Accepted(ConnId::accepted(1))]);
    enclave.nothing();
    enclave.invite(5);
    assert_eq!(enclave.wait(), [Said::Accepted(ConnId::accepted(2))]);
    assert_eq!(enclave.services.control.connections(), 2);
}

#[test]
fn each_direction_ends_by_itself() {
    let mut enclave = Enclave::new();
    let (mut client, conn) = enclave.accept();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut said = enclave.wait();
    while !said.contains(&Said::Eof(conn)) {
        said.extend(enclave.wait());
    }
    assert_eq!(said, [Said::Data(conn, b"question".to_vec()), Said::Eof(conn)]);
    enclave.send(ToHost::Data { conn, bytes: b"answer" });
    enclave.send(ToHost::Eof { conn });
    enclave.send(ToHost::Closed { conn });
    enclave.station.turn(Turn::Poll).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
    assert_eq!(enclave.services.control.connections(), 0, "nothing is left of it");
}

#[test]
fn what_was_sent_before_the_end_arrives_although_the_client_is_slow_and_still_sending() {
    let mut enclave = Enclave::new();
    let (mut client, conn) = enclave.accept();
    let chunk = vec![9u8; MAX_PAYLOAD];
    for _ in 0..4 {
        enclave.send(ToHost::Data { conn, bytes: &chunk });
    }
    enclave.send(ToHost::Eof { conn });
    enclave.send(ToHost::Closed { conn });
    client.write_all(b"what nobody will read").unwrap();
    enclave.station.turn(Turn::Poll).unwrap();
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).map(|n| (n, all.iter().all(|b| *b == 9)))
    });
    while enclave.services.control.connections() > 0 {
        let until_ns = Some(monotonic_ns() + 20_000_000);
        enclave.station.turn(Turn::Wait { until_ns }).unwrap();
    }
    assert_eq!(reading.join().unwrap().unwrap(), (4 * MAX_PAYLOAD, true));
    assert_eq!(enclave.take(), [], "and the enclave hears nothing more of it");
}

#[test]
fn a_reset_is_told_once_and_late_frames_are_no_offence() {
    let mut enclave = Enclave::new();
    let (client, conn) = enclave.accept();
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(enclave.wait(), [Said::Reset(conn)]);
    enclave.send(ToHost::Data { conn, bytes: b"late" });
    enclave.send(ToHost::Eof { conn });
    enclave.send(ToHost::Reset { conn });
    enclave.nothing();
    assert_eq!(enclave.services.control.connections(), 0);
}

#[test]
fn the_enclaves_reset_reaches_the_peer() {
    let mut enclave = Enclave::new();
    let (mut client, conn) = enclave.accept();
    enclave.send(ToHost::Reset { conn });
    enclave.station.turn(Turn::Poll).unwrap();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(enclave.services.control.connections(), 0);
}

#[test]
fn a_full_ring_loses_nothing_and_waits_for_the_enclave() {
    const CLIENTS: usize = 12;
    const EACH: usize = 2 * MAX_CREDIT as usize;
    let mut enclave = Enclave::new();
    enclave.invite(CLIENTS as u32);
    let address = enclave.address;
    let sending: Vec<_> = (0..CLIENTS)
        .map(|i| {
            std::thread::spawn(move || {
                let mut client = TcpStream::connect(address).unwrap();
                let bytes: Vec<u8> = (0..EACH).map(|at| (at.wrapping_mul(31) + i) as u8).collect();
                client.write_all(&bytes).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                // Open until the station has read it all.
                drop(client.read(&mut [0; 1]));
            })
        })
        .collect();
    let (mut got, mut ended) = (HashMap::<ConnId, Vec<u8>>::new(), 0);
    // The enclave is away for a while: the station fills the ring and stops there.
    for _ in 0..20 {
        enclave.station.turn(Turn::Poll).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    while ended < CLIENTS {
        for said in enclave.wait() {
            match said {
                Said::Accepted(conn) => drop(got.insert(conn, Vec::new())),
                Said::Data(conn, bytes) => {
                    got.get_mut(&conn).unwrap().extend(&bytes);
                    enclave.send(ToHost::Credit { conn, bytes: bytes.len() as u32 });
                }
                Said::Eof(conn) => {
                    ended += 1;
                    enclave.send(ToHost::Eof { conn });
                    enclave.send(ToHost::Closed { conn });
                }
                other => panic!("{other:?}"),
            }
        }
    }
    enclave.station.turn(Turn::Poll).unwrap();
    for bytes in got.values() {
        let i = bytes[0];
        assert!(bytes.len() == EACH);
        assert!(bytes.iter().enumerate().all(|(at, b)| *b == (at.wrapping_mul(31) as u8).wrapping_add(i)));
    }
    sending.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn no_more_is_read_than_the_enclave_has_given_credit_for() {
    let mut enclave = Enclave::new();
    let (client, conn) = enclave.accept();
    let sending = std::thread::spawn(move || drop((&client).write_all(&vec![1; 4 << 20])));
    let mut got = 0;
    while got < FIRST_CREDIT as usize {
        for said in enclave.wait() {
            let Said::Data(_, bytes) = said else { panic!("{said:?}") };
            got += bytes.len();
        }
    }
    enclave.nothing();
    assert_eq!(got, FIRST_CREDIT as usize);
    enclave.send(ToHost::Credit { conn, bytes: 10 });
    let said = enclave.wait();
    assert!(matches!(said.as_slice(), [Said::Data(_, bytes)] if bytes.len() == 10), "{said:?}");
    enclave.send(ToHost::Reset { conn });
    enclave.station.turn(Turn::Poll).unwrap();
    sending.join().unwrap();
}

#[test]
fn a_broken_protocol_stops_the_station_with_its_name() {
    type Break = fn(&mut Enclave, ConnId) -> Violation;
    let breaks: [Break; 6] = [
        |enclave, conn| {
            let chunk = vec![0; MAX_PAYLOAD];
            for _ in 0..=MAX_CREDIT as usize / MAX_PAYLOAD {
                enclave.send(ToHost::Data { conn, bytes: &chunk });
            }
            Violation::CreditExceeded { id: conn }
        },
        |enclave, conn| {
            enclave.send(ToHost::Credit { conn, bytes: MAX_CREDIT - FIRST_CREDIT + 1 });
            Violation::CreditNeverSpent { id: conn }
        },
        |enclave, conn| {
            enclave.send(ToHost::Eof { conn });
            enclave.send(ToHost::Data { conn, bytes: b"x" });
            Violation::AfterEnd { id: conn }
        },
        |enclave, _| {
            let conn = ConnId::accepted(77);
            enclave.send(ToHost::Eof { conn });
            Violation::Unknown { id: conn }
        },
        |enclave, _| {
            let conn = ConnId::dialed(1);
            for _ in 0..2 {
                enclave.send(ToHost::Dial { conn, port: 1, host: "127.0.0.1" });
            }
            Violation::Reused { id: conn }
        },
        |enclave, _| {
            let conn = ConnId::dialed(1);
            enclave.send(ToHost::Dial { conn, port: 1, host: "192.0.2.1" });
            enclave.send(ToHost::Data { conn, bytes: b"x" });
            Violation::NotOpen { id: conn }
        },
    ];
    for offence in breaks {
        let mut enclave = Enclave::new();
        let (mut client, conn) = enclave.accept();
        let expected = offence(&mut enclave, conn);
        // What was sent within the credit may still arrive.
        match enclave.fails() {
            StationError::Violation(violation) => assert_eq!(violation, expected),
            other => panic!("{other}"),
        }
        while client.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
        assert_eq!(enclave.services.control.connections(), 0);
        assert_eq!(enclave.services.control.pending_bytes(), 0);
        enclave.station.turn(Turn::Poll).unwrap();
    }
}

#[test]
fn bytes_that_are_no_frame_stop_the_station() {
    let mut enclave = Enclave::new();
    assert!(enclave.output.push(&[b"not a frame, and long enough for a header"]).unwrap());
    assert!(matches!(enclave.fails(), StationError::Frame(_)));
    let mut enclave = Enclave::new();
    enclave.send(ToHost::Request { id: 1, last: true, bytes: b"\xff" });
    assert!(matches!(enclave.fails(), StationError::Request(_)));
}

#[test]
fn requests_of_any_length_are_answered() {
    let mut enclave = Enclave::new();
    let (key, value) = ([7; 32], vec![3; 200_000]);
    let ops = (0..20).map(|i| KvOp::Put { key: [i; 32], value: value.clone() }).collect();
    enclave.ask(1, &Request::KvBatch { ops });
    assert_eq!(enclave.wait(), [Said::Reply(1, Response::Done)]);
    enclave.ask(2, &Request::KvGet { key });
    assert_eq!(enclave.wait(), [Said::Reply(2, Response::KvValue(Some(value)))]);
    enclave.ask(3, &Request::TargetInfo);
    match enclave.wait().as_slice() {
        [Said::Reply(3, Response::Failed { code: FailureCode::Unsupported, .. })] => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn pages_beyond_the_ring_arrive_whole() {
    let mut enclave = Enclave::new();
    let ops = (0..8).map(|i| KvOp::Put { key: [i; 32], value: vec![i; 240_000] }).collect();
    enclave.ask(1, &Request::KvBatch { ops });
    assert_eq!(enclave.wait(), [Said::Reply(1, Response::Done)]);
    for id in 2..6 {
        enclave.ask(id, &Request::KvScan { after: None, max_bytes: u32::MAX });
    }
    let mut pages = 0;
    while pages < 4 {
        for said in enclave.wait() {
            let Said::Reply(_, Response::KvPage { records, more }) = said else { panic!("{said:?}") };
            assert!(more && records.len() == 4, "{} records", records.len());
            pages += 1;
        }
    }
}

#[test]
fn a_wait_ends_by_doorbell_or_by_the_clock() {
    let mut enclave = Enclave::new();
    let doorbell = enclave.station.doorbell();
    let ringing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        doorbell.ring();
    });
    enclave.station.turn(Turn::Wait { until_ns: None }).unwrap();
    ringing.join().unwrap();
    let until = monotonic_ns() + 30_000_000;
    enclave.station.turn(Turn::Wait { until_ns: Some(until) }).unwrap();
    assert!(monotonic_ns() >= until);
    // Rung while it does not wait: the next wait ends at once.
    enclave.station.doorbell().ring();
    enclave.station.turn(Turn::Wait { until_ns: None }).unwrap();
}

#[test]
fn dials_go_where_routes_say_and_failures_have_names() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let mut enclave = Enclave::with_routes(&[format!("a.example:443:127.0.0.1:{port}")]);
    let (routed, refused) = (ConnId::dialed(1), ConnId::dialed(2));
    enclave.send(ToHost::Dial { conn: routed, port: 443, host: "A.example" });
    enclave.send(ToHost::Dial { conn: refused, port: 1, host: "127.0.0.1" });
    let mut said = enclave.wait();
    while said.len() < 2 {
        said.extend(enclave.wait());
    }
    assert!(said.contains(&Said::Dialed(routed, Ok(()))), "{said:?}");
    assert!(said.contains(&Said::Dialed(refused, Err(DialFailure::Refused))), "{said:?}");
    let (mut stream, _) = server.accept().unwrap();
    stream.write_all(b"hello").unwrap();
    assert_eq!(enclave.wait(), [Said::Data(routed, b"hello".to_vec())]);
    let unknown = ConnId::dialed(3);
    enclave.send(ToHost::Dial { conn: unknown, port: 443, host: "does-not-exist.invalid" });
    assert_eq!(enclave.wait(), [Said::Dialed(unknown, Err(DialFailure::NameNotFound))]);
    // Given up while it is under way.
    let given_up = ConnId::dialed(4);
    enclave.send(ToHost::Dial { conn: given_up, port: 443, host: "192.0.2.1" });
    enclave.send(ToHost::Reset { conn: given_up });
    enclave.station.turn(Turn::Poll).unwrap();
    assert_eq!(enclave.services.control.connections(), 1);
}

#[test]
fn draining_is_told_once_and_ends_accepting() {
    let mut enclave = Enclave::new();
    enclave.invite(5);
    enclave.services.control.drain(Duration::from_millis(1500));
    enclave.station.doorbell().ring();
    assert_eq!(enclave.wait(), [Said::Drain(1500)]);
    let _late = TcpStream::connect(enclave.address).unwrap();
    enclave.nothing();
}

#[test]
fn without_descriptors_accepting_pauses_and_costs_nothing() {
    let mut enclave = Enclave::new();
    let mut client = TcpStream::connect(enclave.address).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let lowest_free = std::fs::File::open("/dev/null").map(|f| std::os::fd::AsRawFd::as_raw_fd(&f)).unwrap();
    let full = Rlimit { current: Some(lowest_free as u64), maximum: limit.maximum };
    setrlimit(Resource::Nofile, full).unwrap();
    enclave.invite(1);
    let before = clock_gettime(ClockId::ProcessCPUTime);
    let until = monotonic_ns() + 500_000_000;
    enclave.station.turn(Turn::Wait { until_ns: Some(until) }).unwrap();
    while monotonic_ns() < until {
        enclave.station.turn(Turn::Wait { until_ns: Some(until) }).unwrap();
    }
    let after = clock_gettime(ClockId::ProcessCPUTime);
    let used_ns = (after.tv_sec - before.tv_sec) * 1_000_000_000 + (after.tv_nsec - before.tv_nsec);
    assert_eq!(enclave.take(), []);
    assert!(used_ns < 50_000_000, "{used_ns} ns of CPU while nothing could be accepted");
    setrlimit(Resource::Nofile, limit).unwrap();
    assert_eq!(enclave.wait(), [Said::Accepted(ConnId::accepted(1))]);
    client.write_all(b"at last").unwrap();
    assert_eq!(enclave.wait(), [Said::Data(ConnId::accepted(1), b"at last".to_vec())]);
}
