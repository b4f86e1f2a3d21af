//! Every interleaving of two small models: messages through a ring, and a bell.
//!
//! Run by the gate, with atomics that the model checker watches:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test -p boundary-ring --test loom
//! ```

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]
#![cfg(loom)]

use boundary_ring::{Bell, Consumer, Producer, SharedBuffer};
use loom::{
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Explores schedules with up to `preemptions` switches that no thread asked for.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A ring of eight words: two messages fill it to where the third needs the first to be consumed, and the
/// cursors pass the end of the data.
#[test]
fn messages_arrive_whole_and_in_order() {
    const MESSAGES: [&[u8]; 5] = [b"first", b"second!!", b"3", b"", b"fifth"];
    explore(3, || {
        let (to, from) = SharedBuffer::new(64).unwrap().ends();
        let (mut producer, mut consumer) = (Producer::new(to).unwrap(), Consumer::new(from).unwrap());
        assert_eq!(producer.max_message(), 8);
        let sender = thread::spawn(move || {
            for message in MESSAGES {
                while !producer.push(&[message]).unwrap() {
                    thread::yield_now();
                }
            }
        });
        let mut received = Vec::new();
        for message in MESSAGES {
            loop {
                if let Some(peeked) = consumer.peek().unwrap() {
                    peeked.copy_to(&mut received);
                    peeked.consume();
                    break;
                }
                thread::yield_now();
            }
            assert_eq!(received, message);
        }
        sender.join().unwrap();
        assert!(consumer.peek().unwrap().is_none());
    });
}

/// What is not committed is not seen, whatever the consumer does meanwhile.
#[test]
fn a_dropped_reservation_sends_nothing() {
    explore(3, || {
        let (to, from) = SharedBuffer::new(64).unwrap().ends();
        let (mut producer, mut consumer) = (Producer::new(to).unwrap(), Consumer::new(from).unwrap());
        let sender = thread::spawn(move || {
            let mut reservation = producer.reserve(8).unwrap().unwrap();
            reservation.write(0, b"not this").unwrap();
            drop(reservation);
            assert!(producer.push(&[b"but", b" that"]).unwrap());
        });
        let mut received = Vec::new();
        if let Some(message) = consumer.peek().unwrap() {
            message.copy_to(&mut received);
            assert_eq!(received, b"but that");
        }
        sender.join().unwrap();
    });
}

/// Two threads put work before a third that sleeps when it has none. It is never left asleep over work:
/// loom reports a deadlock if it is. `unpark` is the wake-up that lasts, as an eventfd's is.
#[test]
fn no_ring_is_slept_over() {
    const RINGERS: usize = 2;
    explore(3, || {
        let (bell, work) = (Arc::new(Bell::new()), Arc::new(AtomicUsize::new(0)));
        let owner = {
            let (bell, work) = (bell.clone(), work.clone());
            thread::spawn(move || {
                let mut done = 0;
                while done < RINGERS {
                    if bell.take() {
                        done += work.swap(0, Ordering::Relaxed);
                    } else if bell.sleep() {
                        thread::park();
                        bell.awake();
                    }
                }
            })
        };
        let ring = |bell: &Bell, work: &AtomicUsize, owner: &thread::Thread| {
            work.fetch_add(1, Ordering::Relaxed);
            if bell.ring() {
                owner.unpark();
            }
        };
        let other = {
            let (bell, work, owner) = (bell.clone(), work.clone(), owner.thread().clone());
            thread::spawn(move || ring(&bell, &work, &owner))
        };
        ring(&bell, &work, owner.thread());
        other.join().unwrap();
        owner.join().unwrap();
    });
}
