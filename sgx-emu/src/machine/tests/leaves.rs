//! Each ENCLU leaf as enclave code calls it, against the text of the SDM.

use std::sync::Arc;

use super::image::*;
use crate::machine::{Attributes, Enclave, PageState, PagesError, last_fault};
use crate::{
    ATTRIBUTE_DEBUG, ATTRIBUTE_INIT, ATTRIBUTE_MODE64BIT, KeyName, KeyPolicy, KeyRequest, REPORT_LEN,
    SoftwareCpu, attributes, report_is_authentic, target_info,
};

// ENCLU with what the caller asks for: RDI leaf, RSI RBX, RDX RCX, R8 RDX. Answers RDI RAX, RSI RFLAGS.
enclave_code!(any_leaf:
    "mov r15, rcx"
    "cmp rdi, 0x100"
    "je 2f" // copy a word from RSI to RDX
    "cmp rdi, 0x101"
    "je 4f" // run what is at RSI
    "mov rax, rdi"
    "mov rbx, rsi"
    "mov rcx, rdx"
    "mov rdx, r8"
    "stc"
    "enclu"
    "pushfq"
    "pop rsi"
    "mov rdi, rax"
    "jmp 9f"
    "2:"
    "mov rdi, [rsi]"
    "mov [rdx], rdi"
    "jmp 9f"
    "4:"
    "call rsi"
    "mov rdi, rax"
    "9:"
    "mov rbx, r15"
    "mov eax, 4"
    "enclu"
);

const EREPORT: u64 = 0;
const EGETKEY: u64 = 1;
const EACCEPT: u64 = 5;
const EMODPE: u64 = 6;
const EACCEPTCOPY: u64 = 7;
const COPY: u64 = 0x100;
const RUN: u64 = 0x101;

const CARRY: u64 = 1;
const ZERO: u64 = 1 << 6;
const MISMATCH: u64 = 19;

/// Pages for operands.
const OPERANDS: u64 = 0x2_0000;
const READ_ONLY: u64 = 0x2_2000;
const OTHER: u64 = 0x2_3000;
/// A page that was never added.
const HOLE: u64 = 0x5_0000;

/// An enclave under test, and the CPU it runs on.
struct Leaves {
    enclave: Enclave,
    cpu: Arc<SoftwareCpu>,
}

impl Leaves {
    fn new() -> Self {
        // Enough frames for one fault; every test that faults more often takes a new enclave.
        let image = Image::new(any_leaf())
            .page(OPERANDS, RW, &[])
            .page(OPERANDS + 0x1000, RW, &[])
            .page(READ_ONLY, R, &[])
            .page(OTHER, RWX, &[]);
        let cpu = Arc::new(SoftwareCpu::ephemeral());
        let enclave =
            Enclave::load(Arc::clone(&cpu), &image.sgxs(), &image.signed(), Attributes::Signed).unwrap();
        Self { enclave, cpu }
    }

    fn at(&self, offset: u64) -> u64 {
        self.enclave.base() as u64 + offset
    }

    /// RAX and RFLAGS of a leaf with operands given as offsets.
    fn leaf(&self, leaf: u64, rbx: u64, rcx: u64, rdx: u64) -> (u64, u64) {
        let returned = self.raw(leaf, self.at(rbx), self.at(rcx), self.at(rdx));
        let flags = returned.rsi;
        (returned.exited(), flags)
    }

    fn raw(&self, leaf: u64, rbx: u64, rcx: u64, rdx: u64) -> Returned {
        enter(self.enclave.tcs()[0], EENTER, [leaf, rbx, rcx, rdx, 0])
    }

    /// Writes into the enclave, as its own code does.
    fn put(&self, offset: u64, bytes: &[u8]) {
        assert!(bytes.len().is_multiple_of(8));
        for (at, word) in (offset..).step_by(8).zip(bytes.chunks(8)) {
            self.raw(COPY, word.as_ptr() as u64, self.at(at), 0).exited();
        }
    }

    fn take<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut out = [0; N];
        for (at, word) in (offset..).step_by(8).zip(out.chunks_mut(8)) {
            self.raw(COPY, self.at(at), word.as_mut_ptr() as u64, 0).exited();
        }
        out
    }

    /// Puts a SECINFO with these flags where the leaves look for it.
    fn secinfo(&self, flags: u64) -> u64 {
        self.put(OPERANDS, &flags.to_le_bytes());
        OPERANDS
    }

    /// Vector, error code and address as an offset.
    fn fault(&self, leaf: u64, rbx: u64, rcx: u64, rdx: u64) -> (u16, u16, u64) {
        let (function, vector, code, address) =
            self.raw(leaf, self.at(rbx), self.at(rcx), self.at(rdx)).raised();
        assert_eq!(function, ERESUME);
        assert_eq!(last_fault().unwrap().leaf, Some(leaf as u32));
        (vector, code, address.saturating_sub(self.enclave.base() as u64))
    }
}

const GP: (u16, u16, u64) = (13, 0, 0);
const PF_READ: u16 = 0x8005;
const PF_WRITE: u16 = 0x8007;

const PENDING: u64 = 1 << 3;
const MODIFIED: u64 = 1 << 4;
const PR: u64 = 1 << 5;
const TCS: u64 = 1 << 8;
const REG: u64 = 2 << 8;

#[test]
fn a_report_made_inside_verifies_with_the_key_of_its_target_alone() {
    let leaves = Leaves::new();
    let mut target = leaves.enclave.identity().clone();
    target.mrenclave = [9; 32];
    leaves.put(OPERANDS, &target_info(&target));
    leaves.put(OPERANDS + 0x200, &[7; 64]);
    let (rax, flags) = leaves.leaf(EREPORT, OPERANDS, OPERANDS + 0x200, OPERANDS + 0x400);
    assert_eq!((rax, flags & CARRY), (EREPORT, CARRY), "RAX and flags stay");

    let report: [u8; REPORT_LEN] = leaves.take(OPERANDS + 0x400);
    assert_eq!(report[64..96], leaves.enclave.identity().mrenclave);
    assert_eq!(report[48..64], attributes(ATTRIBUTE_INIT | ATTRIBUTE_MODE64BIT, 3));
    assert_eq!(report[320..384], [7; 64]);
    let key = |state| {
        let request = KeyRequest {
            name: KeyName::REPORT,
            policy: KeyPolicy::default(),
            isv_svn: 0,
            cpu_svn: [0; 16],
            attribute_mask: [0; 16],
            key_id: report[384..416].try_into().unwrap(),
            misc_mask: 0,
        };
        leaves.cpu.egetkey(state, &request).unwrap()
    };
    assert!(report_is_authentic(&key(&target), &report));
    assert!(!report_is_authentic(&key(leaves.enclave.identity()), &report));
}

/// A KEYREQUEST for the sealing key.
fn seal_request(cpu: &SoftwareCpu, policy: u16, key_id: u8) -> [u8; 512] {
    let mut bytes = [0; 512];
    bytes[..2].copy_from_slice(&KeyName::SEAL.0.to_le_bytes());
    bytes[2..4].copy_from_slice(&policy.to_le_bytes());
    bytes[8..24].copy_from_slice(&cpu.cpu_svn());
    bytes[40..72].fill(key_id);
    bytes
}

#[test]
fn a_key_asked_for_inside_is_the_one_of_this_enclave() {
    let leaves = Leaves::new();
    let key = |request: [u8; 512]| {
        leaves.put(OPERANDS, &request);
        assert_eq!(leaves.leaf(EGETKEY, OPERANDS, OPERANDS + 0x410, 0).0, 0);
        leaves.take::<16>(OPERANDS + 0x410)
    };
    let request = seal_request(&leaves.cpu, 1, 0);
    let parsed = KeyRequest::from_bytes(&request).unwrap();
    assert_eq!(key(request), leaves.cpu.egetkey(leaves.enclave.identity(), &parsed).unwrap());
    assert_ne!(key(request), key(seal_request(&leaves.cpu, 2, 0)), "bound to the signer");
    assert_ne!(key(request), key(seal_request(&leaves.cpu, 1, 1)), "another KEYID");

    let mut beyond = request;
    beyond[4] = 1;
    leaves.put(OPERANDS, &beyond);
    let (rax, flags) = leaves.leaf(EGETKEY, OPERANDS, OPERANDS + 0x410, 0);
    assert_eq!((rax, flags & (ZERO | CARRY)), (64, ZERO), "SGX_INVALID_ISVSVN");
}

#[test]
fn operands_of_reports_and_keys_lie_aligned_in_pages_of_the_enclave() {
    let report = |rbx, rcx, rdx| Leaves::new().fault(EREPORT, rbx, rcx, rdx);
    assert_eq!(report(OPERANDS + 256, OPERANDS, OPERANDS), GP, "TARGETINFO: 512 bytes");
    assert_eq!(report(OPERANDS, OPERANDS + 64, OPERANDS), GP, "REPORTDATA: 128 bytes");
    assert_eq!(report(OPERANDS, OPERANDS, OPERANDS + 128), GP, "REPORT: 512 bytes");
    assert_eq!(report(0x10_0000, OPERANDS, OPERANDS), GP, "outside ELRANGE");
    assert_eq!(report(HOLE, OPERANDS, OPERANDS), (14, PF_READ, HOLE));
    assert_eq!(report(OPERANDS, HOLE, OPERANDS + 1), (14, PF_READ, HOLE), "in order");
    assert_eq!(report(OPERANDS, OPERANDS, READ_ONLY), (14, PF_WRITE, READ_ONLY));
    assert_eq!(report(0x8000, OPERANDS, OPERANDS), (14, PF_READ, 0x8000), "a TCS");

    let key = |rbx, rcx| Leaves::new().fault(EGETKEY, rbx, rcx, 0);
    assert_eq!(key(OPERANDS + 256, OPERANDS), GP);
    assert_eq!(key(OPERANDS, OPERANDS + 8), GP);
    assert_eq!(key(OPERANDS, 0x10_0000), GP);
    assert_eq!(key(HOLE, OPERANDS), (14, PF_READ, HOLE));
    assert_eq!(key(OPERANDS, READ_ONLY), (14, PF_WRITE, READ_ONLY));
    let leaves = Leaves::new();
    leaves.put(OPERANDS, &[0xff; 512]);
    assert_eq!(leaves.fault(EGETKEY, OPERANDS, OPERANDS, 0), GP, "reserved bits of KEYREQUEST");

    for leaf in [2, 3, 8, 9, 0xffff_ffff] {
        assert_eq!(Leaves::new().fault(leaf, OPERANDS, OPERANDS, OPERANDS), GP, "no leaf inside: {leaf}");
    }
}

#[test]
fn a_restriction_holds_at_once_and_is_accepted_without_change() {
    let leaves = Leaves::new();
    let state = || leaves.enclave.page(OTHER);
    leaves.put(OTHER, b"\xb8\x2a\x00\x00\x00\xc3\xcc\xcc"); // mov eax, 42; ret
    assert_eq!(leaves.raw(RUN, leaves.at(OTHER), 0, 0).exited(), 42, "rwx");

    leaves.enclave.restrict_permissions(OTHER, 0x1000, R).unwrap();
    assert!(state().restricted() && state().permissions() == R);
    assert_eq!(leaves.leaf(EACCEPT, leaves.secinfo(REG | PR | 3), OTHER, 0).0, MISMATCH, "rw is not r");
    let (rax, flags) = leaves.leaf(EACCEPT, leaves.secinfo(REG | PR | 1), OTHER, 0);
    assert_eq!((rax, flags & (ZERO | CARRY)), (0, 0));
    assert!(!state().restricted());
    assert_eq!(leaves.leaf(EACCEPT, leaves.secinfo(REG | PR | 1), OTHER, 0).0, 0, "PR is not compared");

    // W^X: what was written can now be run, and no longer written.
    leaves.leaf(EMODPE, leaves.secinfo(REG | 4), OTHER, 0);
    assert_eq!(state().permissions(), RX);
    assert_eq!(leaves.raw(RUN, leaves.at(OTHER), 0, 0).exited(), 42);
    let word = 0u64;
    let raised = leaves.raw(COPY, &raw const word as u64, leaves.at(OTHER), 0).raised();
    assert_eq!(raised, (ERESUME, 14, 0x8007, leaves.at(OTHER)));
    assert!(last_fault().unwrap().to_string().contains("writing the page at enclave offset 0x23000 (r-x)"));
}

#[test]
fn what_a_restriction_takes_is_gone_until_it_is_extended() {
    let leaves = Leaves::new();
    leaves.enclave.restrict_permissions(OTHER, 0x1000, 0).unwrap();
    assert_eq!(leaves.raw(COPY, leaves.at(OTHER), 0, 0).raised(), (ERESUME, 14, PF_READ, leaves.at(OTHER)));
    // EMODPE may give what the page never lost, and more; never W without R.
    leaves.leaf(EMODPE, leaves.secinfo(REG | 3), OTHER, 0);
    assert_eq!(leaves.enclave.page(OTHER).permissions(), RW);

    let leaves = Leaves::new();
    leaves.enclave.restrict_permissions(OTHER, 0x1000, 0).unwrap();
    assert_eq!(leaves.fault(EMODPE, leaves.secinfo(REG | 2), OTHER, 0), GP);
}

#[test]
fn the_host_restricts_whole_pages_of_the_enclave_or_none() {
    let leaves = Leaves::new();
    let restrict =
        |offset, bytes, permissions| leaves.enclave.restrict_permissions(offset, bytes, permissions);
    assert!(matches!(restrict(OTHER + 8, 0x1000, R), Err(PagesError::Range { .. })));
    assert!(matches!(restrict(OTHER, 0, R), Err(PagesError::Range { .. })));
    assert!(matches!(restrict(0xf_f000, 0x2000, R), Err(PagesError::Range { .. })));
    assert!(matches!(restrict(u64::MAX - 0xfff, 0x1000, R), Err(PagesError::Range { .. })));
    assert!(matches!(restrict(OTHER, 0x1000, 2), Err(PagesError::Permissions(2))));
    assert!(matches!(restrict(OTHER, 0x1000, 8), Err(PagesError::Permissions(8))));
    assert!(matches!(restrict(0x8000, 0x1000, R), Err(PagesError::NotModifiable { offset: 0x8000, .. })));
    // The page behind the last one does not exist: the ones before it keep what they have.
    assert!(matches!(restrict(READ_ONLY, 0x3000, R), Err(PagesError::NotModifiable { .. })));
    assert_eq!(leaves.enclave.page(OTHER), PageState::regular(RWX));
}

#[test]
fn what_eaccept_and_emodpe_check() {
    let accept = |flags, page| {
        let leaves = Leaves::new();
        let secinfo = leaves.secinfo(flags);
        leaves.fault(EACCEPT, secinfo, page, 0)
    };
    assert_eq!(accept(REG | 3, OTHER), GP, "neither PENDING nor PR");
    assert_eq!(accept(REG | PR | MODIFIED, OTHER), GP);
    assert_eq!(accept(TCS | PR, OTHER), GP);
    assert_eq!(accept(PR, OTHER), GP, "PT_SECS");
    assert_eq!(accept(REG | PR | 1 << 6, OTHER), GP, "reserved bit");
    assert_eq!(accept(REG | PR | 1 << 16, OTHER), GP, "reserved bit");
    assert_eq!(accept(REG | PR | 1, OTHER + 8), GP, "page not aligned");
    assert_eq!(accept(REG | PR | 1, 0x10_0000), GP, "outside ELRANGE");
    assert_eq!(accept(REG | PR | 1, HOLE), (14, PF_READ, HOLE), "no page");
    assert_eq!(Leaves::new().fault(EACCEPT, OPERANDS + 32, OTHER, 0), GP, "SECINFO not aligned");
    assert_eq!(Leaves::new().fault(EACCEPT, HOLE, OTHER, 0), (14, PF_READ, HOLE));

    let leaves = Leaves::new();
    let answer = |flags, page| leaves.leaf(EACCEPT, leaves.secinfo(flags), page, 0).0;
    assert_eq!(answer(TCS | MODIFIED, 0x8000), MISMATCH, "legal, but nothing was modified");
    assert_eq!(answer(REG | PENDING | 7, OTHER), MISMATCH, "it is not pending");
    assert_eq!(answer(REG | PR, 0x8000), MISMATCH, "a TCS is no regular page");

    let extend = |flags, page| {
        let leaves = Leaves::new();
        let secinfo = leaves.secinfo(flags);
        leaves.fault(EMODPE, secinfo, page, 0)
    };
    assert_eq!(extend(REG | 1, 0x8000), (14, PF_WRITE, 0x8000), "a TCS");
    assert_eq!(extend(REG | 1, HOLE), (14, PF_READ, HOLE));
    assert_eq!(extend(REG | 1, OTHER + 1), GP);
    assert_eq!(extend(1 << 7, OTHER), GP, "reserved bit");
}

#[test]
fn a_page_added_later_is_the_enclaves_once_accepted() {
    let leaves = Leaves::new();
    assert!(matches!(leaves.enclave.augment(OTHER, 0x1000), Err(PagesError::Occupied { .. })));
    leaves.enclave.augment(HOLE, 0x2000).unwrap();
    assert!(leaves.enclave.page(HOLE).pending());
    let restricted = leaves.enclave.restrict_permissions(HOLE, 0x1000, R);
    assert!(matches!(restricted, Err(PagesError::NotModifiable { .. })), "SGX_PAGE_NOT_MODIFIABLE");

    assert_eq!(leaves.leaf(EACCEPT, leaves.secinfo(REG | PENDING | 1), HOLE, 0).0, MISMATCH, "it is rw");
    assert_eq!(leaves.leaf(EACCEPT, leaves.secinfo(REG | PENDING | 3), HOLE, 0).0, 0);
    assert_eq!(leaves.take::<8>(HOLE), [0; 8]);
    leaves.put(HOLE, &[5; 8]);

    // The second gets its content and its permissions in one.
    let copy = |flags, page| leaves.leaf(EACCEPTCOPY, leaves.secinfo(flags), page, HOLE);
    assert_eq!(copy(REG | 5, OTHER).0, MISMATCH, "not pending");
    let (rax, flags) = copy(REG | 5, HOLE + 0x1000);
    assert_eq!((rax, flags & (ZERO | CARRY)), (0, 0));
    assert_eq!(leaves.enclave.page(HOLE + 0x1000), PageState::regular(RX));
    assert_eq!(leaves.take::<8>(HOLE + 0x1000), [5; 8]);
    assert_eq!(copy(REG | 5, HOLE + 0x1000).0, MISMATCH, "once");

    // Until then nobody can use it.
    leaves.enclave.augment(0x6_0000, 0x1000).unwrap();
    let raised = leaves.raw(COPY, leaves.at(0x6_0000), 0, 0).raised();
    assert_eq!(raised, (ERESUME, 14, PF_READ, leaves.at(0x6_0000)));
    assert!(last_fault().unwrap().to_string().contains("(rw-, pending)"));
}

#[test]
fn what_eacceptcopy_checks() {
    let copy = |flags, page, source| {
        let leaves = Leaves::new();
        leaves.enclave.augment(0x6_0000, 0x1000).unwrap();
        let secinfo = leaves.secinfo(flags);
        leaves.fault(EACCEPTCOPY, secinfo, page, source)
    };
    assert_eq!(copy(REG | 2, 0x6_0000, OTHER), GP, "w without r");
    assert_eq!(copy(TCS, 0x6_0000, OTHER), GP, "no regular page");
    assert_eq!(copy(REG | 3, 0x6_0000, OTHER + 8), GP);
    assert_eq!(copy(REG | 3, 0x6_0008, OTHER), GP);
    assert_eq!(copy(REG | 3, 0x6_0000, 0x10_0000), GP);
    assert_eq!(copy(REG | 3, 0x6_0000, HOLE), (14, PF_READ, HOLE));
    assert_eq!(copy(REG | 3, HOLE, OTHER), (14, PF_READ, HOLE));
    assert_eq!(copy(REG | 3, 0x6_0000, 0x6_0000), (14, PF_READ, 0x6_0000), "a pending page is no source");
}

#[test]
fn a_debug_or_other_xfrm_relaunch_gets_another_sealing_key() {
    let cpu = Arc::new(SoftwareCpu::ephemeral());
    let mut image = Image::new(any_leaf()).page(OPERANDS, RW, &[]);
    image.open = true;
    let launch = |flags, xfrm| {
        let chosen = Attributes::Exactly { flags, xfrm, misc_select: 0 };
        let enclave = Enclave::load(Arc::clone(&cpu), &image.sgxs(), &image.signed(), chosen).unwrap();
        let leaves = Leaves { enclave, cpu: Arc::clone(&cpu) };
        let mut request = seal_request(&cpu, 1, 0);
        request[24..40].fill(0xff);
        leaves.put(OPERANDS, &request);
        assert_eq!(leaves.leaf(EGETKEY, OPERANDS, OPERANDS + 0x410, 0).0, 0);
        (leaves.enclave.identity().mrenclave, leaves.take::<16>(OPERANDS + 0x410))
    };
    let (mrenclave, key) = launch(ATTRIBUTE_MODE64BIT, 3);
    assert_eq!(launch(ATTRIBUTE_MODE64BIT, 3), (mrenclave, key), "a relaunch as it was");
    let (same, debug) = launch(ATTRIBUTE_MODE64BIT | ATTRIBUTE_DEBUG, 3);
    assert!(same == mrenclave && debug != key);
    let (same, wider) = launch(ATTRIBUTE_MODE64BIT, 7);
    assert!(same == mrenclave && wider != key);
}
