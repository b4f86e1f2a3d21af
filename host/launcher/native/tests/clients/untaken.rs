//! Clients that ask and do not take the answers.

use std::io::{Read, Write};

use serde_json::json;

use crate::support::{Host, Tls};

/// A component whose `big() -> string` takes 6 MiB of JSON.
fn artifact() -> Vec<u8> {
    let text = r#"(component
        (core module $m
            (memory (export "memory") 20)
            (data (i32.const 0) "\10\00\00\00\00\00\10\00")
            (func (export "big") (result i32) (i32.const 0)))
        (core instance $i (instantiate $m))
        (alias core export $i "memory" (core memory $memory))
        (func (export "big") (result string)
            (canon lift (core func $i "big") (memory $memory))))"#;
    let wasm = wat::parse_str(text).unwrap();
    enclave_os_compiler::compile(&wasm, enclave_os_compiler::NATIVE_TARGET).unwrap()
}

const CALL: &str = "/.enclave/v1/apps/a/call/big";

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The next frame's type and payload.
fn receive(tls: &mut Tls) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    tls.read_exact(&mut head).unwrap();
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    tls.read_exact(&mut payload).unwrap();
    (head[3], payload)
}

#[test]
fn answers_that_nobody_takes_share_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::start(dir.path());
    assert_eq!(host.http("PUT", "/.enclave/v1/apps/a", &artifact()).status, 200);

    let streams = 64;
    let mut tls = host.tls("localhost", &["h2"]);
    let mut request = vec![0x83, 0x87, 0x04, u8::try_from(CALL.len()).unwrap()];
    request.extend_from_slice(CALL.as_bytes());
    request.extend_from_slice(b"\x01\x09localhost");
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // INITIAL_WINDOW_SIZE 0: no byte of any body may be sent.
    sent.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for stream in 0..streams {
        sent.extend(frame(1, 0x05, 2 * stream + 1, &request));
    }
    tls.write_all(&sent).unwrap();
    tls.flush().unwrap();

    let (mut held, mut refused) = (0, 0);
    while held + refused < streams {
        let (kind, payload) = receive(&mut tls);
        assert!(kind != 0 && kind != 3 && kind != 7, "frame {kind}: {payload:?}");
        if kind == 1 {
            // `:status: 200` is entry 8 of HPACK's static table.
            let counter = if payload.first() == Some(&0x88) { &mut held } else { &mut refused };
            *counter += 1;
        }
    }
    assert!(held >= 16 && refused >= 16, "{held} held, {refused} refused");
    // Others go on; what is too large for now is refused by name.
    assert_eq!(host.framed().raw(b"\"Ping\""), json!("Pong"));
    assert_eq!(host.http("GET", "/.enclave/v1/health", b"").status, 200);
    let big = host.http("POST", CALL, b"");
    assert!(big.status == 200 || big.problem() == (503, "overloaded".into()), "{}", big.head);

    drop(tls);
    for attempt in 0.. {
        let free = host.http("POST", CALL, b"");
        if free.status == 200 {
            break;
        }
        assert!(attempt < 100 && free.problem() == (503, "overloaded".into()), "{}", free.head);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    host.stop();
}
