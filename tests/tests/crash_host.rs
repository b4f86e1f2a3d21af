//! A host that dies in the middle of its work, as clients see it (DESIGN §5.4).
//!
//! Bug: a value that a client was told is stored is gone after a restart, or is that of an earlier write.
//! Required: after each SIGKILL under load, every acknowledged value is there, on every platform.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use boundary_wire::client::{Load, Params};
use enclave_os_client::{ClientError, Framed};
use scenarios::example;
use scenarios::host::{HostOptions, HostProcess};
use scenarios::platform::Platform;
use serde_json::json;

scenarios::on_each_platform!(no_kill_of_the_host_loses_an_acknowledged_value);

const KILLS: u64 = 8;
const WRITERS: u64 = 3;
const KEYS: u64 = 4;

fn call(client: &mut Framed, function: &str, arguments: &[&str]) -> Result<String, ClientError> {
    let params = Params::Positional(arguments.iter().map(|argument| json!(argument)).collect());
    let returned = client.call("app", function, params)?;
    Ok(returned[0]["value"].as_str().unwrap().to_owned())
}

fn no_kill_of_the_host_loses_an_acknowledged_value(platform: Platform) {
    let folder = tempfile::tempdir().unwrap();
    let options = HostOptions::development(platform, folder.path().join("data"));
    let mut host = HostProcess::start(&options).unwrap();
    let bytes = example::artifact(platform).unwrap();
    host.framed().unwrap().load(Load { name: "app".into(), bytes, ..Load::default() }).unwrap();

    let times: u64 = std::env::var("ENCLAVE_OS_TEST_ROUNDS").map_or(1, |times| times.parse().unwrap());
    let mut acknowledged = BTreeMap::new();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 1..=KILLS * times {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let life = Duration::from_micros(20_000 + (noise >> 33) % 150_000);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut client = host.framed().unwrap();
                std::thread::spawn(move || write_until_it_dies(&mut client, writer, round))
            })
            .collect();
        std::thread::sleep(life);
        host.kill().unwrap();
        for writer in writers {
            acknowledged.extend(writer.join().unwrap());
        }
        host = HostProcess::start(&options).unwrap();
        let mut client = host.framed().unwrap();
        for (key, wanted) in &acknowledged {
            let found: u64 = call(&mut client, "kv-read", &[key]).unwrap().parse().unwrap();
            assert!(found >= *wanted, "round {round}: `{key}` is {found}, {wanted} was acknowledged");
        }
    }
    assert!(acknowledged.len() as u64 >= WRITERS, "only {} values were acknowledged", acknowledged.len());
}

/// Each value is larger than all before it, so a lost write shows. Gives what was acknowledged.
fn write_until_it_dies(client: &mut Framed, writer: u64, round: u64) -> BTreeMap<String, u64> {
    let mut acknowledged = BTreeMap::new();
    for n in 0.. {
        let (key, value) = (format!("{writer}-{}", n % KEYS), (round << 32) + n);
        match call(client, "kv-store", &[&key, &value.to_string()]) {
            Ok(answer) => {
                assert_eq!(answer, format!("stored: {key}"));
                acknowledged.insert(key, value);
            }
            Err(_) => break,
        }
    }
    acknowledged
}
