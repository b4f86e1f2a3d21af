//! Bug: an enclave that uses memory of the host's without looking where it lies overwrites itself or reads what was
//! never meant for it. Cause: a start block with such addresses. Required: it refuses to start and names the range.

use std::sync::Mutex;

use boundary_wire::start;
use launcher_image::{Cpu, Intercept, Registers};

use crate::support::Host;

type Change = dyn Fn(&mut [u64]) + Send + Sync;

/// Changes the words of the start block, or says where it lies.
enum Lie {
    Words(Box<Change>),
    Place(u64, u64),
}

struct Liar {
    lie: Lie,
    /// The block as the launcher would give it: the image gets another one at its own address.
    given: Mutex<Vec<u64>>,
}

impl Intercept for Liar {
    fn call(&self, _: usize, call: &Registers) -> Option<(u64, u64)> {
        if call.rdi != start::START {
            return None;
        }
        match &self.lie {
            Lie::Place(address, words) => Some((*address, *words)),
            Lie::Words(change) => {
                let mut words = self.given.lock().unwrap();
                change(&mut words);
                Some((words.as_ptr().expose_provenance() as u64, words.len() as u64))
            }
        }
    }
}

/// A block whose every range is good: rings and a time page of this test's own, leaked.
fn good_block() -> Vec<u64> {
    const RING: usize = 128 + 4096;
    let memory: &'static mut [u64] = vec![0; (6 * 8192) / 8].leak();
    let base = (memory.as_mut_ptr().expose_provenance() as u64).next_multiple_of(64);
    let ring = |n: u64| base + n * 8192;
    let channel = |n: u64| start::Channel {
        to_enclave: ring(n),
        to_enclave_bytes: RING as u64,
        to_host: ring(n + 1),
        to_host_bytes: RING as u64,
    };
    let channels = vec![channel(0), channel(2)];
    let cpu = start::Cpu::Emulated;
    start::StartBlock { cpu, time_page: ring(4), sgx2: true, channels }.encode().unwrap()
}

const TIME_PAGE: usize = 4;
const FIRST_RING: usize = start::HEADER_WORDS;

fn refused(lie: impl FnOnce(u64, u64) -> Lie) -> String {
    let host = Host::start(1, |cpu| {
        let range = cpu.range();
        let lie = lie(range.start as u64, range.len() as u64);
        Some(Box::new(Liar { lie, given: Mutex::new(good_block()) }))
    });
    let (reason, log) = host.ended();
    let reason = reason.unwrap_or_else(|| panic!("it ended without a reason:\n{log}"));
    assert!(reason.contains("the enclave does not start: the host misbehaved: "), "{reason}\n{log}");
    reason
}

fn words(change: impl Fn(&mut [u64]) + Send + Sync + 'static) -> Lie {
    Lie::Words(Box::new(change))
}

#[test]
fn rings_inside_the_enclave() {
    let why = refused(|base, _| words(move |w| w[FIRST_RING] = base + 0x10_0000));
    assert!(why.contains("thread 0's ring into the enclave") && why.contains("inside the enclave"), "{why}");
    let why = refused(|base, size| words(move |w| w[FIRST_RING + 6] = base + size - 64));
    assert!(why.contains("thread 1's ring to the host") && why.contains("inside the enclave"), "{why}");
}

#[test]
fn rings_that_overlap() {
    let why = refused(|_, _| words(|w| w[FIRST_RING + 2] = w[FIRST_RING] + 64));
    assert!(why.contains("into the same memory"), "{why}");
}

#[test]
fn rings_that_are_null_misaligned_huge_or_wrap() {
    let why = refused(|_, _| words(|w| w[FIRST_RING] = 0));
    assert!(why.contains("no address for thread 0's ring into the enclave"), "{why}");
    let why = refused(|_, _| words(|w| w[FIRST_RING] += 8));
    assert!(why.contains("no multiple of 64"), "{why}");
    let why = refused(|_, _| words(|w| w[FIRST_RING + 1] = u64::MAX));
    assert!(why.contains("bytes for thread 0's ring into the enclave"), "{why}");
    let why = refused(|_, _| words(|w| w[FIRST_RING] = u64::MAX - 63));
    assert!(why.contains("past the end of memory"), "{why}");
}

#[test]
fn a_time_page_inside_the_enclave() {
    let why = refused(|base, _| words(move |w| w[TIME_PAGE] = base));
    assert!(why.contains("the time page") && why.contains("inside the enclave"), "{why}");
}

#[test]
fn a_block_of_another_version_or_without_sense() {
    let why = refused(|_, _| words(|w| w[0] = 7));
    assert!(why.contains("begins with 0x7"), "{why}");
    let why = refused(|_, _| words(|w| w[3] = 200));
    assert!(why.contains("names 200 workers and brings 2 channels"), "{why}");
}

#[test]
fn a_block_that_is_nowhere_inside_or_too_long() {
    let why = refused(|_, _| Lie::Place(0, 16));
    assert!(why.contains("no address for the start block"), "{why}");
    let why = refused(|base, _| Lie::Place(base + 4096, 16));
    assert!(why.contains("the start block") && why.contains("inside the enclave"), "{why}");
    let why = refused(|_, _| Lie::Place(4096, u64::MAX));
    assert!(why.contains("bytes for the start block"), "{why}");
}

/// Results that std cannot take end the enclave; they do not become memory of the enclave's own.
#[test]
fn memory_for_text_inside_the_enclave() {
    struct Alloc(u64);
    impl Intercept for Alloc {
        fn call(&self, _: usize, call: &Registers) -> Option<(u64, u64)> {
            const ALLOC: u64 = 14;
            match call.rdi {
                // Makes the enclave write the reason to its standard error, for which it asks for memory.
                start::START => Some((0, 0)),
                ALLOC => Some((0, self.0)),
                _ => None,
            }
        }
    }
    let host = Host::start(1, |cpu| Some(Box::new(Alloc(cpu.range().start as u64 + 0x10_0000))));
    let (reason, log) = host.ended();
    assert!(reason.is_some(), "{log}");
}
