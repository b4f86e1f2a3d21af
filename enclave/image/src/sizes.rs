//! How much of its memory the enclave lends to its users, so that together they cannot use it up.

use enclave_server::{Capacity, Sizes};
use enclave_worker::Room;

/// On native: what a process can have.
#[cfg(not(target_env = "sgx"))]
pub(crate) const CAPACITY: Capacity =
    Capacity { guests: Sizes { code: 256 << 20, memory: 1 << 30, stacks: 1024 }, requests: 256 << 20 };
/// See [`CAPACITY`].
#[cfg(not(target_env = "sgx"))]
pub(crate) const ROOM: Room = Room { connections: 16 * 1024, receive: 512 << 20 };

/// In the image: the whole of its code section, and parts of its heap, of which `image.toml` says how large it
/// is. An allocation that fails ends the enclave unless it is a guest's, so the parts leave room for the rest.
///
/// | of 1280 MiB | for |
/// |---|---|
/// | 384 MiB | linear memories |
/// | 97 MiB | fiber stacks, each 512 KiB and a page |
/// | 256 MiB | requests and answers |
/// | 96 MiB | bytes received and not yet read |
/// | 447 MiB | connections (TLS and an unfinished request: 50 KiB each), the store's table, loaded apps, artifacts on their way into the code section, what threads keep for later |
#[cfg(target_env = "sgx")]
pub(crate) const CAPACITY: Capacity =
    Capacity { guests: Sizes { code: usize::MAX, memory: 384 << 20, stacks: 192 }, requests: 256 << 20 };
/// See [`CAPACITY`].
#[cfg(target_env = "sgx")]
pub(crate) const ROOM: Room = Room { connections: 4096, receive: 96 << 20 };
