//! An ordinary program: nothing in it knows of enclaves.

use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Instant;

fn main() {
    let name = std::env::args().nth(1).unwrap_or_else(|| "nobody".to_owned());
    println!("hello, {name}");

    let start = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let total = Arc::new(Mutex::new(0_u64));
    let workers: Vec<_> = (1..=3_u64)
        .map(|worker| {
            let (sender, total) = (sender.clone(), Arc::clone(&total));
            thread::spawn(move || {
                for number in (worker..=300).step_by(3) {
                    *total.lock().unwrap() += number;
                }
                sender.send(worker).unwrap();
            })
        })
        .collect();
    drop(sender);
    let mut heard: Vec<_> = receiver.iter().collect();
    for worker in workers {
        worker.join().unwrap();
    }
    heard.sort_unstable();
    println!("workers {heard:?} made {}", total.lock().unwrap());
    assert!(Instant::now() >= start);

    match name.as_str() {
        "panic" => panic!("as asked"),
        // SAFETY: none; this is to fault.
        "fault" => println!("{}", unsafe { std::ptr::read_volatile(0x4008 as *const u64) }),
        _ => {}
    }
}
