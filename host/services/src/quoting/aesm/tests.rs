//! Against a played aesmd.

use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::messages::{BytesResponse, InitQuoteResponse, NumberResponse};
use super::*;

/// Answers one request per connection until it is out of answers; gives the requests.
fn played(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, Aesm, JoinHandle<Vec<Request>>) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("aesm.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let serve = move || {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut peer, _) = listener.accept().unwrap();
            let mut length = [0; 4];
            peer.read_exact(&mut length).unwrap();
            let mut request = vec![0; u32::from_ne_bytes(length) as usize];
            peer.read_exact(&mut request).unwrap();
            requests.push(Request::decode(&*request).unwrap());
            peer.write_all(&answer).unwrap();
        }
        requests
    };
    let aesm = Aesm::new(&socket);
    (dir, aesm, std::thread::spawn(serve))
}

fn framed(response: &Response) -> Vec<u8> {
    let body = response.encode_to_vec();
    [&(body.len() as u32).to_ne_bytes()[..], &body].concat()
}

fn number(number: u32) -> Option<NumberResponse> {
    Some(NumberResponse { error: 0, number: Some(number) })
}

fn bytes(bytes: Vec<u8>) -> Option<BytesResponse> {
    Some(BytesResponse { error: 0, bytes: Some(bytes) })
}

fn key(algorithm: u32) -> Vec<u8> {
    let mut key = vec![algorithm as u8; KEY_ID];
    key[ALGORITHM].copy_from_slice(&algorithm.to_le_bytes());
    key
}

/// The two answers to the question for the key: an EPID key and the one that is wanted.
fn keys() -> Vec<Vec<u8>> {
    let both = [key(1), key(2)].concat();
    vec![
        framed(&Response { key_count: number(2), ..Response::default() }),
        framed(&Response { keys: bytes(both), ..Response::default() }),
    ]
}

fn init(target_info: Vec<u8>) -> Vec<u8> {
    let answer = InitQuoteResponse {
        error: 0,
        target_info: Some(target_info),
        id_size: Some(32),
        id: Some(vec![0; 32]),
    };
    framed(&Response { init_quote: Some(answer), ..Response::default() })
}

#[test]
fn the_target_info_is_that_of_the_ecdsa_key() {
    let mut answers = keys();
    answers.extend([init(vec![]), init(vec![7; 512])]);
    let (_dir, aesm, served) = played(answers);
    assert_eq!(aesm.target_info().unwrap(), [7; 512]);
    let requests = served.join().unwrap();
    assert_eq!(requests[1].keys.as_ref().unwrap().room, 512);
    let inits: Vec<_> = requests[2..].iter().map(|request| request.init_quote.clone().unwrap()).collect();
    assert!(inits.iter().all(|init| init.key == Some(key(2)) && init.timeout_us == Some(TIMEOUT_US)));
    assert_eq!((inits[0].with_id, inits[1].with_id, inits[1].room), (false, true, Some(32)));
}

#[test]
fn a_quote_is_cut_to_its_length() {
    let mut room = vec![0; 600];
    room[432..436].copy_from_slice(&64_u32.to_le_bytes());
    room[436..500].fill(9);
    let mut answers = keys();
    answers.push(framed(&Response { quote_size: number(600), ..Response::default() }));
    answers.push(framed(&Response { quote: bytes(room.clone()), ..Response::default() }));
    let (_dir, aesm, served) = played(answers);
    assert_eq!(aesm.quote(&[5; 432]).unwrap(), room[..500]);
    let quote = served.join().unwrap().pop().unwrap().quote.unwrap();
    assert_eq!((quote.report, quote.key, quote.room), (vec![5; 432], Some(key(2)), 600));
}

#[test]
fn each_failure_says_what_to_do() {
    let code = |error| {
        framed(&Response { key_count: Some(NumberResponse { error, number: None }), ..Response::default() })
    };
    let epid_only = vec![
        framed(&Response { key_count: number(1), ..Response::default() }),
        framed(&Response { keys: bytes(key(1)), ..Response::default() }),
    ];
    let mut short = keys();
    short.extend([init(vec![]), init(vec![7; 511])]);
    let too_old = framed(&Response {
        unsupported: Some(NumberResponse { error: 1, number: None }),
        ..Response::default()
    });
    for (answers, wanted) in [
        (vec![code(44)], "register it"),
        (vec![code(12)], "pccs_url"),
        (vec![code(47)], "ask for the target info again"),
        (vec![code(9999)], "journal of aesmd"),
        (vec![too_old], "libsgx-aesm-quote-ex-plugin"),
        (epid_only, "libsgx-aesm-ecdsa-plugin"),
        (vec![framed(&Response::default())], "not the answer"),
        (vec![u32::MAX.to_ne_bytes().to_vec()], "longer than any answer"),
        (vec![[&3_u32.to_ne_bytes()[..], &[0xff; 3]].concat()], "no message"),
        (vec![vec![1]], "broke off"),
        (vec![framed(&Response { key_count: number(1 << 30), ..Response::default() })], "too many"),
        (short, "another length"),
    ] {
        let (_dir, aesm, served) = played(answers);
        let error = aesm.target_info().unwrap_err();
        assert!(error.to_string().contains(wanted), "{wanted}: {error}");
        served.join().unwrap();
    }
    let error = Aesm::new(Path::new("/nonexistent/aesm.socket")).quote(&[0; 432]).unwrap_err().to_string();
    assert!(error.contains("install sgx-aesm-service"), "{error}");
}

/// Bug: a service that sent a byte now and then kept who asked it for hours. Cause: the timeout was that of one
/// read. Required: one question ends in its time, however its answers come.
#[test]
fn an_answer_that_trickles_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("aesm.socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let aesm = Aesm { socket, patience: Duration::from_millis(100) };
    let trickle = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let length = (MAX_ANSWER as u32).to_ne_bytes();
        let mut answer = length.into_iter().chain(std::iter::repeat_n(0, MAX_ANSWER));
        // It goes on for an hour unless the other end hangs up.
        answer.all(|byte| {
            std::thread::sleep(Duration::from_millis(15));
            peer.write_all(&[byte]).is_ok()
        })
    });
    let error = aesm.target_info().unwrap_err().to_string();
    assert!(error.contains("took too long"), "{error}");
    assert!(!trickle.join().unwrap(), "it was heard to the end");
}
