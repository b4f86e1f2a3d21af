#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use super::*;

const H: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const PPID: &str = "22222222222222222222222222222222";

fn with(rest: &str) -> Result<VerificationPolicy, PolicyError> {
    let text = format!("format = 1\n[roots]\nintel = true\n[enclave]\nmrenclave = [\"{H}\"]\n{rest}");
    VerificationPolicy::from_toml(&text)
}

fn bare(roots: &str, enclave: &str) -> Result<VerificationPolicy, PolicyError> {
    VerificationPolicy::from_toml(&format!("format = 1\n[roots]\n{roots}\n[enclave]\n{enclave}\n"))
}

#[test]
fn the_least_policy_has_the_defaults() {
    let policy = with("").unwrap();
    assert_eq!(policy.roots, Roots::Intel);
    assert_eq!(policy.enclave.mrenclave, Some(vec![[0x11; 32]]));
    assert!(!policy.enclave.allow_debug && policy.enclave.signer.is_none());
    assert_eq!(
        policy.tcb,
        TcbRule { statuses: vec![Accepted::always(TcbStatus::UpToDate)], advisories: vec![] }
    );
    assert_eq!(policy.freshness, FreshnessRule { min_tier: Tier::Challenge, max_age_seconds: 86_400 });
    assert_eq!(
        (policy.app, policy.configuration, policy.ppids, policy.operator_ca),
        (None, None, None, None)
    );
}

#[test]
fn every_key_is_read_and_written() {
    let text = format!(
        r#"
format = 1
[roots]
development = ["{H}"]
[enclave]
mrenclave = ["{H}", "{H}"]
mrsigner = ["{H}"]
isv_prod_id = 7
min_isv_svn = 3
allow_debug = true
[tcb]
statuses = ["UpToDate", {{ status = "OutOfDate", until = "2027-01-01T00:00:00Z" }}]
advisories = ["INTEL-SA-00289", {{ advisory = "INTEL-SA-00615", until = "2027-01-01T00:00:00Z" }}]
[freshness]
min_tier = "channel"
max_age_seconds = 60
[app]
name = "kv-store"
code_hashes = ["{H}"]
key_source = "byok:0011223344556677"
[configuration]
root = ["{H}"]
app_root = ["{H}"]
[configuration.leaves]
"core.operator_policy" = ["{H}"]
[platform]
ppids = ["{PPID}"]
[authority]
operator_ca = ["{H}"]
"#
    );
    let policy = VerificationPolicy::from_toml(&text).unwrap();
    assert_eq!(policy.roots, Roots::Development(vec![[0x11; 32]]));
    let signer = SignerRule { mrsigner: vec![[0x11; 32]], isv_prod_id: 7, min_isv_svn: 3 };
    assert_eq!(policy.enclave.signer, Some(signer));
    let until = instant::parse("2027-01-01T00:00:00Z");
    assert_eq!(policy.tcb.statuses[1], Accepted { value: TcbStatus::OutOfDate, until });
    assert_eq!(policy.tcb.advisories[1], Accepted { value: "INTEL-SA-00615".to_owned(), until });
    assert_eq!(policy.freshness, FreshnessRule { min_tier: Tier::Channel, max_age_seconds: 60 });
    let key_source = Some(KeySource::Key("byok:0011223344556677".to_owned()));
    assert_eq!(policy.app.as_ref().unwrap().key_source, key_source);
    assert_eq!(policy.configuration.as_ref().unwrap().leaves["core.operator_policy"], [[0x11; 32]]);
    assert_eq!(policy.ppids, Some(vec![[0x22; 16]]));
    let written = policy.to_toml().unwrap();
    assert_eq!(VerificationPolicy::from_toml(&written).unwrap(), policy, "{written}");
    let least = with("").unwrap();
    assert_eq!(VerificationPolicy::from_toml(&least.to_toml().unwrap()).unwrap(), least);
}

#[test]
fn an_empty_policy_accepts_nothing_because_it_is_none() {
    for text in ["", "format = 1", "format = 1\n[roots]\n[enclave]", "format = 1\n[roots]\nintel = true"] {
        assert!(VerificationPolicy::from_toml(text).is_err(), "{text}");
    }
}

#[test]
fn intel_and_a_development_root_are_never_accepted_together() {
    let enclave = format!("mrenclave = [\"{H}\"]");
    let both = format!("intel = true\ndevelopment = [\"{H}\"]");
    assert_eq!(bare(&both, &enclave).unwrap_err(), PolicyError::Roots);
    assert_eq!(bare("", &enclave).unwrap_err(), PolicyError::Roots);
    assert_eq!(bare("intel = false", &enclave).unwrap_err(), PolicyError::Roots);
    assert!(matches!(bare("development = []", &enclave).unwrap_err(), PolicyError::Empty(_)));
}

#[test]
fn an_enclave_is_named_by_measurement_or_by_signer_product_and_version() {
    let roots = "intel = true";
    for incomplete in [
        String::new(),
        "allow_debug = true".to_owned(),
        format!("mrsigner = [\"{H}\"]"),
        format!("mrsigner = [\"{H}\"]\nisv_prod_id = 1"),
        format!("mrsigner = [\"{H}\"]\nmin_isv_svn = 1"),
        format!("mrenclave = [\"{H}\"]\nisv_prod_id = 1"),
        format!("mrenclave = [\"{H}\"]\nmin_isv_svn = 1"),
    ] {
        assert_eq!(bare(roots, &incomplete).unwrap_err(), PolicyError::Enclave, "{incomplete}");
    }
    assert!(bare(roots, &format!("mrsigner = [\"{H}\"]\nisv_prod_id = 1\nmin_isv_svn = 0")).is_ok());
}

#[test]
fn unknown_keys_are_errors_in_every_table() {
    for (table, known) in [
        ("freshness", ""),
        ("tcb", ""),
        ("app", "name = \"a\""),
        ("configuration", "root = [\"1111111111111111111111111111111111111111111111111111111111111111\"]"),
        ("platform", "ppids = [\"22222222222222222222222222222222\"]"),
        ("authority", "operator_ca = [\"1111111111111111111111111111111111111111111111111111111111111111\"]"),
    ] {
        assert!(with(&format!("[{table}]\n{known}\n")).is_ok(), "{table}");
        let error = with(&format!("[{table}]\n{known}\nunknown_key = 1\n")).unwrap_err();
        assert!(error.to_string().contains("unknown_key"), "{table}: {error}");
    }
    for (roots, enclave) in [("unknown = 1", ""), ("", "unknown = 1")] {
        let error = bare(&format!("intel = true\n{roots}"), &format!("mrenclave = [\"{H}\"]\n{enclave}"))
            .unwrap_err();
        assert!(matches!(error, PolicyError::Toml(_)), "{error}");
    }
    assert!(with("[unknown]\n").is_err());
    let entry = "[tcb]\nstatuses = [{ status = \"OutOfDate\", until = \"2027-01-01T00:00:00Z\", x = 1 }]";
    assert!(with(entry).is_err());
}

#[test]
fn an_empty_list_is_an_error() {
    for (rest, key) in [
        ("[tcb]\nstatuses = []", "tcb.statuses"),
        ("[app]\nname = \"a\"\ncode_hashes = []", "app.code_hashes"),
        ("[configuration]\nroot = []", "configuration.root"),
        ("[configuration]\napp_root = []", "configuration.app_root"),
        ("[configuration.leaves]\n\"core.version\" = []", "configuration.leaves.\"core.version\""),
        ("[platform]\nppids = []", "platform.ppids"),
        ("[authority]\noperator_ca = []", "authority.operator_ca"),
    ] {
        assert_eq!(with(rest).unwrap_err(), PolicyError::Empty(key.to_owned()));
    }
    assert_eq!(with("[configuration]").unwrap_err(), PolicyError::Nothing("configuration"));
    assert!(with("[platform]").is_err() && with("[authority]").is_err() && with("[app]").is_err());
    // No accepted advisory is the default, and may be written down.
    assert_eq!(with("[tcb]\nadvisories = []").unwrap(), with("").unwrap());
}

#[test]
fn values_have_one_spelling() {
    for (rest, expected) in [
        (format!("[configuration]\nroot = [\"{}\"]", H.to_uppercase().replace('1', "A")), "64 lowercase"),
        (format!("[configuration]\nroot = [\"{}\"]", &H[2..]), "64 lowercase"),
        (format!("[platform]\nppids = [\"{H}\"]"), "32 lowercase"),
        ("[tcb]\nstatuses = [\"Revoked\"]".to_owned(), "Revoked can never be accepted"),
        ("[tcb]\nstatuses = [\"uptodate\"]".to_owned(), "uptodate"),
        ("[tcb]\nstatuses = [{ status = \"OutOfDate\", until = \"2027-01-01\" }]".to_owned(), "until"),
        ("[tcb]\nstatuses = [{ status = \"OutOfDate\" }]".to_owned(), "does not parse"),
        ("[app]\nname = \"a\"\nkey_source = \"byok:\"".to_owned(), "key_source"),
        ("[freshness]\nmin_tier = \"best\"".to_owned(), "min_tier"),
        ("[freshness]\nmax_age_seconds = -1".to_owned(), "max_age_seconds"),
    ] {
        let error = with(&rest).unwrap_err().to_string();
        assert!(error.contains(expected), "{rest}: {error}");
    }
    let format = VerificationPolicy::from_toml(&format!(
        "format = 2\n[roots]\nintel = true\n[enclave]\nmrenclave = [\"{H}\"]"
    ));
    assert_eq!(format.unwrap_err(), PolicyError::Format(2));
}

#[test]
fn a_grace_period_ends() {
    let until = instant::parse("2027-01-01T00:00:00Z").unwrap();
    let accepted = Accepted { value: TcbStatus::OutOfDate, until: Some(until) };
    assert!(accepted.holds(until - time::Duration::SECOND) && !accepted.holds(until));
    assert_eq!(accepted.to_string(), "OutOfDate until 2027-01-01T00:00:00Z");
}

#[test]
fn key_sources_are_compared_as_meant() {
    let source = |text| KeySource::parse(text).unwrap();
    assert!(
        source("generated").accepts("generated") && !source("generated").accepts("byok:0011223344556677")
    );
    assert!(source("byok").accepts("byok:0011223344556677") && !source("byok").accepts("generated"));
    let key = source("byok:0011223344556677");
    assert!(key.accepts("byok:0011223344556677") && !key.accepts("byok:0011223344556678"));
}
