//! A station and the enclave's ends of its channel, driven by hand.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use boundary_ring::{Consumer, Producer, host};
use boundary_wire::frame::{ConnId, FIRST_CREDIT, MAX_CREDIT, ToEnclave, ToHost};
use boundary_wire::rpc::{FailureCode, Request, Response};
use host_services::log::{Format, Log};
use host_services::network::{Listener, Resolver};
use host_services::quoting::{Quoting, QuotingError};
use host_services::station::{Control, Services, Station, Turn};
use host_services::{clock, storage};

/// Long enough that a test which waits for it has failed.
const LONG: Duration = Duration::from_secs(5);

struct Enclave {
    station: Station,
    input: Consumer,
    output: Producer,
    listener: Listener,
    _data: Arc<tempfile::TempDir>,
}

impl Enclave {
    fn new() -> Self {
        Self::with_neighbour(10_000).0
    }

    /// Two stations of one host that holds so many connections.
    fn with_neighbour(most_connections: usize) -> (Self, Self) {
        Self::with_quoting(most_connections, None)
    }

    fn with_quoting(most_connections: usize, quoting: Option<Arc<dyn Quoting>>) -> (Self, Self) {
        let data = Arc::new(tempfile::tempdir().unwrap());
        let services = Arc::new(Services {
            storage: storage::open(data.path()).unwrap(),
            quoting,
            log: Log::to(std::io::sink(), Format::Text).unwrap(),
            resolver: Resolver::start(Vec::new()).unwrap(),
            control: Control::new(most_connections),
        });
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let enclave = |thread| {
            let (here, there) = host::channel(512 * 1024).unwrap();
            let station = Station::new(thread, here, services.clone(), Some(listener.clone())).unwrap();
            let (input, output) =
                (Consumer::new(there.to_enclave).unwrap(), Producer::new(there.to_host).unwrap());
            Enclave { station, input, output, listener: listener.clone(), _data: data.clone() }
        };
        (enclave(0), enclave(1))
    }

    fn send(&mut self, frame: &ToHost<'_>) -> bool {
        self.output.push(&frame.encode().unwrap().parts()).unwrap()
    }

    /// Leaves until there is something to do, and returns how long that took.
    fn wait(&mut self) -> Duration {
        let (started, long) = (Instant::now(), u64::try_from(LONG.as_nanos()).unwrap());
        let until_ns = Some(clock::monotonic_ns() + long);
        self.station.turn(Turn::Wait { until_ns }).unwrap();
        started.elapsed()
    }

    /// Takes one frame, if there is one.
    fn next<T>(&mut self, act: impl FnOnce(ToEnclave<'_>) -> T) -> Option<T> {
        let mut bytes = Vec::new();
        let message = self.input.peek().unwrap()?;
        message.copy_to(&mut bytes);
        message.consume();
        Some(act(ToEnclave::decode(&bytes).unwrap()))
    }

    /// Waits for the next frame.
    fn expect<T>(&mut self, act: impl FnOnce(ToEnclave<'_>) -> T) -> T {
        let started = Instant::now();
        while self.input.peek().unwrap().is_none() {
            assert!(started.elapsed() < LONG, "no frame came");
            self.wait();
        }
        self.next(act).unwrap()
    }

    fn ask(&mut self, id: u64, request: &Request) {
        let request = request.encode().unwrap();
        assert!(self.send(&ToHost::Request { id, last: true, bytes: &request }));
    }

    /// Waits for the next reply.
    fn reply(&mut self) -> (u64, Response) {
        self.expect(|frame| match frame {
            ToEnclave::Reply { id, last: true, bytes } => (id, Response::decode(bytes).unwrap()),
            other => panic!("{other:?}"),
        })
    }

    /// A client and its connection.
    fn accept(&mut self) -> (TcpStream, ConnId) {
        assert!(self.send(&ToHost::Credit { conn: ConnId::LISTENER, bytes: 1 }));
        self.station.turn(Turn::Poll).unwrap();
        let client = TcpStream::connect(self.listener.address().unwrap()).unwrap();
        let conn = self.expect(|frame| match frame {
            ToEnclave::Accepted { conn, .. } => conn,
            other => panic!("{other:?}"),
        });
        (client, conn)
    }
}

/// Bug: a station went to sleep over frames that it had not taken. Cause: it takes a limited number in one go,
/// and then asked the kernel for news without end. Required: whatever is in the ring is acted on before
/// a wait.
#[test]
fn no_frame_is_slept_over() {
    let mut enclave = Enclave::new();
    assert!(enclave.send(&ToHost::Credit { conn: ConnId::LISTENER, bytes: 1 }));
    enclave.station.turn(Turn::Poll).unwrap();
    for _ in 0..10_000 {
        assert!(enclave.send(&ToHost::Credit { conn: ConnId::LISTENER, bytes: 1 }));
    }
    let request = Request::KvGet { key: [1; 32] }.encode().unwrap();
    assert!(enclave.send(&ToHost::Request { id: 1, last: true, bytes: &request }));
    let waited = enclave.wait();
    assert!(waited < LONG / 2, "the request behind many frames was left for {waited:?}");
    let reply = enclave.next(|frame| match frame {
        ToEnclave::Reply { id: 1, last: true, bytes } => Response::decode(bytes).unwrap(),
        other => panic!("{other:?}"),
    });
    assert_eq!(reply, Some(Response::KvValue(None)));
}

/// A client that sends more than the enclave has room for is read as far as the credit goes, and on when more
/// is granted: no edge is lost.
#[test]
fn reading_stops_at_the_credit_and_goes_on_with_more() {
    let total = 2 * MAX_CREDIT as usize + 12_345;
    let mut enclave = Enclave::new();
    let (mut client, conn) = enclave.accept();
    let writer = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..total).map(|at| at as u8).collect();
        client.write_all(&bytes).unwrap();
        client
    });
    let (mut got, mut granted) = (0usize, FIRST_CREDIT as usize);
    while got < total {
        if got == granted {
            // Nothing comes without credit, however long the client pushes.
            let until_ns = Some(clock::monotonic_ns() + 20_000_000);
            enclave.station.turn(Turn::Wait { until_ns }).unwrap();
            assert!(enclave.next(|_| ()).is_none());
            assert!(enclave.send(&ToHost::Credit { conn, bytes: MAX_CREDIT }));
            granted += MAX_CREDIT as usize;
        }
        got += enclave.expect(|frame| match frame {
            ToEnclave::Data { bytes, .. } => {
                assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (got + at) as u8));
                bytes.len()
            }
            other => panic!("{other:?}"),
        });
    }
    drop(writer.join().unwrap());
    assert!(enclave.expect(|frame| matches!(frame, ToEnclave::Eof { .. })));
}

/// A client that reads nothing makes the station hold the enclave's credit and not a byte more; when it reads,
/// everything arrives.
#[test]
fn a_slow_reader_costs_its_credit() {
    let mut enclave = Enclave::new();
    let (mut client, conn) = enclave.accept();
    let chunk = vec![7; 32 * 1024];
    let (mut sent, mut credit) = (0usize, MAX_CREDIT as usize);
    let mut quiet = 0;
    // Until neither the socket takes more nor credit comes back.
    while quiet < 10 {
        if credit >= chunk.len() {
            assert!(enclave.send(&ToHost::Data { conn, bytes: &chunk }));
            sent += chunk.len();
            credit -= chunk.len();
            quiet = 0;
        }
        let until_ns = Some(clock::monotonic_ns() + 5_000_000);
        enclave.station.turn(Turn::Wait { until_ns }).unwrap();
        quiet += 1;
        while let Some(bytes) = enclave.next(|frame| match frame {
            ToEnclave::Credit { bytes, .. } => bytes as usize,
            other => panic!("{other:?}"),
        }) {
            credit += bytes;
            quiet = 0;
        }
    }
    assert!(credit < chunk.len() && sent > MAX_CREDIT as usize);
    assert!(enclave.send(&ToHost::Eof { conn }));
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        all.len()
    });
    let started = Instant::now();
    while !reader.is_finished() && started.elapsed() < LONG {
        let until_ns = Some(clock::monotonic_ns() + 5_000_000);
        enclave.station.turn(Turn::Wait { until_ns }).unwrap();
        while enclave.next(|_| ()).is_some() {}
    }
    assert_eq!(reader.join().unwrap(), sent);
}

/// Bug: at the host's limit a station stopped listening, and slept on when another station's connection had made
/// room. Required: a client that waits is accepted soon after there is room, by whichever station.
#[test]
fn room_that_another_station_makes_is_noticed() {
    let (mut full, mut waiting) = Enclave::with_neighbour(1);
    let (_first, conn) = full.accept();
    assert!(waiting.send(&ToHost::Credit { conn: ConnId::LISTENER, bytes: 1 }));
    waiting.station.turn(Turn::Poll).unwrap();
    let _second = TcpStream::connect(waiting.listener.address().unwrap()).unwrap();
    let until_ns = Some(clock::monotonic_ns() + 10_000_000);
    waiting.station.turn(Turn::Wait { until_ns }).unwrap();
    assert!(waiting.next(|_| ()).is_none(), "accepted beyond the limit");

    let waited = std::thread::scope(|scope| {
        let waited = scope.spawn(|| waiting.wait());
        // Time for the other to fall asleep; if it has not, it sees the room anyway.
        std::thread::sleep(Duration::from_millis(50));
        assert!(full.send(&ToHost::Reset { conn }));
        full.station.turn(Turn::Poll).unwrap();
        waited.join().unwrap()
    });
    assert!(waited < LONG / 2, "noticed only after {waited:?}");
    assert!(waiting.expect(|frame| matches!(frame, ToEnclave::Accepted { .. })));
}

/// A quoting enclave that answers when it is told to, and tells when nobody has it any more.
struct Slow {
    go: Mutex<Receiver<()>>,
    gone: Sender<()>,
}

impl Slow {
    fn start() -> (Arc<dyn Quoting>, Sender<()>, Receiver<()>) {
        let ((go, told), (gone, ended)) = (mpsc::channel(), mpsc::channel());
        (Arc::new(Slow { go: Mutex::new(told), gone }), go, ended)
    }

    fn answer(&self) -> Result<Vec<u8>, QuotingError> {
        self.go.lock().unwrap().recv().map_err(|error| QuotingError::Unavailable(error.to_string()))?;
        Ok(vec![7; 512])
    }
}

impl Quoting for Slow {
    fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
        self.answer()
    }

    fn quote(&self, _report: &[u8]) -> Result<Vec<u8>, QuotingError> {
        self.answer()
    }

    fn collateral(&self) -> Result<Vec<u8>, QuotingError> {
        self.answer()
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let _nobody_listens = self.gone.send(()).is_err();
    }
}

/// Bug: while the quoting service took its time, the control thread's records waited too, and so did its end.
/// Cause: the station answered every request before it took the next. Required: what is asked of the storage
/// engine is answered first, and the quoting service's answer reaches a station that waits.
#[test]
fn a_slow_quoting_service_keeps_nobody_from_the_records() {
    let (quoting, go, _ended) = Slow::start();
    let (mut enclave, _) = Enclave::with_quoting(10, Some(quoting));
    let report = vec![0; 432];
    let questions = [Request::TargetInfo, Request::Quote { report }, Request::Collateral];
    for (id, question) in (1..).zip(&questions) {
        enclave.ask(id, question);
    }
    enclave.ask(4, &Request::KvGet { key: [1; 32] });
    assert_eq!(enclave.reply(), (4, Response::KvValue(None)));
    let answer = || vec![7; 512];
    let answers = [Response::TargetInfo(answer()), Response::Quote(answer()), Response::Collateral(answer())];
    for (id, wanted) in (1..).zip(answers) {
        go.send(()).unwrap();
        assert_eq!(enclave.reply(), (id, wanted));
    }
}

/// Who asks more than the quoting service can answer is told so at once, and what it was asked before is
/// answered all the same.
#[test]
fn questions_beyond_a_bound_are_refused() {
    let (quoting, go, _ended) = Slow::start();
    let (mut enclave, _) = Enclave::with_quoting(10, Some(quoting));
    for id in 1..=100 {
        enclave.ask(id, &Request::TargetInfo);
    }
    enclave.ask(101, &Request::KvGet { key: [1; 32] });
    let mut refused = Vec::new();
    loop {
        match enclave.reply() {
            (101, Response::KvValue(None)) => break,
            (id, Response::Failed { code: FailureCode::Busy, .. }) => refused.push(id),
            other => panic!("{other:?}"),
        }
    }
    let taken: Vec<u64> = (1..=100).filter(|id| !refused.contains(id)).collect();
    assert!((1..=10).contains(&taken.len()), "{taken:?}");
    for id in taken {
        go.send(()).unwrap();
        assert_eq!(enclave.reply(), (id, Response::TargetInfo(vec![7; 512])));
    }
}

/// The thread that asks the quoting service ends with the station, and does not outlast its last question.
#[test]
fn nobody_asks_for_a_station_that_has_gone() {
    let (quoting, go, ended) = Slow::start();
    let (mut enclave, neighbour) = Enclave::with_quoting(10, Some(quoting));
    for id in 1..=3 {
        enclave.ask(id, &Request::TargetInfo);
    }
    enclave.ask(4, &Request::KvGet { key: [1; 32] });
    assert_eq!(enclave.reply().0, 4);
    drop((enclave, neighbour));
    go.send(()).unwrap();
    ended.recv_timeout(LONG).expect("the thread let go of the quoting service");
}
