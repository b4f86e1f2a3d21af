//! An image, a host around it, and what it came to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use host_services::log::{Format, Log};
use host_services::network::{Listener, Resolver};
use host_services::seats::Event;
use host_services::station::{Control, Services};
use host_services::storage;
use launcher_image::{Cpu, Emulated, ImageFiles, Intercept, RunningImage};
use sgx_emu::{Attributes, SoftwareCpu};

/// Long enough that a test which waits for it has failed.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Where `cargo xtask image` put its files.
pub(crate) fn image() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap();
    let folder = std::env::var_os("ENCLAVE_OS_IMAGE_DIR").map_or(root.join("target/image"), PathBuf::from);
    let path = folder.join("enclave-os.sgxs");
    assert!(path.is_file(), "there is no image at {}: make it with `cargo xtask image`", path.display());
    path
}

/// A copy of the image's files, to be tampered with.
pub(crate) fn copy(to: &Path) -> PathBuf {
    for extension in ["sgxs", "sig", "json"] {
        let name = image().with_extension(extension);
        std::fs::copy(&name, to.join(name.file_name().unwrap())).unwrap();
    }
    to.join("enclave-os.sgxs")
}

/// A host with an image on it.
pub(crate) struct Host {
    pub(crate) running: RunningImage,
    pub(crate) address: SocketAddr,
    pub(crate) events: Receiver<Event>,
    log: Arc<Mutex<Vec<u8>>>,
    services: Arc<Services>,
    _data: tempfile::TempDir,
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Host {
    /// With `workers` workers, and somebody who answers the enclave's calls first.
    pub(crate) fn start(workers: u16, lies: impl FnOnce(&Emulated) -> Option<Box<dyn Intercept>>) -> Host {
        Self::start_on(workers, |cpu| {
            let lies = lies(&cpu);
            (Box::new(cpu), lies)
        })
    }

    /// The same on a CPU that is made of the emulated one.
    pub(crate) fn start_on(
        workers: u16,
        cpu: impl FnOnce(Emulated) -> (Box<dyn Cpu>, Option<Box<dyn Intercept>>),
    ) -> Host {
        let data = tempfile::tempdir().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let services = Arc::new(Services {
            storage: storage::open(data.path()).unwrap(),
            quoting: None,
            log: Log::to(Lines(log.clone()), Format::Text).unwrap(),
            resolver: Resolver::start(Vec::new()).unwrap(),
            control: Control::new(1000),
        });
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address().unwrap();
        let (told, events) = channel();
        let tell = Box::new(move |event| drop(told.send(event)));
        let files = ImageFiles::open(&image()).unwrap();
        let loaded = Emulated::load(Arc::new(SoftwareCpu::ephemeral()), &files, Attributes::Signed).unwrap();
        let (cpu, lies) = cpu(loaded);
        let running =
            RunningImage::start_intercepted(cpu, workers, services.clone(), &listener, tell, lies).unwrap();
        Host { running, address, events, log, services, _data: data }
    }

    /// How all seats ended: the first reason, if there was one.
    pub(crate) fn ended(self) -> (Option<String>, String) {
        let until = Instant::now() + LONG;
        let (mut seats, mut reason) = (0, None);
        let workers = 1;
        while seats < workers + 1 {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left).unwrap() {
                Event::Ended { result, .. } => {
                    seats += 1;
                    if let Err(why) = result {
                        reason.get_or_insert(why);
                    }
                }
                Event::Serving => panic!("it serves"),
                Event::StationStopped { error, .. } => panic!("{error}"),
            }
        }
        self.running.join();
        self.services.log.flush();
        let log = String::from_utf8(self.log.lock().unwrap().clone()).unwrap();
        (reason, log)
    }
}
