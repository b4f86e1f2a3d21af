//! A PKI is made once per machine, and renewed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use time::Duration;

use super::super::{
    COLLATERAL_FILE_NAME, DevelopmentPki, KEYS_FILE_NAME, PCK_CHAIN_FILE_NAME, PkiStoreError, QuotingEnclave,
    RENEW_BEFORE, ROOT_FILE_NAME,
};
use super::{Machine, now, verify};
use crate::{EnclaveState, SoftwareCpu};

#[test]
fn made_once_private_and_complete() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("a/b");
    let first = DevelopmentPki::open_or_create(&home, now()).unwrap();
    let second = DevelopmentPki::open_or_create(&home, now() + Duration::HOUR).unwrap();
    assert_eq!(first.root_der(), second.root_der());
    assert_eq!((first.facts(), first.pck_chain_pem()), (second.facts(), second.pck_chain_pem()));
    assert_eq!(first.collateral_json(), second.collateral_json());
    let mode = |name| fs::metadata(home.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(KEYS_FILE_NAME), 0o600);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 4, "no draft is left");
    let read = |name| fs::read_to_string(home.join(name)).unwrap();
    assert_eq!((read(ROOT_FILE_NAME), read(PCK_CHAIN_FILE_NAME)), (first.root_pem(), first.pck_chain_pem()));

    // What was read back signs as what was made.
    let cpu = std::sync::Arc::new(SoftwareCpu::ephemeral());
    let quoting = QuotingEnclave::new(cpu.clone(), &second).unwrap();
    let report = cpu.ereport(&EnclaveState::development(), &quoting.target_info(), &[1; 64]);
    verify(&quoting.quote(&report).unwrap(), &first, first.root_der(), now()).unwrap();
}

#[test]
fn of_many_makers_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let make = || DevelopmentPki::open_or_create(dir.path(), now()).unwrap().root_fingerprint();
    let all: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..6).map(|_| scope.spawn(make)).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert!(all.iter().all(|root| *root == all[0]));
}

#[test]
fn collateral_is_renewed_before_it_runs_out_and_when_it_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let first = DevelopmentPki::open_or_create(dir.path(), now()).unwrap();
    let end = first.next_update().unwrap();
    let last = DevelopmentPki::open_or_create(dir.path(), end - RENEW_BEFORE).unwrap();
    assert_eq!(last.collateral_json(), first.collateral_json());
    let due = end - RENEW_BEFORE + Duration::SECOND;
    assert!(first.is_due(due) && !first.is_due(end - RENEW_BEFORE));
    let renewed = DevelopmentPki::open_or_create(dir.path(), due).unwrap();
    assert_eq!(renewed.root_der(), first.root_der());
    assert_eq!(renewed.pck_chain_pem(), first.pck_chain_pem());
    assert_eq!(renewed.next_update(), Some(due + Duration::days(30)));

    // A clock that went back, damage, and another PKI's collateral.
    let early = now() - Duration::days(3);
    let back = DevelopmentPki::open_or_create(dir.path(), early).unwrap();
    assert_eq!(back.next_update(), Some(early + Duration::days(30)));
    let stranger = Machine::new(&super::PkiOptions::default()).pki.collateral_json();
    for bad in ["", "{}", &stranger] {
        fs::write(dir.path().join(COLLATERAL_FILE_NAME), bad).unwrap();
        let mended = DevelopmentPki::open_or_create(dir.path(), now()).unwrap();
        assert_eq!(mended.next_update(), Some(now() + Duration::days(30)));
        let stored = fs::read_to_string(dir.path().join(COLLATERAL_FILE_NAME)).unwrap();
        assert_eq!(stored, mended.collateral_json());
    }
}

#[test]
fn foreign_damaged_and_exposed_keys_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    DevelopmentPki::open_or_create(dir.path(), now()).unwrap();
    let path = dir.path().join(KEYS_FILE_NAME);
    let good = fs::read_to_string(&path).unwrap();
    let mut swapped: serde_json::Value = serde_json::from_str(&good).unwrap();
    swapped["root"]["key"] = swapped["pck"]["key"].clone();
    let mut zero: serde_json::Value = serde_json::from_str(&good).unwrap();
    zero["pck"]["key"] = "00".repeat(32).into();
    for bad in
        ["".to_owned(), "{}".into(), good[..good.len() - 3].into(), swapped.to_string(), zero.to_string()]
    {
        fs::write(&path, &bad).unwrap();
        let refused = DevelopmentPki::open_or_create(dir.path(), now());
        assert!(matches!(refused, Err(PkiStoreError::Malformed { .. })), "{bad:.60}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
    fs::write(&path, good).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = DevelopmentPki::open_or_create(dir.path(), now());
    assert!(matches!(refused, Err(PkiStoreError::Exposed { mode: 0o644, .. })));
}

#[test]
fn a_folder_that_others_write_into_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for mode in [0o770, 0o777, 0o702] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let refused = DevelopmentPki::open_or_create(dir.path(), now());
        assert!(matches!(refused, Err(PkiStoreError::Shared { .. })), "{mode:o}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    for mode in [0o755, 0o700] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        DevelopmentPki::open_or_create(dir.path(), now()).unwrap();
    }
}

#[test]
fn the_folder_is_the_one_that_the_environment_names() {
    let dir = |set: &[(&str, &str)]| {
        let find = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        DevelopmentPki::default_dir(find).map(|path| path.display().to_string())
    };
    let all = [("ENCLAVE_OS_DEV_PKI", "here"), ("XDG_DATA_HOME", "/data"), ("HOME", "/home/me")];
    assert_eq!(dir(&all).as_deref(), Some("here"));
    assert_eq!(dir(&all[1..]).as_deref(), Some("/data/enclave-os/dev-pki"));
    assert_eq!(dir(&all[2..]).as_deref(), Some("/home/me/.local/share/enclave-os/dev-pki"));
    let useless = [("ENCLAVE_OS_DEV_PKI", ""), ("XDG_DATA_HOME", "data"), ("HOME", "/home/me")];
    assert_eq!(dir(&useless).as_deref(), Some("/home/me/.local/share/enclave-os/dev-pki"));
    assert_eq!(dir(&[]), None);
}
