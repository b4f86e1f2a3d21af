//! Frames and their limits, as both sides rely on them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, SocketAddr};

use boundary_wire::frame::{
    ConnId, DialFailure, FrameError, HEADER, MAX_FRAME, MAX_PAYLOAD, ToEnclave, ToHost, data_header, is_host,
};
use proptest::prelude::*;

fn conn() -> impl Strategy<Value = ConnId> {
    any::<u64>().prop_map(ConnId)
}

fn failure() -> impl Strategy<Value = DialFailure> {
    prop::sample::select(vec![
        DialFailure::Refused,
        DialFailure::Unreachable,
        DialFailure::TimedOut,
        DialFailure::NameNotFound,
        DialFailure::Denied,
        DialFailure::Other,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_the_host_sends_arrives(
        conn in conn(),
        ip in any::<IpAddr>(),
        port in any::<u16>(),
        failure in failure(),
        bytes in proptest::collection::vec(any::<u8>(), 1..300),
        number in any::<u32>(),
        last in any::<bool>(),
    ) {
        let (accepted, dialed) = (ConnId::accepted(conn.0), ConnId::dialed(conn.0));
        let frames = [
            ToEnclave::Accepted { conn: accepted, peer: SocketAddr::new(ip, port) },
            ToEnclave::Dialed { conn: dialed, result: Ok(()) },
            ToEnclave::Dialed { conn: dialed, result: Err(failure) },
            ToEnclave::Data { conn, bytes: &bytes },
            ToEnclave::Eof { conn },
            ToEnclave::Reset { conn },
            ToEnclave::Credit { conn, bytes: number },
            ToEnclave::Reply { id: conn.0, last, bytes: &bytes },
            ToEnclave::Reply { id: conn.0, last: true, bytes: &[] },
            ToEnclave::Drain { grace_ms: number },
        ];
        for frame in frames {
            let encoded = frame.encode().unwrap();
            let bytes = encoded.to_vec();
            prop_assert_eq!(encoded.len(), bytes.len());
            prop_assert_eq!(ToEnclave::decode(&bytes), Ok(frame));
            assert_exact(&bytes, |bytes| ToEnclave::decode(bytes).is_ok());
        }
    }

    #[test]
    fn what_the_enclave_sends_arrives(
        conn in conn(),
        port in 1..=u16::MAX,
        host in "[a-zA-Z0-9_-]{1,63}(\\.[a-z0-9]{1,20}){0,3}",
        bytes in proptest::collection::vec(any::<u8>(), 1..300),
        number in any::<u32>(),
        last in any::<bool>(),
    ) {
        let frames = [
            ToHost::Dial { conn: ConnId::dialed(conn.0), port, host: &host },
            ToHost::Data { conn, bytes: &bytes },
            ToHost::Eof { conn },
            ToHost::Reset { conn },
            ToHost::Closed { conn },
            ToHost::Credit { conn, bytes: number },
            ToHost::Request { id: conn.0, last, bytes: &bytes },
        ];
        for frame in frames {
            let bytes = frame.encode().unwrap().to_vec();
            prop_assert_eq!(ToHost::decode(&bytes), Ok(frame));
            assert_exact(&bytes, |bytes| ToHost::decode(bytes).is_ok());
        }
    }

    #[test]
    fn any_bytes_have_an_answer(kind in 0..20u8, id in any::<u64>(), payload in any::<Vec<u8>>(), honest in any::<bool>()) {
        let stated = if honest { payload.len() as u32 } else { id as u32 };
        let mut bytes = vec![kind, u8::from(id & 1 == 1), 0, 0];
        bytes.extend(stated.to_le_bytes());
        bytes.extend(id.to_le_bytes());
        bytes.extend(&payload);
        for input in [&bytes[..], &payload[..]] {
            if let Ok(frame) = ToEnclave::decode(input) {
                prop_assert_eq!(frame.encode().unwrap().to_vec(), input);
            }
            if let Ok(frame) = ToHost::decode(input) {
                prop_assert_eq!(frame.encode().unwrap().to_vec(), input);
            }
        }
    }
}

/// Neither one byte less nor one more is the same frame.
fn assert_exact(bytes: &[u8], accepted: impl Fn(&[u8]) -> bool) {
    assert!(!accepted(&bytes[..bytes.len() - 1]));
    assert!(!accepted(&[bytes, &[0]].concat()));
}

fn raw(kind: u8, flags: u8, reserved: u16, id: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, flags];
    bytes.extend(reserved.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(id.to_le_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn the_bytes_are_those_of_the_documented_table() {
    let dial = ToHost::Dial { conn: ConnId::dialed(1), port: 443, host: "a.example" };
    let expected = raw(9, 0, 0, 1 << 63 | 1, b"\xbb\x01a.example");
    assert_eq!(dial.encode().unwrap().to_vec(), expected);
    let peer = "192.0.2.7:8080".parse().unwrap();
    let accepted = ToEnclave::Accepted { conn: ConnId::accepted(5), peer };
    assert_eq!(accepted.encode().unwrap().to_vec(), raw(1, 0, 0, 5, &[4, 0, 0x90, 0x1f, 192, 0, 2, 7]));
    let reply = ToEnclave::Reply { id: 3, last: true, bytes: b"x" };
    assert_eq!(reply.encode().unwrap().to_vec(), raw(7, 1, 0, 3, b"x"));
    let drain = ToEnclave::Drain { grace_ms: 1000 };
    assert_eq!(drain.encode().unwrap().to_vec(), raw(8, 0, 0, 0, &[0xe8, 3, 0, 0]));
}

#[test]
fn each_direction_has_its_own_kinds() {
    assert_eq!(ToEnclave::decode(&raw(9, 0, 0, 1 << 63, b"\x01\x00a")), Err(FrameError::Kind(9)));
    assert_eq!(ToEnclave::decode(&raw(10, 0, 0, 0, b"")), Err(FrameError::Kind(10)));
    assert_eq!(ToHost::decode(&raw(1, 0, 0, 0, &[4, 0, 0, 0, 1, 2, 3, 4])), Err(FrameError::Kind(1)));
    assert_eq!(ToHost::decode(&raw(0, 0, 0, 0, b"")), Err(FrameError::Kind(0)));
}

#[test]
fn header_fields_are_held_to_their_values() {
    let flags = |kind, flags, reserved| FrameError::Flags { kind, flags, reserved };
    assert_eq!(ToEnclave::decode(&raw(3, 1, 0, 1, b"x")), Err(flags(3, 1, 0)));
    assert_eq!(ToEnclave::decode(&raw(7, 2, 0, 1, b"x")), Err(flags(7, 2, 0)));
    assert_eq!(ToEnclave::decode(&raw(3, 0, 9, 1, b"x")), Err(flags(3, 0, 9)));
    assert_eq!(ToEnclave::decode(&raw(8, 0, 0, 4, &[0; 4])), Err(FrameError::Id { kind: 8, id: 4 }));
    let (out, peer) = (1 << 63, [4, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(ToEnclave::decode(&raw(1, 0, 0, out, &peer)), Err(FrameError::Id { kind: 1, id: out }));
    assert_eq!(ToEnclave::decode(&raw(2, 0, 0, 6, &[0])), Err(FrameError::Id { kind: 2, id: 6 }));
    assert_eq!(ToHost::decode(&raw(9, 0, 0, 6, b"\x01\x00a")), Err(FrameError::Id { kind: 9, id: 6 }));
    let mut short = raw(3, 0, 0, 1, b"xyz");
    short.pop();
    assert_eq!(ToEnclave::decode(&short), Err(FrameError::Length { stated: 3, present: 2 }));
    assert_eq!(ToEnclave::decode(&[3, 0, 0]), Err(FrameError::Truncated));
}

#[test]
fn fields_are_held_to_their_values() {
    assert_eq!(ToEnclave::decode(&raw(2, 0, 0, 1 << 63, &[7])), Err(FrameError::DialResult(7)));
    assert_eq!(ToEnclave::decode(&raw(1, 0, 0, 0, &[5; 8])), Err(FrameError::AddressFamily(5)));
    assert_eq!(ToEnclave::decode(&raw(1, 0, 0, 0, &[6; 8])), Err(FrameError::AddressFamily(6)));
    assert_eq!(ToEnclave::decode(&raw(3, 0, 0, 0, &[])), Err(FrameError::Empty(3)));
    assert_eq!(ToEnclave::decode(&raw(7, 0, 0, 0, &[])), Err(FrameError::Empty(7)));
    assert_eq!(ToEnclave::decode(&raw(4, 0, 0, 0, &[1])), Err(FrameError::Trailing));
    for payload in [&b"\x00\x00a"[..], b"\x01\x00", b"\x01\x00\xff", b"\x01\x00a b", b"\x01\x00a\0"] {
        assert_eq!(ToHost::decode(&raw(9, 0, 0, 1 << 63, payload)), Err(FrameError::Destination));
    }
}

#[test]
fn nothing_is_sent_that_would_be_refused() {
    let conn = ConnId::accepted(1);
    let long = vec![0; MAX_PAYLOAD + 1];
    let error = |frame: ToHost<'_>| frame.encode().unwrap_err();
    assert_eq!(error(ToHost::Data { conn, bytes: &[] }), FrameError::Empty(3));
    assert_eq!(error(ToHost::Data { conn, bytes: &long }), FrameError::TooLong(MAX_PAYLOAD + 1));
    assert_eq!(error(ToHost::Request { id: 0, last: false, bytes: &[] }), FrameError::Empty(11));
    assert_eq!(error(ToHost::Dial { conn, port: 1, host: "a" }), FrameError::Id { kind: 9, id: 1 });
    let conn = ConnId::dialed(1);
    assert_eq!(error(ToHost::Dial { conn, port: 0, host: "a" }), FrameError::Destination);
    assert_eq!(error(ToHost::Dial { conn, port: 1, host: "a/b" }), FrameError::Destination);
    let most = ToHost::Data { conn, bytes: &long[1..] };
    assert_eq!(most.encode().unwrap().len(), MAX_FRAME);
}

#[test]
fn a_header_behind_which_the_bytes_already_lie() {
    let conn = ConnId::accepted(8);
    let header = data_header(conn, 5).unwrap();
    assert_eq!(
        ToEnclave::decode(&[&header[..], b"hello"].concat()),
        Ok(ToEnclave::Data { conn, bytes: b"hello" })
    );
    assert_eq!(header.len(), HEADER);
    assert_eq!(data_header(conn, 0), Err(FrameError::Empty(3)));
    assert_eq!(data_header(conn, MAX_PAYLOAD + 1), Err(FrameError::TooLong(MAX_PAYLOAD + 1)));
}

#[test]
fn hosts_are_names_or_addresses() {
    let label = "a".repeat(63);
    let longest = [&label[..], &label, &label, &label[..61]].join(".");
    for good in ["localhost", "www.lemonde.fr", "_dmarc.a-b.example", "127.0.0.1", "::1", "2001:db8::1"] {
        assert!(is_host(good), "{good}");
    }
    assert!(longest.len() == 253 && is_host(&longest));
    let too_long = format!("{longest}a");
    for bad in ["", ".", "a.", ".a", "a..b", "a b", "a/b", "a:1", "[::1]", "fe80::1%eth0", "ä.example", "a\n"]
    {
        assert!(!is_host(bad), "{bad}");
    }
    assert!(!is_host(&too_long) && !is_host(&format!("{label}a.example")));
}
