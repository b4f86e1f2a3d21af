//! What does an attested handshake cost? The enclave with a cached certificate (tier `certificate`), with one made
//! for the connection (`challenge`) and with a quote over it (`channel`), beside a plain rustls server with the same
//! kind of key, in one run and by turns, because machines are noisy.
//!
//! `cargo xtask bench handshake`. All servers are processes of their own, the client is the same for each; what a
//! server needs of the processor is read from the system, so that the client's own share does not hide it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a measurement that fails measures nothing")]

mod clients;
mod report;
mod server;

use std::time::{Duration, Instant};

use enclave_os_client::attestation::verify::Tier;
use enclave_os_client::{Connector, VerifiedConnector, danger};
use scenarios::platform::Platform;

use report::{Row, Taken};
use server::{Enclave, Plain, cpu_time};

/// All servers are measured this often, by turns.
const ROUNDS: usize = 5;
/// Threads that connect at once.
const CLIENTS: usize = 2;
/// Handshakes of each thread in a round.
const HANDSHAKES: u32 = 200;
/// Verified connections in a round. All rounds together are what an enclave grants at once: then it makes only so many
/// quotes for strangers per second.
const VERIFIED: u32 = 40;

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(server::PLAIN) {
        return server::be_plain();
    }
    let json = std::env::args().any(|argument| argument == "--json");
    let plain = Plain::start();
    let image = Platform::of_the_image();
    let enclaves = [Platform::Native, image].map(Enclave::start);
    let mut rows = vec![Row::new("plain rustls server", None)];
    for enclave in &enclaves {
        let name = |what: &str| format!("{}: {what}", enclave.platform.name());
        rows.push(Row::new(&name("certificate, cached"), Some(0)));
        rows.push(Row::new(&name("challenge, verified"), None));
        rows.push(Row::new(&name("channel, verified"), None));
    }
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        let mut row = rows.iter_mut();
        let mut add = |taken: Taken| row.next().unwrap().add(taken);
        add(handshakes(&anyone(plain.address()), plain.id()));
        for enclave in &enclaves {
            add(handshakes(&anyone(&enclave.host.address().to_string()), enclave.host.id()));
            for tier in [Tier::Challenge, Tier::Channel] {
                add(verified(&enclave.connector().tier(tier), enclave.host.id()));
            }
        }
    }
    let costs = clients::verification_costs(&enclaves[0]);
    report::print(&rows, &costs, json);
}

fn anyone(address: &str) -> Connector {
    danger::accept_any_certificate(Connector::new(address)).server_name("localhost")
}

/// Full handshakes from several threads at once; the client looks at no quote.
fn handshakes(connector: &Connector, server: u32) -> Taken {
    let (before, begun) = (cpu_time(server), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..HANDSHAKES {
                    drop(connector.connect(&[b"http/1.1"]).unwrap());
                }
            });
        }
    });
    taken(begun.elapsed(), cpu_time(server) - before, HANDSHAKES * CLIENTS as u32)
}

/// Connections one after the other, each judged by a policy before it is used.
fn verified(connector: &VerifiedConnector, server: u32) -> Taken {
    let (before, begun) = (cpu_time(server), Instant::now());
    for _ in 0..VERIFIED {
        drop(connector.framed().unwrap());
    }
    taken(begun.elapsed(), cpu_time(server) - before, VERIFIED)
}

fn taken(elapsed: Duration, cpu: Duration, count: u32) -> Taken {
    Taken {
        per_second: f64::from(count) / elapsed.as_secs_f64(),
        server_microseconds: cpu.as_secs_f64() * 1e6 / f64::from(count),
    }
}
