//! What one call may use.

use async_trait::async_trait;
use enclave_wasi::keyvalue::DEFAULT_KEYS;
use enclave_wasm_platform::{CallMemory, GuestMemory, OutOfGuestMemory};
use futures_lite::future::yield_now;
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiterAsync;

/// Limits of every call of an app, and of what all of them keep. A measured leaf of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Instructions, roughly: the engine's fuel.
    pub fuel: u64,
    /// Bytes of all linear memories together.
    pub memory_bytes: u64,
    /// Elements of all tables together.
    pub table_elements: u64,
    /// Core instances and, as many again, memories and tables: a component is made of several.
    pub instances: u32,
    /// Wall-clock time, time in host functions included.
    pub timeout_ms: u64,
    /// Calls and HTTP requests at a time.
    pub concurrency: u32,
    /// Calls and HTTP requests that wait for one of those to end; one more is refused.
    #[serde(default = "default_queue")]
    pub queue: u32,
    /// Bytes that all calls together may keep in the store.
    #[serde(default = "default_store_bytes")]
    pub store_bytes: u64,
    /// Keys that all calls together may keep in buckets.
    #[serde(default = "default_store_keys")]
    pub store_keys: u64,
    /// What one HTTP request may use where that is not the same as for a call.
    #[serde(default)]
    pub http: HttpLimits,
}

/// As many as may run.
fn default_queue() -> u32 {
    64
}

/// Of an app that asks for nothing else.
fn default_store_bytes() -> u64 {
    1 << 30
}

fn default_store_keys() -> u64 {
    DEFAULT_KEYS
}

/// Limits of every HTTP request to an app. Memory, tables and instances are bounded as for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpLimits {
    /// Instructions, roughly: the engine's fuel.
    pub fuel: u64,
    /// Wall-clock time in which no byte of request or answer moves.
    pub idle_timeout_ms: u64,
    /// Wall-clock time from the head of the request to the last byte of the answer.
    pub timeout_ms: u64,
    /// Bytes of the body of a request.
    pub request_bytes: u64,
    /// Bytes of the body of an answer.
    pub response_bytes: u64,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            idle_timeout_ms: 60_000,
            timeout_ms: 300_000,
            request_bytes: 64 << 20,
            response_bytes: 1 << 30,
        }
    }
}

impl HttpLimits {
    fn to_json(self) -> serde_json::Value {
        serde_json::json!({
            "fuel": self.fuel,
            "idle_timeout_ms": self.idle_timeout_ms,
            "timeout_ms": self.timeout_ms,
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 10_000_000,
            memory_bytes: 64 << 20,
            table_elements: 1 << 20,
            instances: 1000,
            timeout_ms: 10_000,
            concurrency: 64,
            queue: default_queue(),
            store_bytes: default_store_bytes(),
            store_keys: default_store_keys(),
            http: HttpLimits::default(),
        }
    }
}

impl Limits {
    /// The value of the app's `limits` leaf.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "fuel": self.fuel,
            "memory_bytes": self.memory_bytes,
            "table_elements": self.table_elements,
            "instances": self.instances,
            "timeout_ms": self.timeout_ms,
            "concurrency": self.concurrency,
            "queue": self.queue,
            "store_bytes": self.store_bytes,
            "store_keys": self.store_keys,
            "http": self.http.to_json(),
        })
    }
}

/// Holds one call to its limits, and remembers which of them it met.
pub(crate) struct Limiter {
    memory: Allowance,
    tables: Allowance,
    instances: usize,
    /// The pool that all guests share had no more.
    pub(crate) pool: Option<OutOfGuestMemory>,
    /// Where growth is prepared.
    call: Option<(CallMemory, GuestMemory)>,
}

/// Something that grows up to a limit.
struct Allowance {
    limit: u64,
    used: u64,
    /// The last growth granted, in case it then fails.
    granted: u64,
    denied: bool,
}

impl Allowance {
    fn new(limit: u64) -> Self {
        Self { limit, used: 0, granted: 0, denied: false }
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current) as u64;
        let fits = self.used.checked_add(more).is_some_and(|sum| sum <= self.limit);
        self.granted = if fits { more } else { 0 };
        self.used += self.granted;
        self.denied |= !fits;
        fits
    }

    fn failed(&mut self) {
        self.used -= self.granted;
        self.granted = 0;
    }
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            memory: Allowance::new(limits.memory_bytes),
            tables: Allowance::new(limits.table_elements),
            instances: usize::try_from(limits.instances).unwrap_or(usize::MAX),
            pool: None,
            call: None,
        }
    }

    /// Makes memories ready before they grow.
    pub(crate) fn watch(&mut self, call: &CallMemory, memory: &GuestMemory) {
        self.call = Some((call.clone(), memory.clone()));
    }

    /// Whether the call asked for more memory or tables than it may have. A guest whose allocation
    /// fails aborts by a trap that says nothing of memory.
    pub(crate) fn denied(&self) -> bool {
        self.memory.denied || self.tables.denied
    }
}

#[async_trait]
impl ResourceLimiterAsync for Limiter {
    /// Takes as many turns as there is memory to erase and to copy.
    async fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The engine would find that out only after all was made ready, which costs the guest no fuel.
        if maximum.is_some_and(|most| desired > most) || !self.memory.grow(current, desired) {
            return Ok(false);
        }
        if let Some((call, memory)) = &self.call {
            call.prepare(memory, current, desired, maximum);
            while call.step() {
                yield_now().await;
            }
        }
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.failed();
        if let Some(full) = error.downcast_ref::<OutOfGuestMemory>() {
            self.pool = Some(*full);
        }
        Ok(())
    }

    async fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(maximum.is_none_or(|most| desired <= most) && self.tables.grow(current, desired))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.tables.failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.instances
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    #[test]
    fn memories_share_one_limit_and_a_failed_growth_does_not_count() {
        let mut limiter = Limiter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(block_on(limiter.memory_growing(0, 60, None)).unwrap());
        assert!(block_on(limiter.memory_growing(0, 40, None)).unwrap());
        assert!(!block_on(limiter.memory_growing(60, 61, None)).unwrap());
        assert!(limiter.denied());
        assert!(!block_on(limiter.memory_growing(0, 1, None)).unwrap());
        let mut limiter = Limiter::new(&Limits { memory_bytes: 100, ..Limits::default() });
        assert!(block_on(limiter.memory_growing(0, 100, None)).unwrap());
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).unwrap();
        limiter.memory_grow_failed(wasmtime::Error::msg("without a grant")).unwrap();
        assert!(block_on(limiter.memory_growing(0, 100, None)).unwrap());
        assert!(!block_on(limiter.memory_growing(0, usize::MAX, None)).unwrap());
    }

    #[test]
    fn the_leaf_names_every_limit() {
        let json = Limits::default().to_json();
        assert_eq!(serde_json::from_value::<Limits>(json).unwrap(), Limits::default());
    }

    #[test]
    fn limits_that_were_sealed_without_quotas_read_back_with_them() {
        let mut json = Limits::default().to_json();
        for quota in ["store_bytes", "store_keys"] {
            assert!(json.as_object_mut().unwrap().remove(quota).is_some());
        }
        assert_eq!(serde_json::from_value::<Limits>(json).unwrap(), Limits::default());
    }
}
