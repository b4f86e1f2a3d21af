//! What guests may use together.

use enclave_server::Sizes;

/// On native: what the process gives.
#[cfg(not(target_env = "sgx"))]
pub(crate) const SIZES: Sizes = Sizes { code: 256 << 20, memory: 1 << 30, stacks: 1024 };

/// In the image: parts of its heap (`image.toml`), so that what is left always holds what the enclave itself
/// needs, and the whole of its code section.
///
/// | of 1 GiB | for |
/// |---|---|
/// | 512 MiB | linear memories |
/// | 129 MiB | fiber stacks: each 512 KiB and a page |
/// | 64 MiB | bytes received and not yet read (`boundary_wire::frame::RECEIVE_BUDGET`) |
/// | the rest | artifacts on their way in, connections, the store's table, arenas |
#[cfg(target_env = "sgx")]
pub(crate) const SIZES: Sizes = Sizes { code: usize::MAX, memory: 512 << 20, stacks: 256 };
