//! EREPORT and the structures around it (SDM, volume 3D, sections REPORT and TARGETINFO).

use aes::Aes128;
use cmac::{Cmac, KeyInit, Mac};

use crate::EnclaveState;
use crate::keys::{Config, field, report_key};
use crate::secrets::Secrets;

/// Size of a REPORT.
pub const REPORT_LEN: usize = 432;
/// Size of a TARGETINFO.
pub const TARGET_INFO_LEN: usize = 512;

/// Offsets in a REPORT. What is not named is zero on this CPU.
mod at {
    pub(super) const CPU_SVN: usize = 0;
    pub(super) const MISC_SELECT: usize = 16;
    pub(super) const ATTRIBUTES: usize = 48;
    pub(super) const MRENCLAVE: usize = 64;
    pub(super) const MRSIGNER: usize = 128;
    pub(super) const ISV_PROD_ID: usize = 256;
    pub(super) const ISV_SVN: usize = 258;
    pub(super) const REPORT_DATA: usize = 320;
    /// Everything before this is what the MAC is over.
    pub(super) const KEY_ID: usize = 384;
    pub(super) const MAC: usize = 416;
}

/// Offsets in a TARGETINFO.
mod target_at {
    pub(super) const MEASUREMENT: usize = 0;
    pub(super) const ATTRIBUTES: usize = 32;
    pub(super) const CONFIG_SVN: usize = 50;
    pub(super) const MISC_SELECT: usize = 52;
    pub(super) const CONFIG_ID: usize = 64;
}

pub(crate) fn ereport(
    secrets: &Secrets,
    enclave: &EnclaveState,
    target: &[u8; TARGET_INFO_LEN],
    data: &[u8; 64],
) -> [u8; REPORT_LEN] {
    let mut report = [0; REPORT_LEN];
    let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
    put(at::CPU_SVN, &secrets.cpu_svn);
    put(at::MISC_SELECT, &enclave.misc_select.to_le_bytes());
    put(at::ATTRIBUTES, &enclave.attributes);
    put(at::MRENCLAVE, &enclave.mrenclave);
    put(at::MRSIGNER, &enclave.mrsigner);
    put(at::ISV_PROD_ID, &enclave.isv_prod_id.to_le_bytes());
    put(at::ISV_SVN, &enclave.isv_svn.to_le_bytes());
    put(at::REPORT_DATA, data);
    put(at::KEY_ID, &secrets.report_key_id);

    let key = report_key(
        secrets,
        &field(target, target_at::MEASUREMENT),
        &field(target, target_at::ATTRIBUTES),
        u32::from_le_bytes(field(target, target_at::MISC_SELECT)),
        &Config { id: field(target, target_at::CONFIG_ID), svn: field(target, target_at::CONFIG_SVN) },
        &secrets.report_key_id,
    );
    let mac: [u8; 16] = cmac_over(&key, &report).finalize().into_bytes().into();
    report[at::MAC..].copy_from_slice(&mac);
    report
}

/// Whether `report` was made by this CPU for the enclave whose report key this is (EGETKEY with
/// REPORT_KEY and the report's KEYID).
pub fn report_is_authentic(report_key: &[u8; 16], report: &[u8; REPORT_LEN]) -> bool {
    cmac_over(report_key, report).verify_slice(&report[at::MAC..]).is_ok()
}

/// The TARGETINFO that addresses `enclave`.
pub fn target_info(enclave: &EnclaveState) -> [u8; TARGET_INFO_LEN] {
    let mut target = [0; TARGET_INFO_LEN];
    let mut put = |at: usize, bytes: &[u8]| target[at..at + bytes.len()].copy_from_slice(bytes);
    put(target_at::MEASUREMENT, &enclave.mrenclave);
    put(target_at::ATTRIBUTES, &enclave.attributes);
    put(target_at::MISC_SELECT, &enclave.misc_select.to_le_bytes());
    target
}

fn cmac_over(key: &[u8; 16], report: &[u8; REPORT_LEN]) -> Cmac<Aes128> {
    let mut mac = Cmac::<Aes128>::new(&(*key).into());
    mac.update(&report[..at::KEY_ID]);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyName, KeyPolicy, KeyRequest, SoftwareCpu};

    fn key_of(cpu: &SoftwareCpu, enclave: &EnclaveState, report: &[u8; REPORT_LEN]) -> [u8; 16] {
        let request = KeyRequest {
            name: KeyName::REPORT,
            policy: KeyPolicy::default(),
            isv_svn: 0,
            cpu_svn: [0; 16],
            attribute_mask: [0; 16],
            key_id: field(report, at::KEY_ID),
            misc_mask: 0,
        };
        cpu.egetkey(enclave, &request).unwrap()
    }

    #[test]
    fn only_the_target_can_verify_a_report() {
        let cpu = SoftwareCpu::ephemeral();
        let enclave = EnclaveState::development();
        let quoting = EnclaveState { mrenclave: [9; 32], ..EnclaveState::development() };
        let report = cpu.ereport(&enclave, &target_info(&quoting), &[3; 64]);

        assert!(report_is_authentic(&key_of(&cpu, &quoting, &report), &report));
        assert!(!report_is_authentic(&key_of(&cpu, &enclave, &report), &report));
        let elsewhere = SoftwareCpu::ephemeral();
        assert!(!report_is_authentic(&key_of(&elsewhere, &quoting, &report), &report));
        let debug = EnclaveState { attributes: crate::attributes(7, 7), ..quoting };
        assert!(!report_is_authentic(&key_of(&cpu, &debug, &report), &report));
    }

    #[test]
    fn every_byte_under_the_mac_counts() {
        let cpu = SoftwareCpu::ephemeral();
        let enclave = EnclaveState::development();
        let report = cpu.ereport(&enclave, &target_info(&enclave), &[3; 64]);
        let key = key_of(&cpu, &enclave, &report);
        for i in (0..at::KEY_ID).chain(at::MAC..REPORT_LEN) {
            let mut bad = report;
            bad[i] ^= 1;
            assert!(!report_is_authentic(&key, &bad), "byte {i}");
        }
    }

    #[test]
    fn the_layout_is_the_manuals() {
        let cpu = SoftwareCpu::ephemeral();
        let enclave = EnclaveState { isv_prod_id: 0x0102, isv_svn: 0x0304, ..EnclaveState::development() };
        let report = cpu.ereport(&enclave, &[0; TARGET_INFO_LEN], &[0xaa; 64]);
        assert_eq!(report[64..96], enclave.mrenclave);
        assert_eq!(report[128..160], enclave.mrsigner);
        assert_eq!(report[256..260], [2, 1, 4, 3]);
        assert_eq!(report[320..384], [0xaa; 64]);
        assert_eq!(report[48..64], enclave.attributes);
    }

    /// RFC 4493, example 3 (40 bytes) pins the MAC that reports use.
    #[test]
    fn cmac_is_aes_cmac() {
        let key = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
        let mut message = [0; 40];
        message[..16].copy_from_slice(&0x6bc1_bee2_2e40_9f96_e93d_7e11_7393_172a_u128.to_be_bytes());
        message[16..32].copy_from_slice(&0xae2d_8a57_1e03_ac9c_9eb7_6fac_45af_8e51_u128.to_be_bytes());
        message[32..].copy_from_slice(&0x30c8_1c46_a35c_e411_u64.to_be_bytes());
        let mut mac = Cmac::<Aes128>::new(&key.into());
        mac.update(&message);
        let expected = 0xdfa6_6747_de9a_e630_30ca_3261_1497_c827_u128.to_be_bytes();
        assert_eq!(<[u8; 16]>::from(mac.finalize().into_bytes()), expected);
    }
}
