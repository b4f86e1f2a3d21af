//! The SGX image: entry point and wiring only.
//!
//! The first thread to enter is the control thread; it starts one more per worker. `enclave_platform::sgx`
//! asks the host for channels and checks what it gets.

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(target_env = "sgx")]
fn main() -> ExitCode {
    image::main()
}

#[cfg(not(target_env = "sgx"))]
fn main() -> ExitCode {
    eprintln!(
        "enclave-os is the SGX image of Enclave OS and runs in an enclave only: `cargo xtask image` makes it"
    );
    ExitCode::from(2)
}

#[cfg(target_env = "sgx")]
mod image {
    use std::process::ExitCode;
    use std::sync::Arc;
    use std::thread::Builder;

    use enclave_image::{Enclave, EnclaveError, StartConfig};
    use enclave_platform::ThreadIndex;
    use enclave_platform::sgx::{SgxPlatform, failed};

    pub(crate) fn main() -> ExitCode {
        let threads = match start() {
            Ok(threads) => threads,
            Err(why) => {
                eprintln!("the enclave does not start: {why}");
                failed(None, true);
                return ExitCode::FAILURE;
            }
        };
        run(&threads.enclave, threads.control);
        for worker in threads.workers {
            // A panic has ended the enclave before it could get here.
            drop(worker.join());
        }
        ExitCode::SUCCESS
    }

    struct Threads {
        enclave: Arc<Enclave>,
        control: ThreadIndex,
        workers: Vec<std::thread::JoinHandle<()>>,
    }

    fn start() -> Result<Threads, Box<dyn std::error::Error>> {
        let (platform, channels) = SgxPlatform::start()?;
        let workers = u16::try_from(channels.len().saturating_sub(1))?;
        let enclave = Arc::new(Enclave::new(Arc::new(platform), StartConfig { workers })?);
        for (thread, channel) in (0..).map(ThreadIndex).zip(channels) {
            enclave.init_channel(thread, channel)?;
        }
        let spawn = |index| {
            let enclave = enclave.clone();
            Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || run(&enclave, ThreadIndex(index)))
                .map_err(|error| format!("the host gives no thread for worker {index}: {error}"))
        };
        let workers = (0..workers).map(spawn).collect::<Result<_, _>>()?;
        let control = enclave.control();
        Ok(Threads { enclave, control, workers })
    }

    /// One thread, from its start to its end.
    fn run(enclave: &Enclave, thread: ThreadIndex) {
        if let Err(error) = enclave.run(thread) {
            eprintln!("thread {}: {error}", thread.0);
            failed(Some(thread), matches!(error, EnclaveError::Refused(_)));
        }
    }
}
