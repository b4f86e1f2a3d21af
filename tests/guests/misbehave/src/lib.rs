//! Does what a guest should not, on request.

wit_bindgen::generate!({ path: "wit", world: "misbehave", generate_all });

use std::fs::{self, File};
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

struct Misbehave;

/// Takes memory and touches each of its pages: few instructions for much memory.
fn take(bytes: usize) -> Vec<u8> {
    let mut memory = Vec::with_capacity(bytes);
    for page in memory.spare_capacity_mut().chunks_mut(4096) {
        page[0].write(1);
    }
    black_box(&mut memory);
    memory
}

static CALLS: AtomicU32 = AtomicU32::new(0);

#[inline(never)]
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn deeper(n: u64) -> u64 {
    black_box(deeper(black_box(n + 1)) + 1)
}

impl Guest for Misbehave {
    fn spin() {
        let mut n = 0_u64;
        loop {
            n = black_box(n.wrapping_add(1));
        }
    }

    fn take_mib(mib: u32) -> u32 {
        (take((mib as usize) << 20).capacity() >> 20) as u32
    }

    fn take_all() {
        let mut all = Vec::new();
        loop {
            all.push(black_box(take(1 << 20)));
        }
    }

    fn recurse() -> u64 {
        deeper(0)
    }

    fn fail(message: String) {
        panic!("{message}");
    }

    fn divide_by(divisor: u32) -> u32 {
        black_box(1000) / divisor
    }

    fn exit_with(code: u8) {
        std::process::exit(i32::from(code));
    }

    fn sleep_ms(ms: u32) -> u32 {
        sleep(Duration::from_millis(u64::from(ms)));
        ms
    }

    fn sleep_forever() {
        loop {
            sleep(Duration::from_secs(3600));
        }
    }

    fn chatter() {
        loop {
            println!("still talking");
        }
    }

    fn fill_disk() {
        let block = vec![7; 1 << 20];
        for n in 0_u64.. {
            fs::write(format!("filler-{n}"), &block).expect("the disk is full");
        }
    }

    fn write_then_fail(path: String, text: String) {
        fs::write(path, text).expect("a file");
        panic!("after the write");
    }

    fn random_bytes(length: u64) -> u64 {
        wasi::random::random::get_random_bytes(length).len() as u64
    }

    fn open_many() -> u32 {
        fs::write("many", "").expect("a file");
        let mut files = Vec::new();
        while let Ok(file) = File::open("many") {
            files.push(file);
        }
        files.len() as u32
    }

    fn count_calls() -> u32 {
        CALLS.fetch_add(1, Ordering::Relaxed) + 1
    }
}

export!(Misbehave);
