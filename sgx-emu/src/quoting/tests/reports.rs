//! Only what this CPU reported to this quoting enclave is signed.

use std::sync::Arc;

use super::super::{PkiOptions, QuoteRefused, QuotingEnclave, QuotingEnclaveError};
use super::{Machine, now, verify};
use crate::{EnclaveState, REPORT_LEN, SoftwareCpu, target_info};

#[test]
fn a_report_that_was_changed_is_refused() {
    let machine = Machine::new(&PkiOptions::default());
    let report = machine.report([7; 64]);
    machine.quoting.quote(&report).unwrap();
    for at in 0..REPORT_LEN {
        let mut bad = report;
        bad[at] ^= 1;
        let refused = machine.quoting.quote(&bad);
        assert!(matches!(refused, Err(QuoteRefused::NotAuthentic)), "byte {at}");
    }
}

#[test]
fn a_report_for_another_target_is_refused() {
    let machine = Machine::new(&PkiOptions::default());
    let enclave = EnclaveState::development();
    let debug = EnclaveState { attributes: crate::attributes(0x17, 7), ..QuotingEnclave::state() };
    for target in [[0; 512], target_info(&enclave), target_info(&debug)] {
        let report = machine.cpu.ereport(&enclave, &target, &[7; 64]);
        assert!(matches!(machine.quoting.quote(&report), Err(QuoteRefused::NotAuthentic)));
    }
}

#[test]
fn a_report_of_another_cpu_is_refused() {
    let machine = Machine::new(&PkiOptions::default());
    let elsewhere = SoftwareCpu::ephemeral();
    let report = elsewhere.ereport(&EnclaveState::development(), &machine.quoting.target_info(), &[7; 64]);
    assert!(matches!(machine.quoting.quote(&report), Err(QuoteRefused::NotAuthentic)));
}

#[test]
fn the_pki_must_be_for_the_cpus_state() {
    let machine = Machine::new(&PkiOptions::default());
    let updated = Arc::new(SoftwareCpu::ephemeral().at_cpu_svn([2; 16]));
    match QuotingEnclave::new(updated, &machine.pki) {
        Err(QuotingEnclaveError::CpuSvn { certified, actual }) => {
            assert_eq!((certified, actual), ("01".repeat(16), "02".repeat(16)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bit_flipped_before_the_certificates_is_refused() {
    let machine = Machine::new(&PkiOptions::default());
    let quote = machine.quote([7; 64]);
    let certificates = quote.windows(5).position(|window| window == b"-----").unwrap();
    for at in 0..certificates {
        let mut bad = quote.clone();
        bad[at] ^= 1;
        let refused = verify(&bad, &machine.pki, machine.pki.root_der(), now());
        assert!(refused.is_err(), "byte {at}");
    }
}
