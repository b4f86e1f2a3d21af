//! CPU features. Inside an enclave there is no CPUID, so an image is compiled for the features it uses, and the
//! CPU is compared with them before it is loaded.

use std::arch::is_x86_feature_detected;

/// Features that an image uses and this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this image was compiled for CPU features that this machine lacks: {}. Run it on a server with Ice Lake-SP or \
     later (a virtual machine may hide features: pass the host's CPU through), or make an image with fewer \
     `cpu_features`", .0.join(", ")
)]
pub struct MissingFeatures(pub Vec<String>);

/// Compares what an image uses with this machine: CPUID, and XCR0 for what the operating system must enable.
///
/// # Errors
/// [`MissingFeatures`], with names that this build does not know among them.
pub fn require<S: AsRef<str>>(features: &[S], xfrm: u64) -> Result<(), MissingFeatures> {
    let mut missing: Vec<String> = features
        .iter()
        .map(AsRef::as_ref)
        .filter(|name| !present(name).unwrap_or(false))
        .map(|name| match present(name) {
            Some(_) => name.to_owned(),
            None => format!("{} (unknown to this host)", name.escape_default().take(32).collect::<String>()),
        })
        .collect();
    let enabled = enabled_state();
    if xfrm & !enabled != 0 {
        missing.push(format!(
            "processor state XFRM {xfrm:#x} (the operating system enables {enabled:#x}; bit 2 is AVX, bits 5 to 7 are \
             AVX-512)"
        ));
    }
    if missing.is_empty() { Ok(()) } else { Err(MissingFeatures(missing)) }
}

/// Whether this CPU has the feature, by rustc's name or CPUID's. None: an unknown name.
fn present(name: &str) -> Option<bool> {
    macro_rules! table {
        ($given:expr; $($name:tt)*) => { match $given { $($name => Some(is_x86_feature_detected!($name)),)* _ => None } };
    }
    // CPUID calls it CX16.
    table!(
        if name == "cx16" { "cmpxchg16b" } else { name };
        "adx" "aes" "avx" "avx2" "bmi1" "bmi2" "cmpxchg16b" "f16c" "fma" "fxsr" "gfni" "lzcnt" "movbe" "pclmulqdq"
        "popcnt" "rdrand" "rdseed" "sha" "sse" "sse2" "sse3" "sse4.1" "sse4.2" "ssse3" "vaes" "vpclmulqdq" "xsave"
        "xsavec" "xsaveopt" "xsaves"
    )
}

/// XCR0: the state that the operating system switches. 3 where XSAVE is off.
pub(crate) fn enabled_state() -> u64 {
    if !is_x86_feature_detected!("xsave") {
        return 3;
    }
    let (low, high): (u32, u32);
    // SAFETY: XGETBV with ECX = 0 is there where the operating system has set CR4.OSXSAVE, which the check above
    // includes. It reads a register.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_cpu_of_this_kind_has_is_there_and_what_none_has_is_named() {
        require(&["sse2", "fxsr"], 3).unwrap();
        let error = require(&["sse2", "abacus"], 1 << 60).unwrap_err();
        assert_eq!(error.0.len(), 2, "{error}");
        assert!(error.0[0].starts_with("abacus") && error.0[1].contains("XFRM"), "{error}");
    }
}
