//! Standard input: bytes that the caller sent, or none.

use std::sync::{Arc, Mutex, PoisonError};

use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, StreamError, StreamResult};

/// What is given at once.
const MAX_READ: usize = 64 << 10;

/// What is left of the input. Every handle reads on where another stopped, as of one open file.
#[derive(Clone, Default)]
pub(crate) struct Input(Arc<Mutex<Bytes>>);

impl Input {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Input(Arc::new(Mutex::new(bytes.into())))
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.is_empty() {
            return Err(StreamError::Closed);
        }
        let size = size.min(left.len()).min(MAX_READ);
        Ok(left.split_to(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_share_one_position_and_one_end() {
        let (mut one, mut two) = (Input::new(b"012345".to_vec()), Input::default());
        assert!(matches!(two.read(1), Err(StreamError::Closed)));
        two = one.clone();
        assert_eq!(one.read(2).unwrap(), "01");
        assert_eq!(two.read(0).unwrap(), "");
        assert_eq!(two.read(100).unwrap(), "2345");
        assert!(matches!(one.read(1), Err(StreamError::Closed)));
    }
}
