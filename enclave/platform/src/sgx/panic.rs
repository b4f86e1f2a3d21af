//! The last words of an enclave.

use std::alloc::Layout;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::panic::PanicHookInfo;

/// From now on a panic says where, and why if the reason stands in the program itself. A message that was
/// made at run time may hold anything, a client's data too, so it stays inside. What follows, here as on
/// every platform, is the end of the enclave.
pub(super) fn install() {
    std::panic::set_hook(Box::new(panicked));
    std::alloc::set_alloc_error_hook(out_of_memory);
}

fn panicked(info: &PanicHookInfo<'_>) {
    let why = info.payload().downcast_ref::<&'static str>().copied();
    match info.location() {
        Some(at) => say(format_args!("{at}: {}", why.unwrap_or("(message withheld)"))),
        None => say(format_args!("somewhere: {}", why.unwrap_or("(message withheld)"))),
    }
}

fn out_of_memory(layout: Layout) {
    say(format_args!("the heap of the enclave is used up: {} bytes asked for", layout.size()));
}

/// Writes one line without allocating: the heap may be what failed.
fn say(what: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 512], len: 0 };
    // A line that is too long ends early.
    let _cut = writeln!(line, "the enclave panicked: {what}").is_err();
    let bytes = line.bytes.get(..line.len).unwrap_or_default();
    // Nobody is left to be told that the host does not take it.
    let _lost = std::io::stderr().write_all(bytes).is_err();
}

struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let fits = text.len().min(room.len());
        room.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        self.len += fits;
        if fits == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
