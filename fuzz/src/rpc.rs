//! Messages between enclave and host.

use std::collections::BTreeMap;

use boundary_wire::rpc::{Limits, Reassembler, Request, Response};

/// A message has one encoding: what was decoded encodes to the same bytes.
pub(crate) fn request(input: &[u8]) {
    let Ok(request) = Request::decode(input) else { return };
    assert!(request.encode().is_ok_and(|bytes| bytes == input));
}

pub(crate) fn response(input: &[u8]) {
    let Ok(response) = Response::decode(input) else { return };
    assert!(response.encode().is_ok_and(|bytes| bytes == input));
    if let Response::KvPage { records, .. } = response {
        assert!(records.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}

/// A program of fragments, two bytes each: id and `last`, length. The reassembler gives what was put in and
/// holds no more than its limits.
pub(crate) fn fragments(input: &[u8]) {
    let limits = Limits { message: 300, total: 500, messages: 4 };
    let mut reassembler = Reassembler::new(limits);
    let mut oracle: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let source: Vec<u8> = (0..=255).collect();
    for step in input.as_chunks::<2>().0 {
        let (id, last) = (u64::from(step[0] & 7), step[0] & 8 != 0);
        if step[0] & 16 != 0 {
            assert_eq!(reassembler.forget(id), oracle.remove(&id));
            continue;
        }
        let bytes = source.get(..usize::from(step[1])).unwrap_or_default();
        match reassembler.push(id, last, bytes) {
            Ok(None) => oracle.entry(id).or_default().extend(bytes),
            Ok(Some(message)) => {
                let mut expected = oracle.remove(&id).unwrap_or_default();
                expected.extend(bytes);
                assert_eq!(*message, *expected);
                assert!(message.len() <= limits.message && last);
            }
            Err(_) => {}
        }
        assert_eq!(reassembler.held(), oracle.values().map(Vec::len).sum::<usize>());
        assert!(reassembler.held() <= limits.total && oracle.len() <= limits.messages);
    }
}
