//! What the enclave asks for when it leaves: four calls of ours, and those of its standard library that
//! start-up, locks and the log need. Everything else is refused.
//!
//! Numbers, parameters and results: [`boundary_wire::start`] for ours, `fortanix-sgx-abi` for std's. A call that
//! breaks its rules gets an error and harms nobody: the host's memory is read only where the host gave it away.

use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use boundary_wire::rpc::LogLevel;
use boundary_wire::start::{self, failed, notify, restrict};
use fortanix_sgx_abi::{
    Error, FD_STDERR, FD_STDIN, FD_STDOUT, RESULT_SUCCESS, WAIT_INDEFINITE, WAIT_NO, invoke_with_usercalls,
};
use host_services::clock;
use host_services::log::Source;
use host_services::seats::Told;
use host_services::station::Turn;

use crate::driver::{Driver, End};
use crate::enter::Registers;
use crate::exits::Kind;
use crate::park::Woken;
use crate::text::Text;

macro_rules! numbers {
    ($(fn $name:ident($($parameter:ident: $type:ty),*) $(-> $result:tt)*;)*) => {
        /// The usercalls of EDP's standard library, by number.
        #[allow(non_camel_case_types, dead_code, reason = "named and numbered by fortanix-sgx-abi")]
        #[derive(Clone, Copy)]
        #[repr(u64)]
        enum Std { none = 0, $($name,)* }

        impl Std {
            fn numbered(number: u64) -> Option<Std> {
                $(if number == Std::$name as u64 { return Some(Std::$name); })*
                None
            }
        }
    };
}
invoke_with_usercalls!(numbers);

/// Bytes of text that one `write` takes.
const MOST_TEXT: u64 = 64 << 10;

type Results = (u64, u64);

const DONE: Results = (RESULT_SUCCESS as u64, 0);

fn error(error: Error) -> Results {
    (u64::from((error as i32).cast_unsigned()), 0)
}

/// A thread of the host, outside of the enclave.
pub(crate) struct Visitor<'a> {
    driver: &'a Arc<Driver>,
    slot: usize,
    seat: Option<u16>,
    out: Text,
    err: Text,
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(driver: &'a Arc<Driver>, slot: usize) -> Self {
        Visitor { driver, slot, seat: None, out: Text::default(), err: Text::default() }
    }

    /// The enclave thread that this is, as far as it has said.
    pub(crate) fn seat(&self) -> Option<u16> {
        self.seat
    }

    /// The last line that it wrote to standard error.
    pub(crate) fn last_words(&self) -> String {
        self.err.last_line().to_owned()
    }

    /// Serves the call with which the enclave left. `Err`: the thread does not enter again.
    pub(crate) fn serve(&mut self, call: &Registers) -> Result<Results, End> {
        if let Some(intercept) = &self.driver.intercept
            && let Some(results) = intercept.call(self.slot, call)
        {
            return Ok(results);
        }
        match call.rdi {
            start::NOTIFY => Ok(self.notify(call)),
            0 => {
                self.count(Kind::Return);
                Err(End::Returned)
            }
            start::START => {
                self.count(Kind::Start);
                let block = &self.driver.start;
                Ok((block.as_ptr().expose_provenance() as u64, block.len() as u64))
            }
            start::RESTRICT => Ok(self.restrict(call)),
            start::FAILED => Ok(self.failed(call)),
            number => match Std::numbered(number) {
                Some(std) => self.std(std, call),
                None => Ok(self.refuse(call)),
            },
        }
    }

    fn notify(&mut self, call: &Registers) -> Results {
        let turn = match call.rsi {
            notify::POLL => {
                self.count(Kind::Poll);
                Turn::Poll
            }
            notify::WAIT => {
                self.count(Kind::Wait);
                Turn::Wait { until_ns: (call.rdx != notify::NO_TIMER).then_some(call.rdx) }
            }
            notify::WAKE => {
                self.count(Kind::Wake);
                if let Ok(thread) = u16::try_from(call.rdx) {
                    self.driver.seats.wake(thread);
                }
                return (notify::CONTINUE, 0);
            }
            _ => return self.refuse(call),
        };
        match self.sits(call.r8) {
            Some(seat) if self.driver.seats.turn(seat, turn) == Told::Continue => (notify::CONTINUE, 0),
            Some(_) => (notify::SHUTDOWN, 0),
            None => {
                self.refuse(call);
                (notify::SHUTDOWN, 0)
            }
        }
    }

    /// The seat of this thread, if it is the one that it names.
    fn sits(&mut self, claimed: u64) -> Option<u16> {
        match self.seat {
            Some(seat) => (u64::from(seat) == claimed).then_some(seat),
            None => {
                let seat = u16::try_from(claimed).ok().filter(|&seat| self.driver.claim(seat))?;
                self.seat = Some(seat);
                name_thread(seat, self.driver.seats.workers());
                Some(seat)
            }
        }
    }

    fn restrict(&mut self, call: &Registers) -> Results {
        self.count(Kind::Restrict);
        let cpu = &self.driver.cpu;
        if !cpu.has_sgx2() {
            return (restrict::NO_SGX2, 0);
        }
        let known = restrict::READ | restrict::WRITE | restrict::EXECUTE;
        let permissions = u8::try_from(call.r8).ok().filter(|&bits| u64::from(bits) & !known == 0);
        let Some(permissions) = permissions else { return error(Error::InvalidInput) };
        match cpu.restrict(call.rsi, call.rdx, permissions) {
            Ok(()) => (restrict::DONE, 0),
            Err(why) => {
                self.host_says(&why.to_string());
                error(Error::Other)
            }
        }
    }

    fn failed(&mut self, call: &Registers) -> Results {
        self.count(Kind::Failed);
        let words = self.err.last_line();
        let reason = match (words, call.rdx) {
            ("", failed::REFUSED) => "it refused to start and did not say why".to_owned(),
            ("", _) => "it gave up and did not say why".to_owned(),
            (words, _) => words.to_owned(),
        };
        match u16::try_from(call.rsi) {
            Ok(seat) => self.driver.gave_up(Some(seat), reason),
            Err(_) => self.driver.gave_up(None, reason),
        }
        (0, 0)
    }

    fn std(&mut self, number: Std, call: &Registers) -> Result<Results, End> {
        Ok(match number {
            Std::alloc => {
                self.count(Kind::Alloc);
                match self.driver.memory.allocate(call.rsi, call.rdx) {
                    Some(address) => (0, address),
                    None => error(Error::Other),
                }
            }
            Std::free => {
                self.count(Kind::Free);
                if !self.driver.memory.free(call.rsi, call.rdx, call.r8) {
                    self.refuse(call);
                }
                (0, 0)
            }
            Std::read if call.rsi == FD_STDIN => {
                self.count(Kind::Read);
                DONE
            }
            Std::write if matches!(call.rsi, FD_STDOUT | FD_STDERR) => self.write(call),
            Std::flush if matches!(call.rsi, FD_STDOUT | FD_STDERR) => {
                self.count(Kind::Write);
                DONE
            }
            Std::launch_thread => {
                self.count(Kind::Launch);
                match self.driver.launch_thread() {
                    Some(()) => DONE,
                    None => error(Error::WouldBlock),
                }
            }
            Std::exit => {
                self.count(Kind::Exit);
                let panicked = call.rsi != 0;
                return Err(if panicked { End::Crashed("it ended itself".to_owned()) } else { End::Exit });
            }
            Std::wait => return self.wait(call),
            Std::send => self.send(call),
            Std::insecure_time => {
                self.count(Kind::Time);
                (clock::now().unix_ns, 0)
            }
            // It has no result, and std aborts when it gets one.
            Std::close => {
                self.refuse(call);
                (0, 0)
            }
            _ => self.refuse(call),
        })
    }

    fn write(&mut self, call: &Registers) -> Results {
        self.count(Kind::Write);
        let len = call.r8.min(MOST_TEXT);
        let Some(bytes) = self.driver.memory.read(call.rdx, len) else { return error(Error::InvalidInput) };
        let (text, level) = match call.rsi {
            FD_STDERR => (&mut self.err, LogLevel::Error),
            _ => (&mut self.out, LogLevel::Info),
        };
        let mut lines = Vec::new();
        text.push(&bytes, |line| lines.push(line.to_owned()));
        lines.iter().for_each(|line| self.log(level, line));
        (0, len)
    }

    fn wait(&mut self, call: &Registers) -> Result<Results, End> {
        self.count(Kind::Park);
        let (mask, timeout) = (call.rsi, call.rdx);
        if mask == 0 && timeout == WAIT_INDEFINITE {
            return Ok(error(Error::InvalidInput));
        }
        let limit = (timeout != WAIT_INDEFINITE).then(|| Duration::from_nanos(timeout));
        match self.driver.slots[self.slot].parking.wait(mask, limit) {
            Woken::Events(events) => Ok((0, events)),
            Woken::TimedOut if timeout == WAIT_NO => Ok(error(Error::WouldBlock)),
            Woken::TimedOut => Ok(error(Error::TimedOut)),
            Woken::Over => Err(End::Over),
        }
    }

    fn send(&mut self, call: &Registers) -> Results {
        self.count(Kind::Unpark);
        let (events, tcs) = (call.rsi, call.rdx);
        let slots = &self.driver.slots;
        if tcs == 0 {
            slots.iter().for_each(|slot| slot.parking.send(events));
            return DONE;
        }
        match self.driver.cpu.tcs().iter().position(|&address| address as u64 == tcs) {
            Some(slot) => {
                slots[slot].parking.send(events);
                DONE
            }
            None => self.refuse(call),
        }
    }

    fn refuse(&mut self, call: &Registers) -> Results {
        self.count(Kind::Refused);
        if self.driver.is_news(call.rdi) {
            let (number, parameters) = (call.rdi, [call.rsi, call.rdx, call.r8, call.r9]);
            self.host_says(&format!("usercall {number:#x} of the enclave is refused: {parameters:x?}"));
        }
        error(Error::InvalidInput)
    }

    /// What is left of a line.
    pub(crate) fn flush(&mut self) {
        for (level, line) in [(LogLevel::Info, self.out.end()), (LogLevel::Error, self.err.end())] {
            if let Some(line) = line {
                self.log(level, &line);
            }
        }
    }

    fn log(&self, level: LogLevel, line: &str) {
        let source = self.seat.map_or(Source::Host, Source::Enclave);
        self.driver.seats.services().log.line(level, source, "enclave", line);
    }

    fn host_says(&self, text: &str) {
        self.driver.seats.services().log.host(LogLevel::Warn, text);
    }

    fn count(&self, kind: Kind) {
        self.driver.slots[self.slot].exits.count(kind);
    }
}

/// For debuggers and `top`; nothing depends on it.
fn name_thread(seat: u16, workers: u16) {
    let name = if seat == workers { "control".to_owned() } else { format!("worker-{seat}") };
    if let Ok(name) = CString::new(name) {
        rustix::thread::set_name(&name).unwrap_or_default();
    }
}
