//! The platform of the image: SGX hardware, or a software CPU that runs the same image.
//!
//! Everything that leaves goes through `do_usercall`, in registers (`boundary_wire::start`), and everything
//! that comes back is a claim. Keys, reports and randomness come from the CPU alone.

mod calls;
mod enclu;
mod panic;

use std::num::NonZero;
use std::os::fortanix_sgx::mem::{image_base, is_user_range};
use std::os::fortanix_sgx::usercalls::raw::do_usercall;
use std::ptr::with_exposed_provenance;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use boundary_ring::{ChannelMemory, GeometryError, UntrustedMemory};
use boundary_wire::start::{self, Channel, Cpu, StartBlock, StartBlockError, restrict};
use zeroize::Zeroizing;

use crate::alloc::{Arenas, Threads};
use crate::pages::{PageTable, Permissions};
use crate::ranges::{Elrange, RangeError, check_block, check_start};
use crate::structures::{OwnReport, seal_key_request};
use crate::{
    HostTime, Identity, KeyError, Kind, Notified, Notify, Platform, RandomError, SealKeyRequest, ThreadIndex,
    random,
};

/// The heap of the image.
#[global_allocator]
static HEAP: Arenas<Tcs> = Arenas::new(Tcs);

/// Enclave threads, told apart by the thread control structure that each one runs on.
struct Tcs;

// SAFETY: a TCS is in use by one thread at a time (SDM, EENTER), and whatever runs on it next was entered
// after the one before had left.
unsafe impl Threads for Tcs {
    fn current(&self) -> NonZero<usize> {
        std::os::fortanix_sgx::thread::current().addr()
    }
}

/// Bytes of the policy page, in the image: a length, then a document of at most [`MAX_POLICY`] bytes.
const POLICY_SECTION: usize = 17 * 4096;
const MAX_POLICY: usize = 64 * 1024;

/// Where the image tool writes the policy before it measures the image. Read-only in the enclave.
#[repr(C, align(4096))]
pub struct PolicyPage([u8; POLICY_SECTION]);

#[unsafe(link_section = ".enclave_os_policy")]
#[unsafe(no_mangle)]
static ENCLAVE_OS_POLICY: PolicyPage = PolicyPage([0; POLICY_SECTION]);

/// Whether the host says that it can restrict page permissions.
static SGX2: OnceLock<bool> = OnceLock::new();

/// Why the image does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// An address of the host's that cannot be used.
    #[error("the host misbehaved: {0}")]
    Range(#[from] RangeError),
    /// A start block that makes no sense.
    #[error("the host misbehaved: {0}")]
    Block(#[from] StartBlockError),
    /// Memory that holds no ring.
    #[error("the host misbehaved: {0}")]
    Ring(#[from] GeometryError),
    /// The image tool has not filled the page.
    #[error(
        "the policy page of this image says it has {0} bytes, 1 to {MAX_POLICY} are possible: make the image \
             with `cargo xtask image`"
    )]
    Policy(u64),
}

/// The platform of an SGX image.
pub struct SgxPlatform {
    kind: Kind,
    own: OwnReport,
    policy: Vec<u8>,
    time_page: &'static [AtomicU64; 2],
}

impl SgxPlatform {
    /// Asks the host what it has for this enclave, checks it, and gives the channels in the order of
    /// [`ThreadIndex`]. Called once.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start() -> Result<(SgxPlatform, Vec<ChannelMemory>), StartError> {
        panic::install();
        let elrange = elrange();
        let (address, words) = usercall(start::START, 0, 0, 0);
        let place = check_start(elrange, address, words)?;
        let block = StartBlock::decode(&copy(place.start, words))?;
        check_block(elrange, &place, &block)?;
        let channels = block.channels.iter().map(memory).collect::<Result<_, _>>()?;
        let time_page = with_exposed_provenance::<[AtomicU64; 2]>(block.time_page as usize);
        // SAFETY: the range was checked: aligned, two words, outside of the enclave. The host keeps it mapped
        // (if not, the enclave ends), and atomics may be changed by others while they are borrowed.
        let time_page = unsafe { &*time_page };
        calls::TIME_PAGE.get_or_init(|| time_page);
        SGX2.get_or_init(|| block.sgx2);
        let kind = match block.cpu {
            Cpu::Emulated => Kind::Emulated,
            Cpu::Sgx => Kind::Sgx,
        };
        let own = OwnReport::read(&enclu::report(&[0; 512], &[0; 64]));
        Ok((SgxPlatform { kind, own, policy: policy()?, time_page }, channels))
    }
}

/// Tells the host that a thread, or with `None` the whole enclave, ends otherwise than in order. The reason is
/// on standard error by then.
pub fn failed(thread: Option<ThreadIndex>, refused: bool) {
    let thread = thread.map_or(start::NO_THREAD, |thread| u64::from(thread.0));
    let how = if refused { start::failed::REFUSED } else { start::failed::STOPPED };
    usercall(start::FAILED, thread, how, 0);
}

/// Where the enclave lies: what the library calls no user range is the enclave's, and it is a power of two
/// long (SDM, ECREATE).
fn elrange() -> Elrange {
    let base = image_base();
    let mut size = 4096u64;
    while size < 1 << 46 && !is_user_range(with_exposed_provenance((base + size) as usize), 1) {
        size *= 2;
    }
    Elrange { base, size }
}

/// Copies the words of the start block, each once.
fn copy(address: u64, words: u64) -> Vec<u64> {
    (0..words as usize)
        .map(|at| {
            let word = with_exposed_provenance::<AtomicU64>(address as usize).wrapping_add(at);
            // SAFETY: the range was checked: aligned, that many words, outside of the enclave. An atomic may
            // be changed by others while it is borrowed.
            unsafe { (*word).load(Ordering::Relaxed) }
        })
        .collect()
}

fn memory(channel: &Channel) -> Result<ChannelMemory, GeometryError> {
    let ring = |address: u64, bytes: u64| {
        let base = std::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: the range was checked: wholly outside of the enclave and apart from every other one. The
        // host keeps it mapped for as long as the enclave runs; if not, the enclave ends.
        unsafe { UntrustedMemory::new(base, bytes as usize) }
    };
    Ok(ChannelMemory {
        to_enclave: ring(channel.to_enclave, channel.to_enclave_bytes)?,
        to_host: ring(channel.to_host, channel.to_host_bytes)?,
    })
}

/// The measured policy, as the image tool wrote it.
fn policy() -> Result<Vec<u8>, StartError> {
    let page = (&raw const ENCLAVE_OS_POLICY).cast::<u8>();
    // SAFETY: inside the static. Volatile, because the program says it is zero and the image tool says
    // otherwise.
    let byte = |at: usize| unsafe { page.add(at.min(POLICY_SECTION - 1)).read_volatile() };
    let length = u64::from_le_bytes(std::array::from_fn(byte));
    if !(1..=MAX_POLICY as u64).contains(&length) {
        return Err(StartError::Policy(length));
    }
    Ok((0..length as usize).map(|at| byte(size_of::<u64>() + at)).collect())
}

fn usercall(number: u64, p1: u64, p2: u64, p3: u64) -> (u64, u64) {
    let number = NonZero::new(number).unwrap_or(NonZero::<u64>::MIN);
    // SAFETY: only numbers and addresses of host memory cross; the call changes no memory of the enclave, and
    // its two results are checked as the claims they are.
    unsafe { do_usercall(number, p1, p2, p3, 0, false) }
}

impl Platform for SgxPlatform {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn identity(&self) -> &Identity {
        &self.own.identity
    }

    fn policy_page(&self) -> &[u8] {
        &self.policy
    }

    fn new_seal_key_request(&self) -> Result<SealKeyRequest, RandomError> {
        let mut key_id = [0; 32];
        self.entropy(&mut key_id)?;
        Ok(SealKeyRequest { key_id, cpu_svn: self.own.cpu_svn, isv_svn: self.own.identity.isv_svn })
    }

    fn seal_key(&self, request: &SealKeyRequest) -> Result<Zeroizing<[u8; 16]>, KeyError> {
        enclu::key(&seal_key_request(request)).map_err(KeyError)
    }

    fn report(&self, target: &[u8; 512], data: &[u8; 64]) -> [u8; 432] {
        enclu::report(target, data)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), RandomError> {
        random::fill(out, enclu::rdrand, enclu::rdseed)
    }

    fn entropy(&self, out: &mut [u8]) -> Result<(), RandomError> {
        random::fill(out, enclu::rdseed, enclu::rdrand)
    }

    fn host_time(&self) -> HostTime {
        let [unix_ns, monotonic_ns] = self.time_page.each_ref().map(|word| word.load(Ordering::Relaxed));
        HostTime { unix_ns: u64::from_le(unix_ns), monotonic_ns: u64::from_le(monotonic_ns) }
    }

    fn notify(&self, thread: ThreadIndex, notify: Notify) -> Notified {
        let (what, argument) = match notify {
            Notify::Poll => (start::notify::POLL, 0),
            Notify::Wait { until_ns } => (start::notify::WAIT, until_ns.unwrap_or(start::notify::NO_TIMER)),
            Notify::Wake { thread } => (start::notify::WAKE, u64::from(thread.0)),
        };
        match usercall(start::NOTIFY, what, argument, u64::from(thread.0)) {
            (start::notify::SHUTDOWN, _) => Notified::Shutdown,
            _ => Notified::Continue,
        }
    }
}

/// Page permissions of the running enclave, if the host says that its CPU has SGX2.
pub fn page_table() -> Option<OwnPages> {
    (SGX2.get() == Some(&true)).then_some(OwnPages(()))
}

/// The EPCM entries of this enclave's pages, as far as its instructions reach.
pub struct OwnPages(());

impl OwnPages {
    /// The offset in ELRANGE of an address.
    pub fn offset(address: usize) -> u64 {
        (address as u64).wrapping_sub(image_base())
    }
}

impl PageTable for OwnPages {
    fn restrict(&self, at: u64, bytes: u64, to: Permissions) -> u64 {
        let (answer, _) = usercall(start::RESTRICT, at, bytes, to.bits());
        const { assert!(restrict::DONE == 0) };
        answer
    }

    fn accept(&self, page: u64, flags: u64) -> u32 {
        enclu::accept(image_base().wrapping_add(page), flags)
    }

    fn extend(&self, page: u64, by: Permissions) {
        enclu::extend(image_base().wrapping_add(page), by.bits());
    }
}
