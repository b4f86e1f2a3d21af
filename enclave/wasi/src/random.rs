//! `wasi:random@0.2`: every number comes from the CPU's generator, the "insecure" ones too.

use wasmtime::{Result, format_err};

use crate::WasiCtx;
use crate::bindings::wasi::random::{insecure, insecure_seed, random};

/// What one call may ask for. It is made in enclave memory outside the guest's limit.
const MAX_BYTES: u64 = 4 << 20;
/// Drawn at a time: a word from the CPU takes up to a tenth of a microsecond, and more when all cores ask.
const SLICE: usize = 4 << 10;
/// What that is in units of work.
const SLICE_UNITS: u32 = 4;

impl WasiCtx {
    async fn random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > MAX_BYTES {
            return Err(format_err!(
                "get-random-bytes: {len} bytes asked for, at most {MAX_BYTES} are given at once"
            ));
        }
        let mut bytes = vec![0; usize::try_from(len)?];
        self.turn.spend(1).await;
        for slice in bytes.chunks_mut(SLICE) {
            self.turn.spend(SLICE_UNITS).await;
            self.host.platform().random(slice)?;
        }
        Ok(bytes)
    }

    fn random_u64(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.host.platform().random(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl random::Host for WasiCtx {
    async fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random_bytes(len).await
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        self.random_u64()
    }
}

impl insecure::Host for WasiCtx {
    async fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random_bytes(len).await
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        self.random_u64()
    }
}

impl insecure_seed::Host for WasiCtx {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        // One for the whole call, so that whoever asks twice for it gets the same hash of the same key.
        if self.seed.is_none() {
            self.seed = Some((self.random_u64()?, self.random_u64()?));
        }
        Ok(self.seed.unwrap_or_default())
    }
}
