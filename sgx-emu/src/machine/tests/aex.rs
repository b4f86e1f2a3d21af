//! Asynchronous exits: what is saved, what the outside sees, and that ERESUME brings all of it back.

use super::image::*;
use crate::machine::last_fault;

// Entered at CSSA 0: fills registers, faults, checks them when resumed; RDI is 0 if all are as they were.
// Entered at CSSA 1: adds RSI to the saved RIP, and tells EXITINFO, the offset of the saved RIP, the saved
// RSP, and the address and the error code in EXINFO.
enclave_code!(interrupted:
    "start:"
    "test rax, rax"
    "jne 8f"
    "mov gs:[0], rcx"
    "mov gs:[8], rbp"
    "mov gs:[16], rsp"
    "lea rsp, [rip + start]"
    "add rsp, 0x4800"
    "mov dword ptr gs:[24], 0x3f80"
    "ldmxcsr gs:[24]"
    "mov eax, 0x101"
    "mov ecx, 0x102"
    "mov edx, 0x103"
    "mov ebx, 0x104"
    "mov ebp, 0x105"
    "mov esi, 0x106"
    "mov r8d, 0x108"
    "mov r9d, 0x109"
    "mov r10d, 0x10a"
    "mov r11d, 0x10b"
    "mov r12d, 0x10c"
    "mov r13d, 0x10d"
    "mov r14d, 0x10e"
    "mov r15d, 0x10f"
    "movq xmm0, rsi"
    "movq xmm15, r15"
    "vinsertf128 ymm7, ymm7, xmm15, 1"
    "fld1"
    "stc"
    "std"
    "cmp rdi, 1"
    "je 2f"
    "cmp rdi, 2"
    "je 3f"
    "cmp rdi, 3"
    "je 4f"
    "stc"
    "ud2"
    "jmp 5f"
    "2:"
    "int3"
    "nop"
    "jmp 5f"
    "3:"
    "xor edx, edx"
    "div edx"
    "mov edx, 0x103"
    "jmp 5f"
    "4:"
    "mov byte ptr [0x1238], 0" // eight bytes long
    "5:"
    "cmp eax, 0x101"
    "jne 7f"
    "cmp ecx, 0x102"
    "jne 7f"
    "cmp edx, 0x103"
    "jne 7f"
    "cmp ebx, 0x104"
    "jne 7f"
    "cmp ebp, 0x105"
    "jne 7f"
    "cmp esi, 0x106"
    "jne 7f"
    "cmp r8d, 0x108"
    "jne 7f"
    "cmp r9d, 0x109"
    "jne 7f"
    "cmp r10d, 0x10a"
    "jne 7f"
    "cmp r11d, 0x10b"
    "jne 7f"
    "cmp r12d, 0x10c"
    "jne 7f"
    "cmp r13d, 0x10d"
    "jne 7f"
    "cmp r14d, 0x10e"
    "jne 7f"
    "cmp r15d, 0x10f"
    "jne 7f"
    "movq rax, xmm0"
    "cmp rax, 0x106"
    "jne 7f"
    "vextractf128 xmm1, ymm7, 1"
    "movq rax, xmm1"
    "cmp rax, 0x10f"
    "jne 7f"
    "fistp qword ptr gs:[32]"
    "cmp qword ptr gs:[32], 1"
    "jne 7f"
    "stmxcsr gs:[24]"
    "cmp dword ptr gs:[24], 0x3f80"
    "jne 7f"
    "pushfq"
    "pop rax"
    "test eax, 0x400" // DF
    "jz 7f"
    "xor edi, edi"
    "jmp 6f"
    "7:"
    "mov edi, 1"
    "6:"
    "cld"
    "mov dword ptr gs:[24], 0x1f80"
    "ldmxcsr gs:[24]"
    "vzeroupper"
    "mov rbp, gs:[8]"
    "mov rsp, gs:[16]"
    "mov rbx, gs:[0]"
    "mov eax, 4"
    "enclu"
    "8:"
    "lea rax, [rip + start]"
    "mov edi, [rax + 0x9f48 + 160]"
    "mov r10, [rax + 0x9f48 + 136]"
    "add [rax + 0x9f48 + 136], rsi"
    "mov rdx, [rax + 0x9f48 + 32]"
    "mov r8, [rax + 0x9f48 - 16]"
    "mov r9d, [rax + 0x9f48 - 8]"
    "mov rsi, r10"
    "sub rsi, rax"
    "sub rdx, rax"
    "mov rbx, rcx"
    "mov eax, 4"
    "enclu"
);

/// What the enclave is to do, what comes of it, how EXITINFO tells it, and how long the instruction is.
const FAULTS: [(u64, u16, u32, u64); 4] =
    [(0, 6, 0x8000_0306, 2), (1, 3, 0x8000_0603, 1), (2, 0, 0x8000_0300, 2), (3, 14, 0, 8)];

fn image() -> Image {
    let mut image = Image::new(interrupted());
    image.xfrm = 7;
    image
}

#[test]
fn an_enclave_goes_on_as_if_nothing_had_been() {
    let enclave = image().load();
    for (fault, vector, exit_info, length) in FAULTS {
        let returned = call(&enclave, fault, 0);
        assert_eq!(
            (returned.rdi, returned.rsi, returned.r8, returned.r9),
            (vector.into(), returned.rsi, 0, 0)
        );
        let error_code = if vector == 14 { 6 } else { 0 };
        let address = if vector == 14 { 0x1000 } else { 0 };
        assert_eq!(returned.raised(), (ERESUME, vector, error_code, address));
        let instruction = last_fault().unwrap().instruction.unwrap();

        // The enclave's own handler, in the second frame.
        let handled = call(&enclave, 0, length);
        assert_eq!((handled.rsi, handled.rdx), (instruction, 0x4800), "where it was, on its own stack");
        assert_eq!(handled.exited(), u64::from(exit_info));

        assert_eq!(enter(enclave.tcs()[0], ERESUME, [0; 5]).exited(), 0, "exception {vector}");
    }
}

#[test]
fn exinfo_tells_of_page_faults_where_it_is_selected() {
    let mut image = image();
    image.misc_select = 1;
    let enclave = image.load();
    assert_eq!(call(&enclave, 3, 0).raised(), (ERESUME, 14, 6, 0x1000));
    let handled = call(&enclave, 0, 8);
    assert_eq!((handled.r8, handled.r9), (0x1000, 6), "MADDR and ERRCD");
    assert_eq!(handled.exited(), 0x8000_030e);
    assert_eq!(enter(enclave.tcs()[0], ERESUME, [0; 5]).exited(), 0);
}

#[test]
fn what_cannot_be_resumed_is_a_general_protection_fault() {
    let enclave = image().load();
    assert_eq!(call(&enclave, 0, 0).raised(), (ERESUME, 6, 0, 0));
    call(&enclave, 0, 1 << 63).exited();
    let tcs = enclave.tcs()[0];
    assert_eq!(enter(tcs, ERESUME, [0; 5]).raised(), (ERESUME, 13, 0, 0), "RIP is no address");
    call(&enclave, 0, (1 << 63) + 2).exited();
    assert_eq!(enter(tcs, ERESUME, [0; 5]).exited(), 0);
    assert_eq!(enter(tcs, ERESUME, [0; 5]).raised(), (ERESUME, 13, 0, 0), "CSSA is 0");
}

enclave_code!(jumps:
    "jmp rdi"
);

#[test]
fn code_that_jumps_into_nothing_leaves_the_enclave() {
    let enclave = Image::new(jumps()).thread().thread().load();
    let at = |n: usize, target: u64| enter(enclave.tcs()[n], EENTER, [target, 0, 0, 0, 0]).raised();
    assert_eq!(at(0, 0x10), (ERESUME, 14, 0x14, 0), "outside");
    assert!(
        last_fault().unwrap().to_string().starts_with("page fault (#PF) running the page at 0x0, outside")
    );
    let data = enclave.base() as u64 + DATA;
    assert_eq!(at(1, data), (ERESUME, 14, 0x8015, data), "data is not code");
    assert_eq!(at(2, 1 << 62), (ERESUME, 13, 0, 0), "no address: #GP");
}
