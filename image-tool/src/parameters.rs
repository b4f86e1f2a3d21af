//! `enclave/image/image.toml`: what an image is besides its program.

use serde::Deserialize;

use crate::PAGE_SIZE;

/// The CPU features that x86-64-v3 stands for (x86-64 psABI, "Micro-architecture levels"), by the names that
/// rustc and CPUID readers use. What level 1 has, every CPU with SGX has.
const X86_64_V3: &[&str] = &[
    "avx",
    "avx2",
    "bmi1",
    "bmi2",
    "cmpxchg16b",
    "f16c",
    "fma",
    "lzcnt",
    "movbe",
    "popcnt",
    "sse3",
    "sse4.1",
    "sse4.2",
    "ssse3",
    "xsave",
];

/// What a server with SGX may have beyond that, and an image may ask for.
const FEATURES: &[&str] =
    &["adx", "aes", "gfni", "pclmulqdq", "rdrand", "rdseed", "sha", "vaes", "vpclmulqdq"];

/// x87, SSE and AVX state: what code for x86-64-v3 uses.
const XFRM_AVX: u64 = 0b111;

/// Parameters of an image, within their ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Bytes of heap.
    pub heap: u64,
    /// Bytes of stack of each thread.
    pub stack: u64,
    /// Enclave threads: one TCS each.
    pub threads: u32,
    /// ISVPRODID.
    pub isv_prod_id: u16,
    /// ISVSVN.
    pub isv_svn: u16,
    /// ATTRIBUTES.DEBUG: the enclave's memory can be read from outside.
    pub debug: bool,
    /// ATTRIBUTES.XFRM: the processor state the enclave may use.
    pub xfrm: u64,
    /// DATE of the SIGSTRUCT.
    pub date: Date,
    /// Features beyond x86-64-v3 that the program is compiled for.
    extra_features: Vec<&'static str>,
}

/// A day, as a SIGSTRUCT states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day, from 1.
    pub day: u8,
}

/// Why a parameter file is none.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// Not TOML of this shape.
    #[error("the image parameters do not parse: {0}")]
    Toml(#[from] toml::de::Error),
    /// A value that no image can have.
    #[error("image parameter `{name}` is {given}; it must be {wanted}")]
    Range {
        /// Which parameter.
        name: &'static str,
        /// What the file says.
        given: String,
        /// What it may say.
        wanted: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    heap: u64,
    stack: u64,
    threads: u32,
    isv_prod_id: u16,
    isv_svn: u16,
    debug: bool,
    xfrm: u64,
    date: toml::value::Datetime,
    cpu: String,
    cpu_features: Vec<String>,
}

impl Parameters {
    /// Reads the parameter file.
    ///
    /// # Errors
    /// [`ParameterError`] for an unknown, missing or impossible value.
    pub fn from_toml(text: &str) -> Result<Self, ParameterError> {
        let file: File = toml::from_str(text)?;
        bytes("heap", file.heap, 1 << 20, 64 << 30)?;
        bytes("stack", file.stack, 64 << 10, 64 << 20)?;
        within("threads", file.threads, (1..=1024).contains(&file.threads), "1 to 1024")?;
        within("xfrm", file.xfrm, file.xfrm == XFRM_AVX, "7: x87, SSE and AVX, what x86-64-v3 uses")?;
        within("cpu", &file.cpu, file.cpu == "x86-64-v3", "\"x86-64-v3\"")?;
        let date = match file.date {
            toml::value::Datetime { date: Some(date), time: None, offset: None } if date.year >= 1970 => {
                Date { year: date.year, month: date.month, day: date.day }
            }
            other => return Err(refused("date", other, "a day, as in 2026-01-31")),
        };
        let mut extra_features = Vec::new();
        for name in file.cpu_features {
            match FEATURES.iter().find(|known| **known == name) {
                Some(known) if !extra_features.contains(known) => extra_features.push(known),
                Some(_) => return Err(refused("cpu_features", format!("{name:?} twice"), "each once")),
                None => {
                    let wanted = format!("of these: {}", FEATURES.join(", "));
                    return Err(refused("cpu_features", format!("{name:?}"), &wanted));
                }
            }
        }
        Ok(Self {
            heap: file.heap,
            stack: file.stack,
            threads: file.threads,
            isv_prod_id: file.isv_prod_id,
            isv_svn: file.isv_svn,
            debug: file.debug,
            xfrm: file.xfrm,
            date,
            extra_features,
        })
    }

    /// The CPU that rustc compiles for.
    pub fn target_cpu(&self) -> &'static str {
        "x86-64-v3"
    }

    /// The features beyond it that rustc compiles for.
    pub fn target_features(&self) -> &[&'static str] {
        &self.extra_features
    }

    /// Every feature that a CPU must have to run the image.
    pub fn cpu_features(&self) -> Vec<&'static str> {
        let mut all = [X86_64_V3, &self.extra_features].concat();
        all.sort_unstable();
        all
    }
}

fn bytes(name: &'static str, given: u64, least: u64, most: u64) -> Result<(), ParameterError> {
    let wanted = format!("{least} to {most} bytes, in whole pages of {PAGE_SIZE}");
    within(name, given, (least..=most).contains(&given) && given.is_multiple_of(PAGE_SIZE), &wanted)
}

fn within(
    name: &'static str,
    given: impl ToString,
    permitted: bool,
    wanted: &str,
) -> Result<(), ParameterError> {
    if permitted { Ok(()) } else { Err(refused(name, given, wanted)) }
}

fn refused(name: &'static str, given: impl ToString, wanted: &str) -> ParameterError {
    ParameterError::Range { name, given: given.to_string(), wanted: wanted.to_owned() }
}

#[cfg(test)]
mod tests;
