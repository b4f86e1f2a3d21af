//! Which engine settings do compiler and enclave share?
//!
//! An artifact (`.cwasm`) carries the settings it was compiled with and an engine takes it only if they
//! are its own, so both sides call [`base`]. The stock command line that gives the same settings is
//! [`stock_command`]; the compiler's tests hold the two together.
//!
//! Why these settings: an enclave has no signals, no guard pages and no copy-on-write mappings, so
//! every memory access is bounds-checked in code and every trap is a branch; fuel is what ends a
//! guest that does not end by itself. Threads, garbage collection, exceptions and component-model
//! async are off because the runtime inside is built without them: calling into one of them would
//! abort the enclave.

#![forbid(unsafe_code)]

pub mod trailer;

use wasmtime::{Config, WasmBacktraceDetails, WasmFeatures};

/// The engine's major version: artifacts of another one are refused.
pub const ENGINE_VERSION: &str = "48";

/// The triple of the signed image, on hardware and emulated.
pub const SGX_TARGET: &str = "x86_64-fortanix-unknown-sgx";

/// The triple of the machine this crate is compiled for: what an enclave built with it takes.
pub const NATIVE_TARGET: &str = host::TARGET;

/// What the stock command needs beside `--target` for an artifact that the enclave takes.
pub const STOCK_FLAGS: &str = "-W fuel=1,gc-support=n,exceptions=n,threads=n,concurrency-support=n \
     -O signals-based-traps=n,memory-reservation=0,memory-guard-size=0,memory-init-cow=n";

/// The wasmtime command line whose artifact the enclave takes. Wasmtime's major version must be
/// [`ENGINE_VERSION`].
#[must_use]
pub fn stock_command(target: &str) -> String {
    format!("wasmtime compile --target {target} {STOCK_FLAGS} app.wasm -o app.cwasm")
}

/// Our own command line for the same.
#[must_use]
pub fn own_command(target: &str) -> String {
    if target == NATIVE_TARGET {
        "enclave-os compile app.wasm".to_owned()
    } else {
        format!("enclave-os compile --target {target} app.wasm")
    }
}

/// Sets everything that an artifact and the engine that runs it must agree on.
pub fn base(config: &mut Config) -> &mut Config {
    config
        .consume_fuel(true)
        .signals_based_traps(false)
        .memory_init_cow(false)
        .memory_reservation(0)
        .memory_guard_size(0)
        .concurrency_support(false)
        .wasm_component_model(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    for feature in [WasmFeatures::GC_TYPES, WasmFeatures::EXCEPTIONS, WasmFeatures::THREADS] {
        config.wasm_features(feature, false);
    }
    config
}

#[cfg(all(target_env = "sgx", target_arch = "x86_64"))]
mod host {
    pub(super) const TARGET: &str = super::SGX_TARGET;
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
mod host {
    pub(super) const TARGET: &str = "x86_64-unknown-linux-gnu";
}

#[cfg(all(target_os = "linux", target_env = "musl", target_arch = "x86_64"))]
mod host {
    pub(super) const TARGET: &str = "x86_64-unknown-linux-musl";
}

#[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "aarch64"))]
mod host {
    pub(super) const TARGET: &str = "aarch64-unknown-linux-gnu";
}

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
mod host {
    pub(super) const TARGET: &str = "aarch64-apple-darwin";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_takes_the_settings() {
        let mut config = Config::new();
        base(&mut config);
        wasmtime::Engine::new(&config).unwrap();
    }

    #[test]
    fn commands_name_the_target_unless_it_is_this_machine() {
        assert_eq!(own_command(NATIVE_TARGET), "enclave-os compile app.wasm");
        assert!(own_command("x86_64-fortanix-unknown-sgx").contains("--target x86_64-fortanix-unknown-sgx"));
        assert!(stock_command(SGX_TARGET).contains("--target x86_64-fortanix-unknown-sgx -W fuel=1,"));
    }
}
