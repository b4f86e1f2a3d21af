//! The SDM's structures, as bytes: what EGETKEY is asked and what EREPORT answers.

use crate::{Identity, SealKeyRequest};

/// Bytes of a KEYREQUEST.
pub(crate) const KEYREQUEST: usize = 512;
/// Bytes of a REPORT.
pub(crate) const REPORT: usize = 432;

/// KEYNAME of a sealing key.
const SEAL_KEY: u16 = 4;
/// KEYPOLICY: derive from MRENCLAVE.
const MRENCLAVE: u16 = 1;
/// ATTRIBUTES.FLAGS: a debug enclave.
const DEBUG: u8 = 1 << 1;

/// What of a REPORT says who this enclave is (SDM, table "Layout of REPORT").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnReport {
    /// The enclave.
    pub(crate) identity: Identity,
    /// CPUSVN: the security version of the CPU now.
    pub(crate) cpu_svn: [u8; 16],
}

impl OwnReport {
    /// Reads a REPORT that the CPU made.
    pub(crate) fn read(report: &[u8; REPORT]) -> OwnReport {
        let [attributes, ..]: [u8; 16] = field::<48, 16>(report);
        OwnReport {
            identity: Identity {
                mrenclave: field::<64, 32>(report),
                mrsigner: field::<128, 32>(report),
                isv_prod_id: u16::from_le_bytes(field::<256, 2>(report)),
                isv_svn: u16::from_le_bytes(field::<258, 2>(report)),
                debug: attributes & DEBUG != 0,
            },
            cpu_svn: field::<0, 16>(report),
        }
    }
}

/// The KEYREQUEST for a sealing key of policy MRENCLAVE with every attribute and every MISCSELECT bit masked
/// in (SDM, table "Layout of KEYREQUEST"; DESIGN D14): a debug launch, or one with another XFRM, gets another
/// key.
pub(crate) fn seal_key_request(request: &SealKeyRequest) -> [u8; KEYREQUEST] {
    let mut bytes = [0; KEYREQUEST];
    set::<0, 2>(&mut bytes, SEAL_KEY.to_le_bytes());
    set::<2, 2>(&mut bytes, MRENCLAVE.to_le_bytes());
    set::<4, 2>(&mut bytes, request.isv_svn.to_le_bytes());
    set::<8, 16>(&mut bytes, request.cpu_svn);
    set::<24, 16>(&mut bytes, [0xff; 16]);
    set::<40, 32>(&mut bytes, request.key_id);
    set::<72, 4>(&mut bytes, [0xff; 4]);
    bytes
}

/// The field at a fixed offset.
fn field<const AT: usize, const N: usize>(report: &[u8; REPORT]) -> [u8; N] {
    const { assert!(AT + N <= REPORT) };
    let mut out = [0; N];
    out.iter_mut().zip(report.iter().skip(AT)).for_each(|(to, from)| *to = *from);
    out
}

fn set<const AT: usize, const N: usize>(request: &mut [u8; KEYREQUEST], value: [u8; N]) {
    const { assert!(AT + N <= KEYREQUEST) };
    request.iter_mut().skip(AT).zip(value).for_each(|(to, from)| *to = from);
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_at_the_offsets_of_the_manual() {
        let mut report = [0; REPORT];
        report[0..16].fill(1);
        report[48] = 0x05;
        report[56] = 7;
        report[64..96].fill(2);
        report[128..160].fill(3);
        report[256..258].copy_from_slice(&[4, 5]);
        report[258..260].copy_from_slice(&[6, 7]);
        let own = OwnReport::read(&report);
        assert_eq!(own.cpu_svn, [1; 16]);
        assert_eq!(own.identity.mrenclave, [2; 32]);
        assert_eq!(own.identity.mrsigner, [3; 32]);
        assert_eq!((own.identity.isv_prod_id, own.identity.isv_svn), (0x0504, 0x0706));
        assert!(!own.identity.debug);
        report[48] = 0x07;
        assert!(OwnReport::read(&report).identity.debug);
    }

    #[test]
    fn a_sealing_key_masks_everything_in() {
        let request = SealKeyRequest { key_id: [8; 32], cpu_svn: [9; 16], isv_svn: 0x0201 };
        let bytes = seal_key_request(&request);
        assert_eq!(bytes[..8], [4, 0, 1, 0, 1, 2, 0, 0]);
        assert_eq!(bytes[8..24], [9; 16]);
        assert_eq!(bytes[24..40], [0xff; 16]);
        assert_eq!(bytes[40..72], [8; 32]);
        assert_eq!(bytes[72..76], [0xff; 4]);
        assert!(bytes[76..].iter().all(|byte| *byte == 0));
    }
}
