//! What a host must answer by a trap.

use crate::wasi::cli::stdin::get_stdin;
use crate::wasi::clocks::monotonic_clock::subscribe_duration;
use crate::wasi::filesystem::types::Descriptor;
use crate::wasi::io::poll::{Pollable, poll};
use crate::wasi::io::streams::InputStream;
use crate::{file, root};

pub fn commit(name: &str) {
    let root = root();
    let output = || file(&root, "misused").write_via_stream(0).expect("a stream");
    match name {
        "nothing" => {}
        "poll-nothing" => drop(poll(&[])),
        "drop-stream-before-its-pollable" => {
            let stdin = get_stdin();
            let ready = stdin.subscribe();
            drop(stdin);
            drop(ready);
        }
        "write-without-permit" => {
            let stream = output();
            let permit = stream.check_write().expect("a permit");
            let _ = stream.write(&vec![0; permit as usize + 1]);
        }
        "write-zeroes-without-permit" => {
            let stream = output();
            let permit = stream.check_write().expect("a permit");
            let _ = stream.write_zeroes(permit + 1);
        }
        "blocking-write-of-more-than-4096" => drop(output().blocking_write_and_flush(&[0; 4097])),
        "blocking-zeroes-of-more-than-4096" => drop(output().blocking_write_zeroes_and_flush(4097)),
        "pollable-of-another-type" => {
            let descriptor = root.take_handle();
            unsafe { Pollable::from_handle(descriptor) }.block();
        }
        "descriptor-of-another-type" => {
            let pollable = subscribe_duration(0).take_handle();
            let _ = unsafe { Descriptor::from_handle(pollable) }.stat();
        }
        "no-such-handle" => drop(unsafe { InputStream::from_handle(4321) }.read(1)),
        "closed-twice" => {
            let pollable = subscribe_duration(0).take_handle();
            drop(unsafe { Pollable::from_handle(pollable) });
            drop(unsafe { Pollable::from_handle(pollable) });
        }
        other => panic!("there is no misuse {other}"),
    }
}
