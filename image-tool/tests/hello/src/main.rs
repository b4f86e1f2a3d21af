//! Says hello from three threads, then shows the policy page it was measured with and how large its code
//! pool is.

use core::arch::global_asm;

global_asm!(
    ".section .enclave_os_policy, \"a\", @progbits",
    ".balign 4096",
    ".global ENCLAVE_OS_POLICY",
    "ENCLAVE_OS_POLICY: .zero 17 * 4096",
    ".size ENCLAVE_OS_POLICY, 17 * 4096",
    ".section .wasm_code, \"awx\", @nobits",
    ".balign 4096",
    ".global ENCLAVE_OS_CODE_START, ENCLAVE_OS_CODE_END",
    "ENCLAVE_OS_CODE_START: .zero 16 * 4096",
    "ENCLAVE_OS_CODE_END:",
    ".text",
);

#[repr(C, align(4096))]
struct PolicyPage([u8; 17 * 4096]);

unsafe extern "C" {
    static ENCLAVE_OS_POLICY: PolicyPage;
    static ENCLAVE_OS_CODE_START: u8;
    static ENCLAVE_OS_CODE_END: u8;
}

fn main() {
    let threads: Vec<_> =
        (0..3).map(|n| std::thread::spawn(move || println!("hello from thread {n}"))).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // SAFETY: the page is part of the image and read-only; nothing writes it.
    let page = unsafe { &(*std::ptr::from_ref(&ENCLAVE_OS_POLICY)).0 };
    let length = u64::from_le_bytes(page[..8].try_into().unwrap());
    println!("policy page of {length} bytes");
    // SAFETY: only the addresses are taken.
    let pool = unsafe {
        std::ptr::from_ref(&ENCLAVE_OS_CODE_END).addr() - std::ptr::from_ref(&ENCLAVE_OS_CODE_START).addr()
    };
    println!("code pool of {pool} bytes");
}
