//! The host around the enclave: threads, signals, handlers, memory.

use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::image::*;
use crate::machine::EnclaveRun;

// Adds RSI to the word at RDI until it is RDX, which others may be changing; answers how often it did.
enclave_code!(counts:
    "mov r15, rcx"
    "xor r14, r14"
    "2:"
    "lock xadd [rdi], rsi"
    "mov rsi, 1"
    "inc r14"
    "cmp r14, rdx"
    "jb 2b"
    "mov rdi, r14"
    "mov rbx, r15"
    "mov eax, 4"
    "enclu"
);

// Sets the word at RSI, then spins until the one at RDI is at least RDX.
enclave_code!(waits:
    "mov r15, rcx"
    "mov qword ptr [rsi], 1"
    "2:"
    "pause"
    "cmp [rdi], rdx"
    "jb 2b"
    "mov rdi, [rdi]"
    "mov rbx, r15"
    "mov eax, 4"
    "enclu"
);

// RDI 0: ENCLU with RAX = RSI, RBX = RDX, RCX = R8; answers RAX. Else counts the word at RSI up, RDX times.
enclave_code!(writes_or_extends:
    "mov r15, rcx"
    "test rdi, rdi"
    "jnz 2f"
    "mov rax, rsi"
    "mov rbx, rdx"
    "mov rcx, r8"
    "enclu"
    "mov rdi, rax"
    "jmp 3f"
    "2:"
    "lock inc qword ptr [rsi]"
    "dec rdx"
    "jnz 2b"
    "mov rdi, [rsi]"
    "3:"
    "mov rbx, r15"
    "mov eax, 4"
    "enclu"
);

/// One thread writes to a page that another makes writable, again and again, after the host took that away.
/// Each fault is an asynchronous exit, and ERESUME tries again.
#[test]
fn a_page_may_change_under_the_threads_that_use_it() {
    const WRITES: u64 = 10_000;
    const FAULTS: u64 = 25;
    const SECINFO: u64 = 0x2_0000;
    const PAGE: u64 = 0x2_1000;
    const PR: u64 = 1 << 5;
    let secinfo = |flags: u64| (0x200 | flags).to_le_bytes();
    let image = Image::new(writes_or_extends())
        .thread()
        .page(SECINFO, R, &[&secinfo(3)[..], &[0; 56], &secinfo(PR | 1)].concat())
        .page(PAGE, RW, &[]);
    let enclave = image.load();
    let at = |offset| enclave.base() as u64 + offset;
    let (changing, writing) = (enclave.tcs()[0], enclave.tcs()[1]);
    let mut faults = 0;
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let leaf = |leaf, secinfo| enter(changing, EENTER, [0, leaf, at(secinfo), at(PAGE), 0]).exited();
            while done.load(Ordering::Acquire) == 0 {
                enclave.restrict_permissions(PAGE, 0x1000, R).unwrap();
                assert_eq!(leaf(5, SECINFO + 64), 0, "EACCEPT of what the host did");
                assert_eq!(leaf(6, SECINFO), 6, "EMODPE");
            }
        });
        let mut rounds = 0;
        while faults < FAULTS {
            let mut returned = enter(writing, EENTER, [1, at(PAGE), WRITES, 0, 0]);
            while returned.run.function == ERESUME {
                assert_eq!(returned.raised(), (ERESUME, 14, 0x8007, at(PAGE)));
                faults += 1;
                returned = enter(writing, ERESUME, [0; 5]);
            }
            rounds += 1;
            assert_eq!(returned.exited(), rounds * WRITES, "none is lost, none made twice");
        }
        done.store(1, Ordering::Release);
    });
}

fn address(word: &AtomicU64) -> u64 {
    word.as_ptr() as u64
}

#[test]
fn threads_and_enclaves_run_side_by_side() {
    const ROUNDS: u64 = 200;
    let image = Image::new(counts()).thread().thread();
    let enclaves = [image.load(), image.load()];
    assert_ne!(enclaves[0].base(), enclaves[1].base());
    let sum = AtomicU64::new(0);
    thread::scope(|scope| {
        for tcs in enclaves.iter().flat_map(|enclave| enclave.tcs()) {
            let sum = address(&sum);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    assert_eq!(enter(*tcs, EENTER, [sum, 1, 100, 0, 0]).exited(), 100);
                }
            });
        }
    });
    assert_eq!(sum.into_inner(), 6 * ROUNDS * 100);
}

#[test]
fn a_tcs_takes_one_thread_and_memory_lasts_while_it_is_inside() {
    let enclave = Image::new(waits()).load();
    let (base, tcs) = (enclave.base(), enclave.tcs()[0]);
    let (go_on, inside) = (AtomicU64::new(0), AtomicU64::new(0));
    let mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().contains(&format!("{base:x}-"));
    thread::scope(|scope| {
        let arguments = [address(&go_on), address(&inside), 1, 0, 0];
        let thread = scope.spawn(move || enter(tcs, EENTER, arguments).exited());
        while inside.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        assert_eq!(enter(tcs, EENTER, arguments).raised(), (EENTER, 13, 0, 0), "busy");
        drop(enclave);
        assert!(mapped());
        go_on.store(1, Ordering::Release);
        assert_eq!(thread.join().unwrap(), 1);
    });
    assert!(!mapped());
}

static TICKS: AtomicU64 = AtomicU64::new(0);
thread_local!(static MINE: AtomicU64 = const { AtomicU64::new(0) });

extern "C" fn tick(_: libc::c_int) {
    MINE.with(|mine| mine.fetch_add(1, Ordering::Relaxed));
    TICKS.fetch_add(1, Ordering::Release);
}

fn on_signal(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) {
    // SAFETY: a zeroed action with a handler that is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// A profiler's timer, whose handler uses thread-locals, goes off inside again and again.
#[test]
fn a_profiler_of_the_host_works_while_enclave_code_runs() {
    const ENOUGH: u64 = 25;
    on_signal(libc::SIGPROF, tick);
    let enclave = Image::new(waits()).load();
    let interval = libc::timeval { tv_sec: 0, tv_usec: 2000 };
    let timer = libc::itimerval { it_interval: interval, it_value: interval };
    // SAFETY: starts a timer of this process, whose signal has a handler.
    unsafe { assert_eq!(libc::setitimer(libc::ITIMER_PROF, &timer, std::ptr::null_mut()), 0) };
    let inside = AtomicU64::new(0);
    // The enclave waits for the handler's count, so the handler ran while it was inside.
    let seen = enter(enclave.tcs()[0], EENTER, [address(&TICKS), address(&inside), ENOUGH, 0, 0]).exited();
    assert!(seen >= ENOUGH && MINE.with(|mine| mine.load(Ordering::Relaxed)) > 0);
}

#[test]
fn a_thread_that_blocks_every_signal_can_enter_all_the_same() {
    let enclave = Image::new(counts()).load();
    let word = AtomicU64::new(0);
    // SAFETY: changes the mask of this thread.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        assert_eq!(libc::pthread_sigmask(libc::SIG_BLOCK, &all, std::ptr::null_mut()), 0);
    }
    assert_eq!(enter(enclave.tcs()[0], EENTER, [address(&word), 1, 3, 0, 0]).exited(), 3);
}

/// Threads that entered an enclave leave nothing behind, their signal stacks included.
#[test]
fn a_thread_that_ends_takes_its_signal_stack_along() {
    if !is_child() {
        assert!(in_a_child("a_thread_that_ends_takes_its_signal_stack_along").success());
        return;
    }
    let enclave = Image::new(counts_quietly()).load();
    let tcs = enclave.tcs()[0];
    let mappings = || {
        for _ in 0..20 {
            let entered = thread::spawn(move || enter(tcs, EENTER, [0, 0, 5, 0, 0]).exited());
            assert_eq!(entered.join().unwrap(), 5);
        }
        std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
    };
    let before = mappings();
    assert!(mappings() < before + 20);
}

static HANDLED: AtomicU64 = AtomicU64::new(0);

/// Enters again until it was called three times, then ends the call with -7.
extern "C" fn user_handler(
    rdi: u64,
    _: u64,
    rdx: u64,
    rsp: u64,
    _: u64,
    _: u64,
    run: &mut EnclaveRun,
) -> i32 {
    assert_eq!((rdi, rdx, run.function, run.user_data), (5, 5, EEXIT, 0x77));
    assert_ne!(rsp, 0);
    if HANDLED.fetch_add(1, Ordering::Relaxed) < 2 { EENTER as i32 } else { -7 }
}

// As often as RDX says.
enclave_code!(counts_quietly:
    "mov rdi, rdx"
    "mov rbx, rcx"
    "mov eax, 4"
    "enclu"
);

#[test]
fn a_user_handler_sees_each_exit_and_says_how_to_go_on() {
    let enclave = Image::new(counts_quietly()).load();
    let mut run = EnclaveRun::new(enclave.tcs()[0] as u64);
    run.user_handler = user_handler as *const () as u64;
    run.user_data = 0x77;
    assert_eq!(enter_with(run, EENTER, [0, 0, 5, 0, 0]).status, -7);
    assert_eq!(HANDLED.load(Ordering::Relaxed), 3);
}

/// Runs a test of this file in a process of its own, where it does what ends the process.
fn in_a_child(name: &str) -> ExitStatus {
    let path = std::env::current_exe().unwrap();
    let mut child = Command::new(path);
    child.args(["--exact", &format!("machine::tests::host::{name}"), "--nocapture", "--test-threads=1"]);
    child.env(CHILD, "1").status().unwrap()
}

const CHILD: &str = "SGX_EMU_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

extern "C" fn exit_with_seven(_: libc::c_int) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(7) };
}

fn fault_outside() {
    // SAFETY: none; this is to fault.
    unsafe { std::arch::asm!("mov rax, [0x10]", out("rax") _) };
}

#[test]
fn a_hosts_own_fault_goes_to_the_handler_it_had() {
    if is_child() {
        on_signal(libc::SIGSEGV, exit_with_seven);
        Image::new(counts()).load();
        fault_outside();
        return;
    }
    assert_eq!(in_a_child("a_hosts_own_fault_goes_to_the_handler_it_had").code(), Some(7));
}

#[test]
fn without_a_handler_it_ends_the_process_as_ever() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        // SAFETY: the default action is always allowed.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
        Image::new(counts()).load();
        fault_outside();
        return;
    }
    assert_eq!(in_a_child("without_a_handler_it_ends_the_process_as_ever").signal(), Some(libc::SIGSEGV));
}

#[test]
fn so_does_a_signal_that_another_process_sends() {
    use std::os::unix::process::ExitStatusExt;
    if is_child() {
        Image::new(counts()).load();
        // SAFETY: sends a signal to this thread.
        unsafe { libc::raise(libc::SIGILL) };
        return;
    }
    assert_eq!(in_a_child("so_does_a_signal_that_another_process_sends").signal(), Some(libc::SIGILL));
}

/// std's own handler tells of a stack that overflowed, and aborts.
#[test]
#[allow(unconditional_recursion, reason = "it is to overflow")]
fn a_stack_of_the_host_that_overflows_is_told_as_ever() {
    use std::os::unix::process::ExitStatusExt;
    fn deeper(depth: u64) -> u64 {
        let frame = std::hint::black_box([depth; 64]);
        deeper(depth + 1) + frame[63]
    }
    if is_child() {
        let enclave = Image::new(counts_quietly()).load();
        let tcs = enclave.tcs()[0];
        let entered = thread::spawn(move || enter(tcs, EENTER, [0, 0, 5, 0, 0]).exited() + deeper(0));
        entered.join().unwrap();
        return;
    }
    let name = "a_stack_of_the_host_that_overflows_is_told_as_ever";
    assert_eq!(in_a_child(name).signal(), Some(libc::SIGABRT));
}

/// The handler of a host's signal faults while enclave code is under it: that is the host's fault, not the
/// enclave's.
#[test]
fn a_fault_of_a_handler_on_top_of_enclave_code_is_the_hosts() {
    extern "C" fn faults(_: libc::c_int) {
        fault_outside();
    }
    if is_child() {
        on_signal(libc::SIGSEGV, exit_with_seven);
        on_signal(libc::SIGALRM, faults);
        let enclave = Image::new(waits()).load();
        let (never, inside) = (AtomicU64::new(0), AtomicU64::new(0));
        let interval = libc::timeval { tv_sec: 0, tv_usec: 1000 };
        let timer = libc::itimerval { it_interval: interval, it_value: interval };
        // SAFETY: starts a timer of this process, whose signal has a handler.
        unsafe { assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()), 0) };
        enter(enclave.tcs()[0], EENTER, [address(&never), address(&inside), 1, 0, 0]);
        return;
    }
    assert_eq!(in_a_child("a_fault_of_a_handler_on_top_of_enclave_code_is_the_hosts").code(), Some(7));
}
