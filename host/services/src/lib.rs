//! What does the host do for the enclave: network, storage, clock, log, quoting?
//!
//! A [`station::Station`] is the host's half of one enclave thread: when the thread leaves the enclave, it
//! does here what the enclave cannot, on the same thread. It carries ciphertext from sockets into the ring and
//! back ([`network`]), answers requests from the storage engine ([`storage`]), passes questions to the quoting enclave
//! on to a thread that may wait for it ([`quoting`]), writes log lines ([`log`]), and waits in epoll when there is nothing
//! to do. The stations of one enclave are its [`seats`].
//!
//! Nothing here is trusted and nothing here sees plaintext. The enclave is believed to keep to the protocol; a
//! violation stops its station with a [`station::StationError`] that says what it was.

#![forbid(unsafe_code)]

pub mod clock;
pub mod log;
pub mod network;
pub mod quoting;
pub mod seats;
pub mod station;
pub mod storage;
