//! `wasi:config`: what the loader passed in `env`, which is measured with its values. Secrets are not part of it: they
//! are variables of `wasi:cli/environment` alone.

use wasmtime::Result;

use crate::WasiCtx;
use crate::drafts::{config_runtime as runtime, config_store as store};
use crate::turn::taken;

/// A copy of all values in units of work ([`Turn`](crate::turn::Turn)).
const COPY_UNITS: u32 = 8;

impl WasiCtx {
    async fn config_value(&mut self, key: String) -> Option<String> {
        self.turn.owe(taken(key.len()));
        let value = self.config.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
        // Not held while the turn is waited for.
        drop(key);
        self.turn.spend(0).await;
        value
    }

    async fn config_values(&mut self) -> Vec<(String, String)> {
        self.turn.spend(COPY_UNITS).await;
        self.config.to_vec()
    }
}

impl store::Host for WasiCtx {
    async fn get(&mut self, key: String) -> Result<Result<Option<String>, store::Error>> {
        Ok(Ok(self.config_value(key).await))
    }

    async fn get_all(&mut self) -> Result<Result<Vec<(String, String)>, store::Error>> {
        Ok(Ok(self.config_values().await))
    }
}

impl runtime::Host for WasiCtx {
    async fn get(&mut self, key: String) -> Result<Result<Option<String>, runtime::ConfigError>> {
        Ok(Ok(self.config_value(key).await))
    }

    async fn get_all(&mut self) -> Result<Result<Vec<(String, String)>, runtime::ConfigError>> {
        Ok(Ok(self.config_values().await))
    }
}
