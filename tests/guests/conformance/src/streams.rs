//! `wasi:io`: streams over files, and waiting.

use crate::wasi::clocks::monotonic_clock::{now, subscribe_duration, subscribe_instant};
use crate::wasi::filesystem::types::{DescriptorFlags, OpenFlags, filesystem_error_code};
use crate::wasi::io::poll::{self, Pollable};
use crate::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::{Log, file, get, open, put, scratch, text};

/// A stream's answer without what differs between hosts: an error is its code.
fn words<T>(answer: Result<T, StreamError>) -> Result<T, String> {
    answer.map_err(|error| match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => {
            let code = filesystem_error_code(&error);
            format!(
                "failed: {code:?}, {}",
                if error.to_debug_string().is_empty() { "untold" } else { "told" }
            )
        }
    })
}

/// All that comes, by reads that do not block, each after a wait.
fn read_all(stream: &InputStream, at_once: u64) -> (String, Result<(), String>) {
    let mut all = Vec::new();
    let ready = stream.subscribe();
    loop {
        ready.block();
        match words(stream.read(at_once)) {
            Ok(bytes) => {
                assert!(bytes.len() as u64 <= at_once);
                all.extend(bytes);
            }
            Err(end) => return (text(&all), Err(end)),
        }
    }
}

/// Writes by permits only.
fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), String> {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        ready.block();
        let permit = words(stream.check_write())?.min(bytes.len() as u64) as usize;
        words(stream.write(&bytes[..permit]))?;
        bytes = &bytes[permit..];
    }
    words(stream.flush())?;
    ready.block();
    words(stream.check_write()).map(drop)
}

pub fn input(log: &mut Log) {
    let here = scratch("input");
    put(&here, "file", b"0123456789");
    let it = file(&here, "file");
    let stream = |offset| it.read_via_stream(offset).expect("a stream");
    log.say("from the start", read_all(&stream(0), 3));
    log.say("from the middle", read_all(&stream(6), 100));
    log.say("from the end", read_all(&stream(10), 100));
    log.say("from behind the end", read_all(&stream(1000), 100));
    log.say("from the last place there is", words(stream(u64::MAX).blocking_read(1)));
    let one = stream(0);
    log.say("nothing", words(one.read(0)));
    log.say("blocking, nothing", words(stream(0).blocking_read(0)));
    log.say("blocking", words(one.blocking_read(4)));
    log.say("skip", words(one.blocking_skip(3)));
    log.say("skip nothing", words(one.skip(0)));
    log.say("after it", words(one.blocking_read(100)));
    log.say(
        "the end",
        (words(one.blocking_read(1)), words(one.read(1)), words(one.skip(1)), words(one.blocking_skip(1))),
    );
    let two = stream(2);
    log.say("skip over the end", words(two.blocking_skip(100)));
    log.say("then", words(two.blocking_read(1)));
    let three = stream(0);
    let ready = three.subscribe();
    ready.block();
    log.say("ready stays ready", (ready.ready(), ready.ready()));
    log.say("two subscriptions", ready_of(&[&ready, &three.subscribe()]));
    log.say("read", words(three.read(2)));
    let empty = file(&here, "empty");
    log.say("an empty file", words(empty.read_via_stream(0).expect("a stream").blocking_read(1)));
    let writer = open(&here, "file", OpenFlags::empty(), DescriptorFlags::WRITE).expect("a file");
    log.say("of a writer", writer.read_via_stream(0).map(|stream| words(stream.blocking_read(1)).map(drop)));
    // A stream goes on when the handle it was made of is closed.
    let held = file(&here, "file").read_via_stream(5).expect("a stream");
    log.say("without its handle", words(held.blocking_read(10)));
    let block: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let large = file(&here, "large");
    log.say("write much", write_all(&large.write_via_stream(0).expect("a stream"), &block));
    let stream = large.read_via_stream(0).expect("a stream");
    let mut read = Vec::new();
    while let Ok(part) = stream.blocking_read(1 << 20) {
        read.extend(part);
    }
    log.say("read much", (read.len(), read == block));
    let stream = large.read_via_stream(0).expect("a stream");
    let mut skipped = 0;
    while let Ok(part) = stream.blocking_skip(1 << 20) {
        skipped += part;
    }
    log.say("skip much", skipped);
}

pub fn output(log: &mut Log) {
    let here = scratch("output");
    let it = file(&here, "file");
    let stream = it.write_via_stream(0).expect("a stream");
    log.say("a permit", words(stream.check_write()).map(|permit| permit > 0));
    log.say("nothing", words(stream.write(b"")));
    stream.subscribe().block();
    log.say("a permit", words(stream.check_write()).map(|permit| permit > 0));
    log.say("one", words(stream.write(b"one")));
    log.say("flush", words(stream.flush()));
    stream.subscribe().block();
    log.say("and wait", words(stream.blocking_flush()));
    log.say("text", get(&here, "file"));
    log.say("two", words(stream.blocking_write_and_flush(b" two")));
    log.say("zeros", words(stream.blocking_write_zeroes_and_flush(3)));
    stream.subscribe().block();
    log.say("a permit", words(stream.check_write()).map(|permit| permit > 2));
    log.say("two zeros", words(stream.write_zeroes(2)));
    log.say("and wait", words(stream.blocking_flush()));
    log.say("no zeros", words(stream.blocking_write_zeroes_and_flush(0)));
    log.say("nothing", words(stream.blocking_write_and_flush(b"")));
    log.say("text", get(&here, "file"));
    log.say("as much as may be at once", words(stream.blocking_write_and_flush(&[b'x'; 4096])));
    log.say("zeros, as many", words(stream.blocking_write_zeroes_and_flush(4096)));
    log.say("size", it.stat().map(|stat| stat.size));
    let behind = it.write_via_stream(9000).expect("a stream");
    log.say("behind the end", words(behind.blocking_write_and_flush(b"!")));
    log.say("size", it.stat().map(|stat| stat.size));
    log.say("piece by piece", write_all(&it.write_via_stream(1).expect("a stream"), &[b'y'; 20_000]));
    log.say("size", it.stat().map(|stat| stat.size));
    let held = file(&here, "held").write_via_stream(0).expect("a stream");
    log.say("without its handle", words(held.blocking_write_and_flush(b"held")));
    log.say("text", get(&here, "held"));
    for offset in [u64::MAX, 1 << 63] {
        let far = it.write_via_stream(offset).expect("a stream");
        log.say(format!("at {offset}"), words(far.blocking_write_and_flush(b"x")));
        log.say(
            "then",
            (words(far.check_write()), words(far.blocking_write_and_flush(b"x")), words(far.flush())),
        );
        let far = it.write_via_stream(offset).expect("a stream");
        log.say("by a permit", write_all(&far, b"x"));
    }
}

pub fn splice(log: &mut Log) {
    let here = scratch("splice");
    put(&here, "from", b"0123456789");
    let (from, to) = (file(&here, "from"), file(&here, "to"));
    let (input, output) =
        (from.read_via_stream(0).expect("a stream"), to.write_via_stream(0).expect("a stream"));
    log.say("blocking", words(output.blocking_splice(&input, 4)));
    log.say("nothing", words(output.blocking_splice(&input, 0)));
    output.blocking_flush().expect("a flush");
    input.subscribe().block();
    output.subscribe().block();
    log.say("not blocking", words(output.splice(&input, 3)));
    log.say("wait", words(output.blocking_flush()));
    log.say("more than there is", words(output.blocking_splice(&input, 100)));
    log.say("the end", words(output.blocking_splice(&input, 100)));
    log.say("and again", words(output.splice(&input, 100)));
    drop(output);
    log.say("text", get(&here, "to"));
    let output = to.append_via_stream().expect("a stream");
    log.say(
        "into its own end",
        words(output.blocking_splice(&to.read_via_stream(8).expect("a stream"), 100)),
    );
    log.say("wait", words(output.blocking_flush()));
    log.say("text", get(&here, "to"));
    let far = to.write_via_stream(u64::MAX).expect("a stream");
    let spliced = words(far.blocking_splice(&from.read_via_stream(0).expect("a stream"), 5));
    log.say("where nothing can be", (spliced, words(far.blocking_flush())));
}

/// Ends of streams that nobody reads or writes any more.
pub fn closed(log: &mut Log) {
    let here = scratch("closed");
    let it = file(&here, "file");
    drop(it.write_via_stream(0).expect("a stream"));
    drop(it.read_via_stream(0).expect("a stream"));
    log.say("streams that did nothing", it.stat().map(|stat| stat.size));
    let stream = it.write_via_stream(0).expect("a stream");
    stream.subscribe().block();
    log.say("a permit", words(stream.check_write()).map(|permit| permit > 0));
    log.say("written, not flushed", words(stream.write(b"text")));
    drop(stream);
    it.sync().expect("a sync");
    // Whether it is written is nobody's promise.
    log.say("all of it or nothing", it.stat().map(|stat| [0, 4].contains(&stat.size)));
    let stdin = crate::wasi::cli::stdin::get_stdin();
    let ready = stdin.subscribe();
    ready.block();
    log.say(
        "standard input",
        (words(stdin.blocking_read(10)), words(stdin.read(10)), words(stdin.skip(1)), ready.ready()),
    );
    let stdout = crate::wasi::cli::stdout::get_stdout();
    log.say("into standard output", words(stdout.blocking_splice(&stdin, 10)));
}

/// Which are ready, in order: hosts name them in any.
fn ready_of(pollables: &[&Pollable]) -> Vec<u32> {
    let mut ready = poll::poll(pollables);
    ready.sort_unstable();
    ready
}

pub fn poll(log: &mut Log) {
    let past = |before: u64| now() >= before;
    let start = now();
    let at_once = subscribe_duration(0);
    at_once.block();
    log.say("at once", at_once.ready());
    let late = subscribe_duration(3_600_000_000_000);
    log.say("in an hour", late.ready());
    let soon = subscribe_duration(20_000_000);
    log.say("one of three", ready_of(&[&late, &at_once, &late]));
    log.say("the same twice", ready_of(&[&at_once, &late, &at_once]));
    log.say("the later one", (ready_of(&[&late, &soon]), past(start + 20_000_000)));
    log.say("it stays", (soon.ready(), ready_of(&[&soon]), ready_of(&[&soon, &at_once])));
    let (sooner, later) = (subscribe_duration(10_000_000), subscribe_duration(1_000_000_000));
    log.say("the sooner one first", ready_of(&[&later, &sooner]));
    let before = subscribe_instant(0);
    before.block();
    log.say("an instant that is over", (before.ready(), ready_of(&[&before])));
    log.say("the end of time", subscribe_instant(u64::MAX).ready());
    log.say("as long as can be", subscribe_duration(u64::MAX).ready());
    let many: Vec<Pollable> =
        (0..500).map(|n| subscribe_duration(if n % 5 == 3 { 0 } else { u64::MAX })).collect();
    let all: Vec<&Pollable> = many.iter().collect();
    let ready = ready_of(&all);
    log.say("many", (ready.len(), ready.iter().all(|n| n % 5 == 3)));
    let here = scratch("poll");
    put(&here, "file", b"text");
    let it = file(&here, "file");
    let (input, output) =
        (it.read_via_stream(0).expect("a stream"), it.write_via_stream(0).expect("a stream"));
    let (readable, writable) = (input.subscribe(), output.subscribe());
    let mut left = vec![(0, &readable), (1, &writable), (2, &soon)];
    let mut seen = Vec::new();
    while !left.is_empty() {
        let waiting: Vec<&Pollable> = left.iter().map(|(_, pollable)| *pollable).collect();
        let ready = ready_of(&waiting);
        assert!(!ready.is_empty());
        for at in ready.into_iter().rev() {
            seen.push(left.remove(at as usize).0);
        }
    }
    seen.sort_unstable();
    log.say("streams and clocks together", seen);
}
