//! Entry, exit, and what becomes of what goes wrong.

use super::image::*;
use crate::machine::{Access, EnclaveRun, last_fault, processor};

enclave_code!(doubles:
    "lea rdi, [rdi + rdi]"
    "mov rsi, rax" // CSSA
    "mov rdx, rbx" // TCS
    "mov r8, rcx" // where EENTER was
    "mov r9, gs:[8]"
    "inc qword ptr gs:[8]"
    "mov rbx, rcx"
    "mov eax, 4"
    "enclu"
);

#[test]
fn an_enclave_is_entered_and_left() {
    let enclave = Image::new(doubles()).load();
    let tcs = enclave.tcs()[0];
    for calls in 0..3 {
        let returned = call(&enclave, 21, 0);
        assert_eq!((returned.rsi, returned.rdx), (0, tcs as u64), "RAX is CSSA, RBX the TCS");
        assert_ne!(returned.r8, 0, "RCX is where to exit to");
        assert_eq!(returned.r9, calls, "GS points to the thread's data, which lasts");
        assert_eq!(returned.exited(), 42);
    }
}

#[test]
fn what_eenter_refuses_is_told_in_the_run() {
    let enclave = Image::new(doubles()).load();
    let base = enclave.base() as u64;
    let at = |tcs: u64| enter(tcs as usize, EENTER, [0; 5]).raised();
    let tcs = enclave.tcs()[0] as u64;
    assert_eq!(at(tcs + 8), (EENTER, 13, 0, 0), "not aligned: #GP");
    assert_eq!(at(base), (EENTER, 14, 0x8007, base), "a page that is no TCS: #PF by the EPCM");
    assert_eq!(at(0x1000), (EENTER, 14, 6, 0x1000), "no EPC page: #PF");
    assert_eq!(enter(tcs as usize, ERESUME, [0; 5]).raised(), (ERESUME, 13, 0, 0), "nothing to resume: #GP");

    for leaf in [0, 1, 4, 5] {
        assert_eq!(enter(tcs as usize, leaf, [0; 5]).status, -22, "leaf {leaf}: -EINVAL");
    }
    let mut run = EnclaveRun::new(tcs);
    run.reserved[215] = 1;
    assert_eq!(enter_with(run, EENTER, [0; 5]).status, -22, "reserved bytes: -EINVAL");
    assert_eq!(call(&enclave, 4, 0).exited(), 8, "and it still works");
}

enclave_code!(touches:
    "mov rax, [rdi]"
    "mov rdi, rax"
    "mov rbx, rcx"
    "mov eax, 4"
    "enclu"
);

#[test]
fn a_fault_leaves_the_enclave_and_is_told_in_full() {
    let enclave = Image::new(touches()).load();
    let base = enclave.base() as u64;
    let word = 7u64;
    assert_eq!(call(&enclave, &raw const word as u64, 0).exited(), 7, "an enclave reads the host's memory");

    assert_eq!(call(&enclave, 0x10, 0).raised(), (ERESUME, 14, 4, 0));
    assert_eq!(
        last_fault().unwrap().to_string(),
        "page fault (#PF) reading the page at 0x0, outside the enclave at enclave offset 0x0"
    );
    // The thread's first frame is taken now. The second goes with this one, and there is no third.
    assert_eq!(call(&enclave, base + DATA + 0x1234, 0).raised(), (ERESUME, 14, 4, base + DATA + 0x1000));
    let fault = last_fault().unwrap();
    assert_eq!(
        (fault.page, fault.access, fault.instruction),
        (Some(DATA + 0x1000), Some(Access::Read), Some(0))
    );
    assert_eq!(call(&enclave, 0, 0).raised(), (EENTER, 13, 0, 0), "#GP: no frame is left");
}

#[test]
fn gs_is_the_hosts_again_after_every_exit() {
    const HOSTS: u64 = 0x1234_5000;
    let enclave = Image::new(touches()).load();
    let word = 7u64;
    processor::set_gs_base(HOSTS);
    assert_eq!(call(&enclave, &raw const word as u64, 0).exited(), 7);
    assert_eq!(processor::gs_base(), HOSTS, "EEXIT");
    assert_eq!(call(&enclave, 0, 0).raised(), (ERESUME, 14, 4, 0));
    assert_eq!(processor::gs_base(), HOSTS, "asynchronous exit");
    assert_eq!(call(&enclave, 1, 0).run.function, ERESUME);
    assert_eq!(call(&enclave, 0, 0).run.function, EENTER, "no frame is left");
    assert_eq!(processor::gs_base(), HOSTS, "no entry");
}

#[test]
fn memory_goes_with_the_last_handle() {
    let enclave = Image::new(doubles()).load();
    let (base, tcs) = (enclave.base(), enclave.tcs()[0]);
    let again = enclave.clone();
    drop(enclave);
    assert_eq!(call(&again, 1, 0).exited(), 2);
    drop(again);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(&format!("{base:x}-")), "{maps}");
    assert_eq!(enter(tcs, EENTER, [0; 5]).raised(), (EENTER, 14, 6, tcs as u64));
}
