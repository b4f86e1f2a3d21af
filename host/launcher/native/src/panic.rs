//! A panic ends the process, as it ends an SGX enclave.

/// From now on a panic on any thread aborts the process, with a message that says what happened. Inside SGX a
/// panic ends the enclave for all its tenants; native must not be kinder, or tests would miss it.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        eprintln!("thread '{name}' panicked; the enclave and its host stop: {info}");
        std::process::abort();
    }));
}
