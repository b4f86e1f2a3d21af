//! RPC messages and their limits, as both sides rely on them.

#![allow(clippy::unwrap_used, reason = "tests")]

use boundary_wire::{
    frame::MAX_PAYLOAD,
    rpc::{
        FailureCode, Key, KvOp, Limits, LogLevel, LogLine, MAX_COLLATERAL, MAX_FAILURE, MAX_MESSAGE,
        MAX_QUOTE, MAX_RECORD, MAX_REQUEST, MAX_RESPONSE, MAX_TARGET, REPORT, Reassembler, ReassemblyError,
        Request, Response, RpcError, TARGET_INFO, fragments,
    },
};
use proptest::{collection::vec, prelude::*};

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

fn operation() -> impl Strategy<Value = KvOp> {
    prop_oneof![
        (any::<Key>(), bytes(100)).prop_map(|(key, value)| KvOp::Put { key, value }),
        any::<Key>().prop_map(|key| KvOp::Delete { key }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    use LogLevel::{Debug, Error, Info, Warn};
    let level = prop::sample::select(vec![Error, Warn, Info, Debug]);
    prop_oneof![
        any::<Key>().prop_map(|key| Request::KvGet { key }),
        (any::<Option<Key>>(), any::<u32>())
            .prop_map(|(after, max_bytes)| Request::KvScan { after, max_bytes }),
        vec(operation(), 0..20).prop_map(|ops| Request::KvBatch { ops }),
        (level, ".{0,60}", ".{0,500}")
            .prop_map(|(l, target, text)| Request::Log(LogLine::new(l, &target, &text))),
        vec(any::<u8>(), REPORT).prop_map(|report| Request::Quote { report }),
        Just(Request::TargetInfo),
        Just(Request::Collateral),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    use FailureCode::{BadRequest, Busy, Full, Internal, Io, Unavailable, Unsupported};
    let code = prop::sample::select(vec![Unsupported, BadRequest, Io, Full, Busy, Unavailable, Internal]);
    let page = proptest::collection::btree_map(any::<Key>(), bytes(100), 0..20);
    prop_oneof![
        proptest::option::of(bytes(300)).prop_map(Response::KvValue),
        (page, any::<bool>())
            .prop_map(|(page, more)| Response::KvPage { records: page.into_iter().collect(), more }),
        Just(Response::Done),
        bytes(300).prop_map(Response::Quote),
        vec(any::<u8>(), TARGET_INFO).prop_map(Response::TargetInfo),
        bytes(300).prop_map(Response::Collateral),
        (code, ".{0,200}").prop_map(|(code, message)| Response::failed(code, &message)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn requests_arrive(request in request()) {
        prop_assert_eq!(Request::decode(&request.encode().unwrap()), Ok(request));
    }

    #[test]
    fn responses_arrive(response in response()) {
        prop_assert_eq!(Response::decode(&response.encode().unwrap()), Ok(response));
    }

    #[test]
    fn any_bytes_have_an_answer(tag in 0..9u8, mut rest in bytes(600)) {
        rest.insert(0, tag);
        if let Ok(request) = Request::decode(&rest) {
            prop_assert_eq!(request.encode().unwrap(), &rest[..]);
        }
        if let Ok(response) = Response::decode(&rest) {
            prop_assert_eq!(response.encode().unwrap(), &rest[..]);
        }
    }

    #[test]
    fn interleaved_messages_come_whole(
        lengths in vec(0..3 * MAX_PAYLOAD, 1..5),
        order in vec(any::<prop::sample::Index>(), 40),
    ) {
        let messages: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(n, len)| (0..*len).map(|at| (at * 7 + n) as u8).collect()).collect();
        let mut waiting: Vec<_> = messages.iter().map(|m| fragments(m).peekable()).collect();
        let mut reassembler = Reassembler::new(Limits { message: 1 << 20, total: 1 << 22, messages: 5 });
        let mut whole = 0;
        for pick in order {
            let id = pick.index(waiting.len());
            let Some((last, bytes)) = waiting[id].next() else { continue };
            prop_assert_eq!(last, waiting[id].peek().is_none());
            if let Some(message) = reassembler.push(id as u64, last, bytes).unwrap() {
                prop_assert_eq!(&*message, &messages[id][..]);
                whole += 1;
            }
        }
        let finished = waiting.iter_mut().map(|left| usize::from(left.peek().is_none())).sum::<usize>();
        prop_assert_eq!(whole, finished);
        if whole == messages.len() {
            prop_assert_eq!(reassembler.held(), 0);
        }
    }
}

fn too_long(field: &'static str, len: usize, max: usize) -> RpcError {
    RpcError::TooLong { field, len, max }
}

#[test]
fn the_bytes_are_those_of_the_documented_table() {
    let put = KvOp::Put { key: [1; 32], value: b"ab".to_vec() };
    let batch = Request::KvBatch { ops: vec![put, KvOp::Delete { key: [2; 32] }] };
    let expected = [&[3, 1][..], &[1; 32], &[2, 0, 0, 0], b"ab", &[2], &[2; 32]].concat();
    assert_eq!(batch.encode().unwrap(), expected);
    let scan = Request::KvScan { after: None, max_bytes: 258 };
    assert_eq!(scan.encode().unwrap(), [2, 2, 1, 0, 0]);
    let log = Request::Log(LogLine::new(LogLevel::Info, "core", "up"));
    assert_eq!(log.encode().unwrap(), b"\x04\x03\x04coreup");
    let page = Response::KvPage { records: vec![([9; 32], b"v".to_vec())], more: true };
    assert_eq!(page.encode().unwrap(), [&[2, 1][..], &[9; 32], &[1, 0, 0, 0], b"v"].concat());
    assert_eq!(Response::failed(FailureCode::Full, "no").encode().unwrap(), b"\x06\x04no");
    assert_eq!(Request::Collateral.encode().unwrap(), [7]);
    assert_eq!(Response::Collateral(b"{}".to_vec()).encode().unwrap(), b"\x07{}");
}

#[test]
fn lengths_are_bounded_before_anything_is_allocated() {
    let claim = |len: u32| [&[2, 0][..], &[1; 32], &len.to_le_bytes(), &[0; 8]].concat();
    assert_eq!(Response::decode(&claim(u32::MAX)), Err(too_long("record", u32::MAX as usize, MAX_RECORD)));
    assert_eq!(Response::decode(&claim(9)), Err(RpcError::Truncated));
    let long = |first: &[u8], len: usize| [first, &vec![b'x'; len]].concat();
    assert_eq!(
        Response::decode(&long(&[1, 1], MAX_RECORD + 1)),
        Err(too_long("record", MAX_RECORD + 1, MAX_RECORD))
    );
    assert_eq!(
        Response::decode(&long(&[4], MAX_QUOTE + 1)),
        Err(too_long("quote", MAX_QUOTE + 1, MAX_QUOTE))
    );
    assert_eq!(
        Response::decode(&long(&[7], MAX_COLLATERAL + 1)),
        Err(too_long("collateral", MAX_COLLATERAL + 1, MAX_COLLATERAL))
    );
    let beyond = Response::Collateral(vec![0; MAX_COLLATERAL + 1]).encode();
    assert_eq!(beyond, Err(too_long("collateral", MAX_COLLATERAL + 1, MAX_COLLATERAL)));
    let failure = Response::decode(&long(&[6, 1], MAX_FAILURE + 1));
    assert_eq!(failure, Err(too_long("failure message", MAX_FAILURE + 1, MAX_FAILURE)));
    let response = Response::decode(&long(&[1, 1], MAX_RESPONSE));
    assert_eq!(response, Err(too_long("response", MAX_RESPONSE + 2, MAX_RESPONSE)));
    let request = Request::decode(&long(&[3], MAX_REQUEST));
    assert_eq!(request, Err(too_long("request", MAX_REQUEST + 1, MAX_REQUEST)));
    let log = Request::decode(&long(&[4, 1, 0], MAX_MESSAGE + 1));
    assert_eq!(log, Err(too_long("log message", MAX_MESSAGE + 1, MAX_MESSAGE)));
    let target = Request::decode(&long(&[4, 1, MAX_TARGET as u8 + 1], 200));
    assert_eq!(target, Err(too_long("log target", MAX_TARGET + 1, MAX_TARGET)));
    let report = Request::decode(&long(&[5], REPORT - 1));
    assert_eq!(report, Err(RpcError::Length { field: "report", len: REPORT - 1, expected: REPORT }));
}

#[test]
fn pages_ascend() {
    let page = |keys: [u8; 2]| {
        let records = keys.map(|key| ([key; 32], Vec::new())).to_vec();
        Response::KvPage { records, more: false }
    };
    assert_eq!(page([2, 1]).encode(), Err(RpcError::Order));
    assert_eq!(page([1, 1]).encode(), Err(RpcError::Order));
    let mut twice = page([1, 2]).encode().unwrap();
    twice[2 + 36..2 + 36 + 32].fill(1);
    assert_eq!(Response::decode(&twice), Err(RpcError::Order));
}

#[test]
fn unknown_values_are_named() {
    let value = |field, value| RpcError::Value { field, value };
    assert_eq!(Request::decode(&[]), Err(RpcError::Truncated));
    assert_eq!(Request::decode(&[8]), Err(RpcError::Type(8)));
    assert_eq!(Request::decode(&[6, 0]), Err(RpcError::Trailing));
    assert_eq!(Request::decode(&[7, 0]), Err(RpcError::Trailing));
    assert_eq!(Response::decode(&[8]), Err(RpcError::Type(8)));
    assert_eq!(Request::decode(&[4, 5, 0]), Err(value("log level", 5)));
    assert_eq!(Request::decode(&[3, 3]), Err(value("operation", 3)));
    assert_eq!(Request::decode(&[4, 1, 0, 0xFF]), Err(RpcError::Utf8("log message")));
    assert_eq!(Response::decode(&[1, 2]), Err(value("presence", 2)));
    assert_eq!(Response::decode(&[1, 0, 0]), Err(RpcError::Trailing));
    assert_eq!(Response::decode(&[2, 2]), Err(value("more", 2)));
    assert_eq!(Response::decode(&[6, 0]), Err(value("failure code", 0)));
}

#[test]
fn long_texts_are_cut_between_characters() {
    let line = LogLine::new(LogLevel::Debug, &"é".repeat(100), &"€".repeat(MAX_MESSAGE));
    assert_eq!((line.target.len(), line.message.len()), (MAX_TARGET, MAX_MESSAGE - 1));
    let line = Request::Log(line);
    assert_eq!(Request::decode(&line.encode().unwrap()), Ok(line));
}

#[test]
fn the_largest_record_fits_into_a_page_and_a_value() {
    let value = vec![1; MAX_RECORD];
    assert!(Response::KvValue(Some(value.clone())).encode().is_ok());
    assert!(Response::KvPage { records: vec![([0; 32], value)], more: true }.encode().is_ok());
}

#[test]
fn a_message_of_one_fragment_is_not_copied() {
    let limits = Limits { message: 10, total: 10, messages: 1 };
    let message = Reassembler::new(limits).push(1, true, b"short").unwrap().unwrap();
    assert!(matches!(message, std::borrow::Cow::Borrowed(b"short")));
    assert_eq!(fragments(b"").collect::<Vec<_>>(), [(true, &b""[..])]);
    let exact = vec![0; 2 * MAX_PAYLOAD];
    assert_eq!(
        fragments(&exact).map(|(last, bytes)| (last, bytes.len())).collect::<Vec<_>>(),
        [(false, MAX_PAYLOAD), (true, MAX_PAYLOAD)]
    );
}

#[test]
fn a_reassembler_holds_no_more_than_its_limits() {
    let mut all = Reassembler::new(Limits { message: 10, total: 15, messages: 2 });
    assert_eq!(all.push(1, true, &[0; 11]), Err(ReassemblyError::TooLong { id: 1, max: 10 }));
    assert_eq!(all.push(1, false, &[]), Err(ReassemblyError::Empty { id: 1 }));
    assert_eq!(all.push(1, false, &[1; 8]), Ok(None));
    assert_eq!(all.push(1, true, &[1; 3]), Err(ReassemblyError::TooLong { id: 1, max: 10 }));
    assert_eq!(all.push(2, false, &[2; 7]), Ok(None));
    assert_eq!(all.push(3, false, &[3]), Err(ReassemblyError::TooMany { max: 2 }));
    assert_eq!(all.push(2, false, &[2]), Err(ReassemblyError::TooMuch { max: 15 }));
    assert_eq!(all.held(), 15);
    assert_eq!(all.forget(2).unwrap(), [2; 7]);
    assert_eq!(&*all.push(1, true, &[1; 2]).unwrap().unwrap(), [1; 10]);
    assert_eq!((all.held(), all.forget(1)), (0, None));
}
