//! `wasi:clocks`, `wasi:random`, `wasi:cli` and `wasi:sockets`.

use std::time::{Duration, Instant, SystemTime};

use crate::Log;
use crate::wasi::cli::{
    environment, stderr, stdin, stdout, terminal_stderr, terminal_stdin, terminal_stdout,
};
use crate::wasi::clocks::{monotonic_clock, wall_clock};
use crate::wasi::random::{insecure, insecure_seed, random};
use crate::wasi::sockets::instance_network::instance_network;
use crate::wasi::sockets::ip_name_lookup::resolve_addresses;
use crate::wasi::sockets::network::IpAddressFamily;
use crate::wasi::sockets::tcp_create_socket::create_tcp_socket;
use crate::wasi::sockets::udp_create_socket::create_udp_socket;

pub fn clocks(log: &mut Log) {
    let times: Vec<u64> = (0..100).map(|_| monotonic_clock::now()).collect();
    log.say("never backwards", times.is_sorted());
    log.say("resolution", monotonic_clock::resolution() > 0);
    for wait in [0, 1, 1_000_000, 15_000_000] {
        let start = monotonic_clock::now();
        monotonic_clock::subscribe_duration(wait).block();
        log.say(format!("a wait of {wait} ns"), monotonic_clock::now() >= start + wait);
        let until = monotonic_clock::now() + wait;
        monotonic_clock::subscribe_instant(until).block();
        log.say("until an instant", monotonic_clock::now() >= until);
    }
    let (one, two) = (wall_clock::now(), wall_clock::now());
    log.say("of this century", one.seconds > 1_500_000_000 && one.seconds < 4_000_000_000);
    log.say("whole seconds apart", one.nanoseconds < 1_000_000_000 && two.nanoseconds < 1_000_000_000);
    log.say("not backwards", (two.seconds, two.nanoseconds) >= (one.seconds, one.nanoseconds));
    let resolution = wall_clock::resolution();
    log.say("resolution", (resolution.seconds, resolution.nanoseconds) > (0, 0));
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(10));
    log.say("a sleep", start.elapsed() >= Duration::from_millis(10));
    log.say("since 1970", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).is_ok());
}

pub fn random(log: &mut Log) {
    for length in [0, 1, 7, 32, 100, 4096, 65_536] {
        log.say(format!("{length} bytes"), random::get_random_bytes(length).len());
        log.say("insecure", insecure::get_insecure_random_bytes(length).len());
    }
    let distinct = |numbers: [u64; 3]| numbers[0] != numbers[1] && numbers[1] != numbers[2];
    log.say("numbers", distinct([(); 3].map(|()| random::get_random_u64())));
    log.say("insecure", distinct([(); 3].map(|()| insecure::get_insecure_random_u64())));
    log.say("bytes", random::get_random_bytes(32) != random::get_random_bytes(32));
    log.say("insecure", insecure::get_insecure_random_bytes(32) != insecure::get_insecure_random_bytes(32));
    log.say("the seed stays", insecure_seed::insecure_seed() == insecure_seed::insecure_seed());
    log.say("and is one", insecure_seed::insecure_seed() != (0, 0));
}

pub fn cli(log: &mut Log) {
    let mut variables = environment::get_environment();
    variables.sort();
    log.say("environment", variables);
    log.say("arguments", environment::get_arguments());
    log.say("directory", environment::initial_cwd());
    log.say("std arguments", std::env::args().collect::<Vec<_>>());
    log.say("std variable", std::env::var("GREETING"));
    log.say("no variable", std::env::var("NONE"));
    log.say("std directory", std::env::current_dir().map_err(|error| error.kind()));
    log.say(
        "terminals",
        (
            terminal_stdin::get_terminal_stdin().is_some(),
            terminal_stdout::get_terminal_stdout().is_some(),
            terminal_stderr::get_terminal_stderr().is_some(),
        ),
    );
    for (name, stream) in [("stdout", stdout::get_stdout()), ("stderr", stderr::get_stderr())] {
        stream.subscribe().block();
        log.say(name, stream.check_write().map(|permit| permit > 0).map_err(drop));
        log.say("write", stream.write(b"a line\n").map_err(drop));
        log.say("flush", stream.blocking_flush().map_err(drop));
        log.say("and more", stream.blocking_write_and_flush(b"another line\n").map_err(drop));
        log.say("zeros", stream.blocking_write_zeroes_and_flush(1).map_err(drop));
    }
    let (one, two) = (stdin::get_stdin(), stdin::get_stdin());
    log.say("stdin", (one.blocking_read(1).map_err(drop), two.blocking_read(1).map_err(drop)));
    println!("printed");
    eprintln!("printed");
}

pub fn sockets(log: &mut Log) {
    for family in [IpAddressFamily::Ipv4, IpAddressFamily::Ipv6] {
        log.say(format!("tcp {family:?}"), create_tcp_socket(family).map(drop));
        log.say(format!("udp {family:?}"), create_udp_socket(family).map(drop));
    }
    let network = instance_network();
    for name in ["localhost", "example.org", "127.0.0.1", "::1", "", "not a name", "a..b"] {
        log.say(format!("resolve {name:?}"), resolve_addresses(&network, name).map(drop));
    }
    let kind = |error: std::io::Error| (error.kind(), error.raw_os_error());
    log.say("std connect", std::net::TcpStream::connect("127.0.0.1:1").map(drop).map_err(kind));
    log.say("std listen", std::net::TcpListener::bind("127.0.0.1:0").map(drop).map_err(kind));
    log.say("std udp", std::net::UdpSocket::bind("127.0.0.1:0").map(drop).map_err(kind));
}
