//! What does the enclave do when its host lies?
//!
//! A [`Host`](host::Host) runs the real enclave crates in this process: the same wiring, rings, frames and requests
//! as on every platform. Its storage, clock, network and log are played, and lie by a [`Schedule`]: a value, drawn
//! from a seed, printed, read back and made smaller. Time is played too, so that a deadline of a minute costs
//! nothing, and one thread runs at a time, so that a schedule does the same again.
//!
//! [`run::run`] has clients work while the host lies, and judges what they see: each outcome is the right answer, an
//! error that says what is wrong, or a clean stop with the reason. It is never a wrong answer, never a wait without an
//! end, and no plaintext is in anything that the host saw ([`witness`]).
//!
//! How to replay a schedule and how to write another test: `README.md`.

#![forbid(unsafe_code)]

pub mod client;
pub mod clock;
pub mod host;
pub mod model;
mod platform;
mod rng;
pub mod run;
pub mod scene;
pub mod schedule;
mod storage;
mod threads;
pub mod witness;

pub use host::Machine;
pub use rng::Rng;
pub use schedule::Schedule;
pub use storage::Storage;
pub use threads::State;
