//! Tests: a peer that writes whatever it likes into the shared words, whenever it likes.
//!
//! An end must answer with an error at worst: no panic, no hang, no access outside of the ring's memory
//! (guard words around it), nothing believed that it did not check.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{
    Consumer, Producer, RING_HEADER, RingError,
    layout::{CONSUMER_CURSOR, PADDING, PRODUCER_CURSOR, WORD},
    untrusted::{Allocation, End, UntrustedMemory},
};

const DATA: usize = 4096;
const RING: usize = RING_HEADER + DATA;
const GUARD: usize = 1024;
const GUARD_WORD: u64 = 0x4755_4152_4421_2121;
/// Miri looks at each access and takes its time.
const STEPS: usize = if cfg!(miri) { 3_000 } else { 1_000_000 };

/// Ring memory between guards, with a liar at it.
struct Scene {
    guarded: UntrustedMemory,
    liar: UntrustedMemory,
    allocation: Arc<Allocation>,
}

impl Scene {
    fn new() -> Self {
        let allocation = Arc::new(Allocation::zeroed(GUARD + RING + GUARD));
        let guarded = allocation.memory(0..allocation.len(), End::Any);
        for offset in guard_offsets() {
            guarded.store(offset, GUARD_WORD);
        }
        let liar = allocation.memory(GUARD..GUARD + RING, End::Any);
        Self { guarded, liar, allocation }
    }

    fn view(&self) -> UntrustedMemory {
        self.allocation.memory(GUARD..GUARD + RING, End::Any)
    }

    fn assert_guards(&self) {
        assert!(guard_offsets().all(|offset| self.guarded.load(offset) == GUARD_WORD), "outside of the ring");
    }
}

fn guard_offsets() -> impl Iterator<Item = usize> {
    (0..GUARD).chain(GUARD + RING..GUARD + RING + GUARD).step_by(WORD)
}

/// xorshift64*: the same lies in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    /// A cursor: anything, or near `now` so that it is often believed.
    fn cursor(&mut self, now: u64) -> u64 {
        match self.below(8) {
            0 => self.roll(),
            1 => u64::MAX - self.roll() % 64,
            2 => now.wrapping_sub(self.roll() % 64),
            3 => now.wrapping_add(self.roll() % 64),
            _ => now.wrapping_add(8 * (self.roll() % (DATA as u64 / 8 + 2))),
        }
    }

    /// A record header: anything, padding, or a length that may be right.
    fn header(&mut self) -> u64 {
        match self.below(6) {
            0 => self.roll(),
            1 => PADDING,
            2 => DATA as u64 / 4 - self.roll() % 16,
            3 => self.roll() % (2 * DATA as u64),
            _ => self.roll() % 64,
        }
    }
}

#[test]
fn a_consumer_survives_a_lying_producer() {
    let scene = Scene::new();
    let mut consumer = Consumer::new(scene.view()).unwrap();
    let (mut dice, mut out) = (Dice(1), Vec::new());
    let (mut received, mut refused) = (0usize, 0usize);
    for _ in 0..STEPS {
        match dice.below(4) {
            0 => {
                let cursor = dice.cursor(consumer.tail_seen());
                scene.liar.store(PRODUCER_CURSOR, cursor);
            }
            1 => scene.liar.store(consumer.next_header(), dice.header()),
            2 => scene.liar.store(8 * dice.below(RING / 8), dice.header()),
            _ => match consumer.peek() {
                Ok(None) => {}
                Ok(Some(message)) => {
                    // The length changes after it was checked: it must not be read again.
                    let len = message.len();
                    scene.liar.store(8 * dice.below(RING / 8), u64::MAX);
                    message.copy_to(&mut out);
                    assert_eq!(out.len(), len);
                    assert!(len <= DATA / 4 - 8);
                    received += 1;
                    message.consume();
                }
                Err(error) => {
                    assert!(error.is_peer_fault(), "{error}");
                    refused += 1;
                }
            },
        }
    }
    scene.assert_guards();
    assert!(received > STEPS / 500 && refused > STEPS / 500, "{received} received, {refused} refused");
}

#[test]
fn a_producer_survives_a_lying_consumer() {
    let scene = Scene::new();
    let mut producer = Producer::new(scene.view()).unwrap();
    let mut dice = Dice(2);
    let bytes = [7; DATA];
    let (mut sent, mut full, mut refused) = (0usize, 0usize, 0usize);
    for _ in 0..STEPS {
        match dice.below(4) {
            0 => {
                let cursor = dice.cursor(producer.head_seen());
                scene.liar.store(CONSUMER_CURSOR, cursor);
            }
            1 => scene.liar.store(CONSUMER_CURSOR, producer.sent_to()),
            2 => scene.liar.store(8 * dice.below(RING / 8), dice.header()),
            _ => {
                let max = producer.max_message();
                let len = dice.below(max + 1);
                match producer.push(&[&bytes[..len / 2], &bytes[..len - len / 2]]) {
                    Ok(true) => {
                        sent += 1;
                        // What it published is its own cursor, not what the liar left there.
                        assert_eq!(scene.liar.load(PRODUCER_CURSOR), producer.sent_to());
                    }
                    Ok(false) => full += 1,
                    Err(error) => {
                        assert!(error.is_peer_fault(), "{error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    scene.assert_guards();
    let enough = STEPS / 500;
    assert!(sent > enough && full > 0 && refused > enough, "{sent} sent, {full} full, {refused} refused");
}

#[test]
fn ends_survive_a_liar_that_never_stops() {
    let (up, down) = (Scene::new(), Scene::new());
    let mut consumer = Consumer::new(up.view()).unwrap();
    let mut producer = Producer::new(down.view()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let liars = [up.view(), down.view()];
        scope.spawn({
            let stop = &stop;
            move || {
                let mut dice = Dice(3);
                while !stop.load(Ordering::Relaxed) {
                    for liar in &liars {
                        let now = liar.load(PRODUCER_CURSOR).max(liar.load(CONSUMER_CURSOR));
                        liar.store(PRODUCER_CURSOR, dice.cursor(now));
                        liar.store(CONSUMER_CURSOR, dice.cursor(now));
                        liar.store(RING_HEADER + 8 * dice.below(DATA / 8), dice.header());
                    }
                    std::thread::yield_now();
                }
            }
        });
        let mut out = Vec::new();
        for step in 0..STEPS {
            if let Ok(Some(message)) = consumer.peek() {
                let len = message.len();
                message.copy_to(&mut out);
                assert!(out.len() == len && len <= DATA / 4);
                message.consume();
            }
            let sent = producer.push(&[&[1; 100][..step % 100]]);
            assert!(!sent.is_err_and(|error| !error.is_peer_fault()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    up.assert_guards();
    down.assert_guards();
}

fn consumer_told(cursor: u64, words: &[(usize, u64)]) -> (Scene, Consumer) {
    let scene = Scene::new();
    let consumer = Consumer::new(scene.view()).unwrap();
    for (offset, value) in words {
        scene.liar.store(RING_HEADER + offset, *value);
    }
    scene.liar.store(PRODUCER_CURSOR, cursor);
    (scene, consumer)
}

fn refusal(consumer: &mut Consumer) -> RingError {
    match consumer.peek() {
        Ok(message) => panic!("believed: {:?}", message.map(|m| m.len())),
        Err(error) => error,
    }
}

#[test]
fn cursors_outside_of_the_ring_are_named() {
    for cursor in [4, 4097, 4104, u64::MAX, u64::MAX - 7, 1 << 63] {
        let (_scene, mut consumer) = consumer_told(cursor, &[]);
        let expected = RingError::PeerCursor { cursor, low: 0, high: 4096 };
        assert_eq!(refusal(&mut consumer), expected);
    }
}

#[test]
fn cursors_that_go_back_are_named() {
    let (scene, mut consumer) = consumer_told(32, &[(0, 8)]);
    consumer.peek().unwrap().unwrap().consume();
    scene.liar.store(PRODUCER_CURSOR, 24);
    assert_eq!(refusal(&mut consumer), RingError::PeerCursor { cursor: 24, low: 32, high: 4112 });

    let scene = Scene::new();
    let mut producer = Producer::new(scene.view()).unwrap();
    assert!(producer.push(&[b"a"]).unwrap() && producer.push(&[b"b"]).unwrap());
    scene.liar.store(CONSUMER_CURSOR, 16);
    assert!(producer.push(&[b"c"]).unwrap());
    scene.liar.store(CONSUMER_CURSOR, 8);
    let error = producer.push(&[b"d"]).unwrap_err();
    assert_eq!(error, RingError::PeerCursor { cursor: 8, low: 16, high: 48 });
}

#[test]
fn a_consumer_ahead_of_its_producer_is_named() {
    let scene = Scene::new();
    let mut producer = Producer::new(scene.view()).unwrap();
    scene.liar.store(CONSUMER_CURSOR, 8);
    assert_eq!(producer.push(&[b"x"]), Err(RingError::PeerCursor { cursor: 8, low: 0, high: 0 }));
    scene.liar.store(CONSUMER_CURSOR, 0);
    assert_eq!(producer.push(&[b"x"]), Ok(true), "an end keeps its own state through a lie");
}

#[test]
fn lengths_beyond_what_was_published_are_refused() {
    let (_scene, mut consumer) = consumer_told(16, &[(0, 9)]);
    assert_eq!(refusal(&mut consumer), RingError::PeerMessage { len: 9, max: 8 });
    let (_scene, mut consumer) = consumer_told(4096, &[(0, 1017)]);
    assert_eq!(refusal(&mut consumer), RingError::PeerMessage { len: 1017, max: 1016 });
    let (_scene, mut consumer) = consumer_told(4096, &[(0, u64::MAX - 1)]);
    assert_eq!(refusal(&mut consumer), RingError::PeerMessage { len: u64::MAX - 1, max: 1016 });
}

#[test]
fn padding_where_none_can_be_is_refused() {
    let (_scene, mut consumer) = consumer_told(4096, &[(0, PADDING)]);
    assert_eq!(refusal(&mut consumer), RingError::PeerPadding { position: 0 });

    // Five records move the head to 8 bytes before the end: padding with nothing behind, then twice.
    let records = [(0, 1016), (1024, 1016), (2048, 1016), (3072, 1000)];
    let (scene, mut consumer) = consumer_told(4080, &records);
    for _ in 0..4 {
        consumer.peek().unwrap().unwrap().consume();
    }
    scene.liar.store(RING_HEADER + 4080, PADDING);
    scene.liar.store(RING_HEADER, PADDING);
    scene.liar.store(PRODUCER_CURSOR, 4096);
    assert_eq!(refusal(&mut consumer), RingError::PeerPadding { position: 4080 });
    scene.liar.store(PRODUCER_CURSOR, 4112);
    assert_eq!(refusal(&mut consumer), RingError::PeerPadding { position: 4096 });
}
