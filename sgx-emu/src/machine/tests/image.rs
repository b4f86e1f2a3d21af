//! Small enclaves: their code, their image, and a call into them.

use std::sync::Arc;

use sgx_isa::{AttributesFlags, Miscselect};
use sgxs::sigstruct::{EnclaveHash, Signer};

use crate::machine::{Attributes, Enclave, EnclaveRun, LoadError, PageState, enter_enclave};
use crate::sigstruct::tests::signed_by_test_key;
use crate::{
    ATTRIBUTE_DEBUG, ATTRIBUTE_MODE64BIT, PAGE_SIZE, Secinfo, Secs, Sgxs, Sigstruct, SoftwareCpu, attributes,
};

/// Machine code of an enclave, as a function that returns its bytes. It begins at offset 0 of the enclave.
macro_rules! enclave_code {
    ($name:ident: $($line:literal)+) => {
        std::arch::global_asm!(
            ".pushsection .rodata.enclave_code, \"a\"",
            concat!("enclave_code_", stringify!($name), ":"),
            $($line,)+
            concat!("enclave_code_", stringify!($name), "_end:"),
            ".popsection",
        );
        fn $name() -> &'static [u8] {
            let (start, end): (usize, usize);
            // SAFETY: computes the addresses of two labels, between which read-only bytes lie.
            unsafe {
                std::arch::asm!(
                    concat!("lea {}, [rip + enclave_code_", stringify!($name), "]"),
                    concat!("lea {}, [rip + enclave_code_", stringify!($name), "_end]"),
                    out(reg) start, out(reg) end, options(nomem, nostack, preserves_flags),
                );
                std::slice::from_raw_parts(start as *const u8, end - start)
            }
        }
    };
}
pub(super) use enclave_code;

pub(super) const EENTER: u32 = 2;
pub(super) const ERESUME: u32 = 3;
pub(super) const EEXIT: u32 = 4;

pub(super) const R: u8 = PageState::READ;
pub(super) const RW: u8 = PageState::READ | PageState::WRITE;
pub(super) const RX: u8 = PageState::READ | PageState::EXECUTE;
pub(super) const RWX: u8 = PageState::PERMISSIONS;

/// Where the parts of a test enclave lie. Code has the two pages at 0.
pub(super) const DATA: u64 = 0x4000;
const THREADS: u64 = 0x8000;
/// A TCS and two frames for each thread.
const THREAD_STRIDE: u64 = 0x3000;

/// An image in the making.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) size: u64,
    pub(super) flags: u64,
    pub(super) xfrm: u64,
    pub(super) misc_select: u32,
    /// The signer leaves DEBUG, XFRM and MISCSELECT to the host.
    pub(super) open: bool,
    sgxs: Vec<u8>,
    threads: u64,
}

impl Image {
    /// Two pages of code, a page of data, and one thread.
    pub(super) fn new(code: &[u8]) -> Self {
        let mut sgxs = Vec::new();
        sgxs.extend(b"ECREATE\0");
        sgxs.extend(1u32.to_le_bytes());
        sgxs.extend([0; 52]);
        let image = Self {
            size: 0x10_0000,
            flags: ATTRIBUTE_MODE64BIT,
            xfrm: 3,
            misc_select: 0,
            open: false,
            sgxs,
            threads: 0,
        };
        let mut code = code.to_vec();
        code.resize(2 * PAGE_SIZE, 0xcc);
        let (first, second) = code.split_at(PAGE_SIZE);
        image.page(0, RX, first).page(PAGE_SIZE as u64, RX, second).page(DATA, RW, &[]).thread()
    }

    /// A page with this content, which is measured.
    pub(super) fn page(self, offset: u64, permissions: u8, content: &[u8]) -> Self {
        self.add(offset, 0x200 | u64::from(permissions), content)
    }

    fn add(mut self, offset: u64, flags: u64, content: &[u8]) -> Self {
        self.sgxs.extend(b"EADD\0\0\0\0");
        self.sgxs.extend(offset.to_le_bytes());
        self.sgxs.extend(flags.to_le_bytes());
        self.sgxs.extend([0; 40]);
        for (at, chunk) in (offset..).step_by(256).zip(content.chunks(256)) {
            self.sgxs.extend(b"EEXTEND\0");
            self.sgxs.extend(at.to_le_bytes());
            self.sgxs.extend([0; 48]);
            self.sgxs.extend(chunk);
            self.sgxs.extend(vec![0; 256 - chunk.len()]);
        }
        self
    }

    /// One more thread, with two frames of state and GS at the data.
    pub(super) fn thread(mut self) -> Self {
        let offset = THREADS + self.threads * THREAD_STRIDE;
        self.threads += 1;
        let mut tcs = [0; 72];
        tcs[16..24].copy_from_slice(&(offset + 0x1000).to_le_bytes());
        tcs[28..32].copy_from_slice(&2u32.to_le_bytes());
        tcs[56..64].copy_from_slice(&DATA.to_le_bytes());
        tcs[64..].fill(0xff);
        self.add(offset, 0x100, &tcs).page(offset + 0x1000, RW, &[]).page(offset + 0x2000, RW, &[])
    }

    pub(super) fn sgxs(&self) -> Vec<u8> {
        let mut sgxs = self.sgxs.clone();
        sgxs[12..20].copy_from_slice(&self.size.to_le_bytes());
        sgxs
    }

    pub(super) fn mrenclave(&self) -> [u8; 32] {
        let secs = Secs {
            size: self.size,
            ssa_frame_size: 1,
            attributes: attributes(self.flags, self.xfrm),
            misc_select: self.misc_select,
        };
        let mut enclave = crate::UninitializedEnclave::ecreate(secs).unwrap();
        let sgxs = self.sgxs();
        for page in Sgxs::parse(&sgxs).unwrap().pages() {
            let page = page.unwrap();
            let mut content = [0; PAGE_SIZE];
            for chunk in page.chunks() {
                let at = (chunk.offset - page.offset) as usize;
                content[at..at + 256].copy_from_slice(chunk.data);
            }
            enclave.eadd(page.offset, Secinfo::from_bytes(&page.secinfo).unwrap(), &mut content).unwrap();
            for chunk in page.chunks() {
                enclave.eextend(chunk.offset, chunk.data).unwrap();
            }
        }
        enclave.mrenclave()
    }

    pub(super) fn signed(&self) -> [u8; Sigstruct::LEN] {
        let mut signer = Signer::new(EnclaveHash::new(self.mrenclave()));
        let (flags, others) = if self.open { (!ATTRIBUTE_DEBUG, 0) } else { (!0, !0) };
        signer.attributes_flags(AttributesFlags::from_bits(self.flags).unwrap(), flags);
        signer.attributes_xfrm(self.xfrm, others);
        signer.miscselect(Miscselect::from_bits(self.misc_select).unwrap(), others as u32);
        signed_by_test_key(&signer)
    }

    pub(super) fn try_load(&self) -> Result<Enclave, LoadError> {
        let cpu = Arc::new(SoftwareCpu::ephemeral());
        Enclave::load(cpu, &self.sgxs(), &self.signed(), Attributes::Signed)
    }

    pub(super) fn load(&self) -> Enclave {
        self.try_load().unwrap()
    }
}

/// What came back from an entry.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) status: i64,
    pub(super) run: EnclaveRun,
    pub(super) rdi: u64,
    pub(super) rsi: u64,
    pub(super) rdx: u64,
    pub(super) r8: u64,
    pub(super) r9: u64,
}

impl Returned {
    /// RDI of an enclave that left by EEXIT.
    pub(super) fn exited(self) -> u64 {
        assert_eq!((self.status, self.run.function), (0, EEXIT), "{:?}: {:?}", self, crate::last_fault());
        self.rdi
    }

    /// Function, vector, error code and address of an exception.
    pub(super) fn raised(self) -> (u32, u16, u16, u64) {
        assert!(self.status == 0 && self.run.function != EEXIT, "{self:?}");
        let run = self.run;
        (run.function, run.exception_vector, run.exception_error_code, run.exception_addr)
    }
}

/// Enters with RDI, RSI, RDX, R8 and R9.
pub(super) fn enter(tcs: usize, leaf: u32, arguments: [u64; 5]) -> Returned {
    enter_with(EnclaveRun::new(tcs as u64), leaf, arguments)
}

pub(super) fn enter_with(mut run: EnclaveRun, leaf: u32, arguments: [u64; 5]) -> Returned {
    let [mut rdi, mut rsi, mut rdx, mut r8, mut r9] = arguments;
    let status: u64;
    // SAFETY: `run` is this function's, and the enclaves of these tests keep to the ABI.
    unsafe {
        std::arch::asm!(
            "sub rsp, 8",
            "push r10",
            "call {enter}",
            "add rsp, 16",
            enter = sym enter_enclave,
            in("r10") &mut run,
            inout("rdi") rdi, inout("rsi") rsi, inout("rdx") rdx, inout("rcx") u64::from(leaf) => _,
            inout("r8") r8, inout("r9") r9, out("rax") status,
            clobber_abi("sysv64"),
        );
    }
    Returned { status: i64::from(status as i32), run, rdi, rsi, rdx, r8, r9 }
}

/// Enters the first thread by EENTER with these in RDI and RSI.
pub(super) fn call(enclave: &Enclave, rdi: u64, rsi: u64) -> Returned {
    enter(enclave.tcs()[0], EENTER, [rdi, rsi, 0, 0, 0])
}
