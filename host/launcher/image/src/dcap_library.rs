//! Quotes from Intel's DCAP library (`libsgx_dcap_ql`), which runs the quoting enclave in this process.
//!
//! The library is loaded when the first quote is wanted, so that nothing depends on it where AESM does the work.

use std::error::Error;
use std::sync::{Mutex, OnceLock, PoisonError};

use host_services::quoting::{QuoteProvider, QuotingError, whole_quote};
use libloading::Library;

/// With the version of its interface first.
const NAMES: [&str; 2] = ["libsgx_dcap_ql.so.1", "libsgx_dcap_ql.so"];
/// Longer than any quote.
const MAX_QUOTE: u32 = 64 * 1024;

/// sgx_target_info_t and sgx_report_t, aligned as EREPORT wants them.
#[repr(C, align(512))]
struct TargetInfo([u8; 512]);

#[repr(C, align(512))]
struct Report([u8; 432]);

/// The three functions (ECDSA Quote Library API, §3), which return a quote3_error_t.
struct Functions {
    target_info: unsafe extern "C" fn(*mut TargetInfo) -> u32,
    quote_size: unsafe extern "C" fn(*mut u32) -> u32,
    quote: unsafe extern "C" fn(*const Report, u32, *mut u8) -> u32,
}

/// The library, once it is needed.
#[derive(Default)]
pub struct DcapLibrary {
    functions: OnceLock<Result<Functions, String>>,
    /// The library keeps state between target info and quote.
    one_at_a_time: Mutex<()>,
}

impl DcapLibrary {
    fn functions(&self) -> Result<&Functions, QuotingError> {
        self.functions.get_or_init(|| Functions::load(&NAMES)).as_ref().map_err(|why| {
            QuotingError::Unavailable(format!(
                "the DCAP library does not load ({why}): install libsgx-dcap-ql and libsgx-dcap-default-qpl"
            ))
        })
    }
}

impl Functions {
    fn load(names: &[&str]) -> Result<Self, String> {
        let mut failure = String::new();
        for name in names {
            // SAFETY: Intel's library, found where the system keeps its libraries; its constructors are trusted as
            // the rest of this untrusted host is.
            match unsafe { Library::new(*name) } {
                Ok(library) => return Self::find(library).map_err(|error| told(&error)),
                Err(error) => failure = told(&error),
            }
        }
        Err(failure)
    }

    fn find(library: Library) -> Result<Self, libloading::Error> {
        // The library stays for as long as the process: its functions are called for as long.
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the names and signatures are those of sgx_dcap_ql_wrapper.h.
        unsafe {
            Ok(Self {
                target_info: *library.get(b"sgx_qe_get_target_info")?,
                quote_size: *library.get(b"sgx_qe_get_quote_size")?,
                quote: *library.get(b"sgx_qe_get_quote")?,
            })
        }
    }
}

/// What the system's loader said.
fn told(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

impl QuoteProvider for DcapLibrary {
    fn name(&self) -> String {
        format!("the DCAP library {}", NAMES[0])
    }

    fn target_info(&self) -> Result<Vec<u8>, QuotingError> {
        let functions = self.functions()?;
        let _alone = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let mut target_info = TargetInfo([0; 512]);
        // SAFETY: it writes one sgx_target_info_t.
        checked(unsafe { (functions.target_info)(&raw mut target_info) })?;
        Ok(target_info.0.to_vec())
    }

    fn quote(&self, report: &[u8]) -> Result<Vec<u8>, QuotingError> {
        let functions = self.functions()?;
        let _alone = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = || QuotingError::Refused(format!("{} bytes are no REPORT", report.len()));
        let report = Report(report.try_into().map_err(|_| refused())?);
        let mut size = 0;
        // SAFETY: it writes one u32.
        checked(unsafe { (functions.quote_size)(&raw mut size) })?;
        if size > MAX_QUOTE {
            return Err(QuotingError::Unavailable(format!(
                "the DCAP library wants {size} bytes for a quote"
            )));
        }
        let mut quote = vec![0; size as usize];
        // SAFETY: it reads one sgx_report_t and writes at most `size` bytes, which are there.
        checked(unsafe { (functions.quote)(&raw const report, size, quote.as_mut_ptr()) })?;
        let cut = || QuotingError::Unavailable("the DCAP library's quote is cut".to_owned());
        whole_quote(quote).ok_or_else(cut)
    }
}

fn checked(code: u32) -> Result<(), QuotingError> {
    if code == 0 {
        return Ok(());
    }
    let text = format!("the DCAP library failed with error {code:#06x}: {}", advice(code));
    Err(match code {
        0xe002 | 0xe013 | 0xe015 => QuotingError::Refused(text),
        _ => QuotingError::Unavailable(text),
    })
}

/// What to do about a quote3_error_t.
fn advice(code: u32) -> &'static str {
    match code {
        0xe002 | 0xe013 | 0xe015 => {
            "the REPORT was not made for this quoting enclave; ask for the target info again"
        }
        0xe003 | 0xe012 => "there is no memory, or no EPC, for the quoting enclave; give SGX more memory",
        0xe00d | 0xe014 | 0xe016 | 0xe017 => {
            "its quoting enclave does not run; see that this user may use /dev/sgx_enclave and /dev/sgx_provision (group \
             sgx_prv)"
        }
        0xe00e | 0xe010 | 0xe011 => {
            "there is no PCK certificate for this platform; install libsgx-dcap-default-qpl, name a PCCS in \
             /etc/sgx_default_qcnl.conf and register the platform there (PCKIDRetrievalTool)"
        }
        0xe019 => "it does not reach the PCCS that /etc/sgx_default_qcnl.conf names",
        _ => "see the system's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" fn target_info(out: *mut TargetInfo) -> u32 {
        // SAFETY: the caller gives one.
        unsafe { (*out).0.fill(7) };
        0
    }

    unsafe extern "C" fn quote_size(out: *mut u32) -> u32 {
        // SAFETY: the caller gives one.
        unsafe { *out = 500 };
        0
    }

    /// A quote of 450 bytes with the report's first byte in it.
    unsafe extern "C" fn quote(report: *const Report, size: u32, out: *mut u8) -> u32 {
        assert_eq!(size, 500);
        // SAFETY: the caller gives a report and that much room.
        let (report, out) = unsafe { (&*report, std::slice::from_raw_parts_mut(out, size as usize)) };
        out[48] = report.0[0];
        out[432] = 14;
        0
    }

    unsafe extern "C" fn no_certificate(_: *mut TargetInfo) -> u32 {
        0xe011
    }

    unsafe extern "C" fn invalid_report(_: *const Report, _: u32, _: *mut u8) -> u32 {
        0xe015
    }

    fn library(functions: Functions) -> DcapLibrary {
        DcapLibrary { functions: OnceLock::from(Ok(functions)), one_at_a_time: Mutex::default() }
    }

    #[test]
    fn target_info_and_quote_come_from_the_functions() {
        let dcap = library(Functions { target_info, quote_size, quote });
        assert_eq!(dcap.target_info().unwrap(), [7; 512]);
        let made = dcap.quote(&[9; 432]).unwrap();
        assert_eq!((made.len(), made[48]), (450, 9));
        assert!(matches!(dcap.quote(&[9; 431]), Err(QuotingError::Refused(_))));
    }

    #[test]
    fn failures_say_what_to_do() {
        let dcap = library(Functions { target_info: no_certificate, quote_size, quote: invalid_report });
        let error = dcap.target_info().unwrap_err().to_string();
        assert!(error.contains("0xe011") && error.contains("sgx_default_qcnl.conf"), "{error}");
        assert!(matches!(dcap.quote(&[0; 432]), Err(QuotingError::Refused(_))));
        let missing = Functions::load(&["libno_such_library.so.1"]).map(drop).unwrap_err();
        assert!(missing.contains("libno_such_library"), "{missing}");
    }
}
