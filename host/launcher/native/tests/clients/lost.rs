//! A worker that the host never runs.
//!
//! Cause: the host decides which threads enter, and may leave one out for good.
//! Required: the others serve, `ready` says that something is missing and which thread it is, and the enclave
//! still ends in order when it is asked to.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use enclave_image::{Enclave, StartConfig};
use enclave_platform::ThreadIndex;
use serde_json::json;

use super::support::{Host, parts};

#[test]
fn a_worker_that_never_runs_is_named_and_the_others_serve() {
    const WORKERS: u16 = 2;
    const LOST: ThreadIndex = ThreadIndex(1);
    let dir = tempfile::tempdir().unwrap();
    let (told, events) = channel();
    let (platform, channels, address) =
        parts(dir.path(), WORKERS, Box::new(move |event| drop(told.send(event))));
    let enclave = Arc::new(Enclave::new(platform.clone(), StartConfig { workers: WORKERS }).unwrap());
    let mut threads = Vec::new();
    for (index, channel) in (0..).map(ThreadIndex).zip(channels) {
        enclave.init_channel(index, channel).unwrap();
        if index != LOST {
            let enclave = enclave.clone();
            threads.push(std::thread::spawn(move || enclave.run(index).unwrap()));
        }
    }
    let host = Host::at(address, events);
    for _ in 0..3 {
        let answer = host.http("GET", "/.enclave/v1/ready", b"");
        assert_eq!(answer.status, 200);
        let ready = answer.json();
        assert_eq!((&ready["status"], &ready["absent"]), (&json!("degraded"), &json!(["worker-1"])));
    }
    assert_eq!(host.framed().raw(b"\"Ping\""), json!("Pong"));
    platform.seats().drain(Duration::from_secs(5));
    enclave.shutdown();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
