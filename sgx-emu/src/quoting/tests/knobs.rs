//! Each option yields what it says.

use time::Duration;

use super::super::{Lifetimes, PkiOptions, QuotingEnclave, Revoked, TcbLevel, TcbStatus};
use super::{Machine, now, verify};
use crate::{ATTRIBUTE_DEBUG, EnclaveState, attributes};

fn judge(options: PkiOptions) -> Result<(String, Vec<String>), String> {
    let machine = Machine::new(&options);
    let verified = verify(&machine.quote([0; 64]), &machine.pki, machine.pki.root_der(), now())?;
    Ok((verified.status, verified.advisory_ids))
}

fn refusal(options: PkiOptions) -> String {
    judge(options).unwrap_err()
}

#[test]
fn a_level_has_its_status_and_advisories() {
    for status in [
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
    ] {
        let tcb_levels = vec![TcbLevel::of(status, &["INTEL-SA-00334", "INTEL-SA-00615"])];
        let found = judge(PkiOptions { tcb_levels, ..PkiOptions::default() }).unwrap();
        assert_eq!(found, (format!("{status:?}"), vec!["INTEL-SA-00334".into(), "INTEL-SA-00615".into()]));
    }
    let tcb_levels = vec![TcbLevel::of(TcbStatus::Revoked, &[])];
    let refused = refusal(PkiOptions { tcb_levels, ..PkiOptions::default() });
    assert!(refused.contains("Revoked"), "{refused}");
}

#[test]
fn a_platform_below_the_highest_level_is_at_the_next() {
    let higher =
        |components| TcbLevel { components: Some(components), ..TcbLevel::of(TcbStatus::UpToDate, &[]) };
    let below = TcbLevel::of(TcbStatus::OutOfDate, &["INTEL-SA-00615"]);
    let found =
        judge(PkiOptions { tcb_levels: vec![higher([9; 16]), below], ..PkiOptions::default() }).unwrap();
    assert_eq!(found, ("OutOfDate".to_owned(), vec!["INTEL-SA-00615".to_owned()]));
    let refused = refusal(PkiOptions { tcb_levels: vec![higher([9; 16])], ..PkiOptions::default() });
    assert!(refused.contains("No matching TCB level"), "{refused}");
}

#[test]
fn the_quoting_enclave_has_a_status_of_its_own() {
    let found = judge(PkiOptions {
        quoting_enclave_status: TcbStatus::OutOfDate,
        quoting_enclave_advisories: vec!["INTEL-SA-00477".to_owned()],
        ..PkiOptions::default()
    });
    assert_eq!(found.unwrap(), ("OutOfDate".to_owned(), vec!["INTEL-SA-00477".to_owned()]));
}

#[test]
fn a_tcb_info_of_another_family_does_not_fit() {
    let refused = refusal(PkiOptions { tcb_info_fmspc: Some([1; 6]), ..PkiOptions::default() });
    assert!(refused.contains("Fmspc mismatch"), "{refused}");
}

#[test]
fn what_is_revoked_is_refused() {
    for revoked in [Revoked::Pck, Revoked::PckCa, Revoked::TcbSigning] {
        let refused = refusal(PkiOptions { revoked: vec![revoked], ..PkiOptions::default() });
        assert!(refused.contains("CertRevoked"), "{revoked:?}: {refused}");
    }
}

#[test]
fn what_has_expired_is_refused_and_renewed_collateral_fits_old_quotes() {
    let day = Lifetimes::all(Duration::DAY);
    let long = Lifetimes::default();
    for (lifetimes, wanted) in [
        (Lifetimes { root_ca_crl: Duration::DAY, ..long }, "CrlExpired"),
        (Lifetimes { pck_crl: Duration::DAY, ..long }, "CrlExpired"),
        (Lifetimes { tcb_info: Duration::DAY, ..long }, "TCBInfo expired"),
        (Lifetimes { qe_identity: Duration::DAY, ..long }, "QE Identity expired"),
        (day, "expired"),
    ] {
        let machine = Machine::new(&PkiOptions { lifetimes, ..PkiOptions::default() });
        let (quote, root) = (machine.quote([0; 64]), machine.pki.root_der());
        verify(&quote, &machine.pki, root, now() + Duration::hours(23)).unwrap();
        let later = now() + Duration::hours(25);
        let refused = verify(&quote, &machine.pki, root, later).unwrap_err();
        assert!(refused.to_lowercase().contains(&wanted.to_lowercase()), "{wanted}: {refused}");
        let renewed = machine.pki.renewed(later, &PkiOptions::default()).unwrap();
        assert_eq!(renewed.root_der(), root);
        verify(&quote, &renewed, root, later).unwrap();
    }
    let certificates_until = Some(now() + Duration::DAY);
    let machine = Machine::new(&PkiOptions { certificates_until, ..PkiOptions::default() });
    let later = now() + Duration::hours(25);
    let refused = verify(&machine.quote([0; 64]), &machine.pki, machine.pki.root_der(), later).unwrap_err();
    assert!(refused.contains("CertExpired"), "{refused}");
}

#[test]
fn nothing_holds_before_its_time() {
    let machine = Machine::new(&PkiOptions::default());
    let early = now() - Duration::hours(2);
    verify(&machine.quote([0; 64]), &machine.pki, machine.pki.root_der(), early).unwrap_err();
}

#[test]
fn another_quoting_enclave_is_refused() {
    let machine = Machine::new(&PkiOptions::default());
    let genuine = QuotingEnclave::state();
    let flags = u64::from(genuine.attributes[0]) | ATTRIBUTE_DEBUG;
    for (state, wanted) in [
        (EnclaveState { attributes: attributes(flags, 7), ..genuine.clone() }, "Debug"),
        (EnclaveState { mrsigner: [1; 32], ..genuine.clone() }, "MRSIGNER"),
        (EnclaveState { isv_prod_id: 2, ..genuine.clone() }, "ISVPRODID"),
        (EnclaveState { misc_select: 1, ..genuine.clone() }, "MISCSELECT"),
        (EnclaveState { isv_svn: 1, ..genuine }, "ISVSVN"),
    ] {
        let quoting = QuotingEnclave::with_state(machine.cpu.clone(), &machine.pki, state).unwrap();
        let report = machine.cpu.ereport(&EnclaveState::development(), &quoting.target_info(), &[0; 64]);
        let quote = quoting.quote(&report).unwrap();
        let refused = verify(&quote, &machine.pki, machine.pki.root_der(), now()).unwrap_err();
        assert!(refused.to_lowercase().contains(&wanted.to_lowercase()), "{wanted}: {refused}");
    }
}
