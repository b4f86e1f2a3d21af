//! Collateral is kept, renewed in time, and served as long as it is good.

use std::cell::Cell;

use super::*;

thread_local! {
    static NOW: Cell<i64> = const { Cell::new(0) };
}

/// The test's own clock.
fn clock() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW.get()).unwrap()
}

fn set(now: OffsetDateTime) {
    NOW.set(now.unix_timestamp());
}

fn keeper(source: CollateralSource, dir: &Path, lines: &Lines) -> CollateralKeeper {
    CollateralKeeper::with_clock(source, dir, lines.log(), clock)
}

/// What is served once the source, if there is reason to ask it, has answered.
fn settled(keeper: &CollateralKeeper) -> Result<Vec<u8>, QuotingError> {
    let mut state = keeper.shared.lock();
    keeper.begin(&mut state, clock());
    drop(keeper.shared.answered.wait_while(state, |state| state.fetching).unwrap());
    keeper.current()
}

#[test]
fn nothing_is_known_before_the_first_quote_and_without_a_source() {
    let (dir, lines, pki) = (tempfile::tempdir().unwrap(), Lines::default(), pki(start()));
    set(start());
    let none = keeper(CollateralSource::None, dir.path(), &lines);
    assert_eq!(none.current().unwrap(), b"");
    none.learn(&quote(&pki)).unwrap();
    assert_eq!(none.current().unwrap(), b"");
    assert!(none.learn(b"no quote").is_err());
}

#[test]
fn a_pccs_is_asked_when_there_is_reason_to() {
    let (dir, lines) = (tempfile::tempdir().unwrap(), Lines::default());
    set(start());
    let first = pki(start());
    let pages_now = Arc::new(Mutex::new(pages(&first)));
    let url = serve(pages_now.clone());
    let source = || CollateralSource::Pccs(Pccs::new(&url, None).unwrap());
    let kept = keeper(source(), dir.path(), &lines);
    kept.learn(&quote(&first)).unwrap();
    assert_eq!(settled(&kept).unwrap(), first.collateral_json().as_bytes());

    // Good for long: what is newer there is not asked for.
    let later = start() + Duration::days(20);
    let second = first.renewed(later, &Default::default()).unwrap();
    *pages_now.lock().unwrap() = pages(&second);
    set(later);
    assert_eq!(settled(&kept).unwrap(), first.collateral_json().as_bytes());

    // A week before the end it is.
    set(start() + Duration::days(23) + Duration::SECOND);
    assert_eq!(settled(&kept).unwrap(), second.collateral_json().as_bytes());

    // The next start needs no PCCS.
    pages_now.lock().unwrap().clear();
    let again = keeper(source(), dir.path(), &lines);
    assert_eq!(again.current().unwrap(), b"", "the platform is not known yet");
    again.learn(&quote(&first)).unwrap();
    assert_eq!(again.current().unwrap(), second.collateral_json().as_bytes());

    // It is not to be had any more: what is good is served, and the log says so once in a while.
    set(later + Duration::days(25));
    for _ in 0..3 {
        assert_eq!(settled(&again).unwrap(), second.collateral_json().as_bytes());
    }
    again.shared.log.flush();
    let warned = lines.text();
    assert_eq!(warned.matches("the last one is served, which is good until").count(), 1, "{warned}");
    set(later + Duration::days(31));
    let error = settled(&again).unwrap_err().to_string();
    assert!(error.contains("register the platform"), "{error}");
    let error = settled(&again).unwrap_err().to_string();
    assert!(error.contains("ran out on"), "{error}");
}

#[test]
fn a_folder_gives_the_document_of_this_platform_that_is_good_longest() {
    let (dir, data, lines) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Lines::default());
    set(start());
    let old = pki(start() - Duration::days(1));
    let new = old.renewed(start(), &Default::default()).unwrap();
    let facts = PlatformFacts { fmspc: [9; 6], ..PlatformFacts::development() };
    let other = DevelopmentPki::generate(&facts, start() + Duration::days(9)).unwrap();
    let folder = dir.path().join("collateral");
    let kept = keeper(CollateralSource::Folder(folder.clone()), data.path(), &lines);
    kept.learn(&quote(&old)).unwrap();
    assert!(settled(&kept).unwrap_err().to_string().contains("--collateral-dir"));

    fs::create_dir(&folder).unwrap();
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    put("other.json", &other.collateral_json());
    put("damaged.json", "{}");
    set(start() + PAUSE);
    let error = settled(&kept).unwrap_err().to_string();
    assert!(error.contains("no collateral document for FMSPC 005357534758"), "{error}");
    assert!(error.contains("damaged.json: it is no collateral document"), "{error}");

    put("a.json", &new.collateral_json());
    put("b.json", &old.collateral_json());
    put("c.txt", "not looked at");
    set(start() + PAUSE * 2);
    assert_eq!(settled(&kept).unwrap(), new.collateral_json().as_bytes());
}

#[test]
fn a_source_that_does_not_answer_delays_no_quote() {
    let (dir, lines, pki) = (tempfile::tempdir().unwrap(), Lines::default(), pki(start()));
    set(start());
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let kept = keeper(CollateralSource::Pccs(Pccs::new(&url, None).unwrap()), dir.path(), &lines);
    let quote = quote(&pki);
    kept.learn(&quote).unwrap();
    let error = kept.current().unwrap_err().to_string();
    assert!(error.contains("its source has not answered"), "{error}");
    assert!(kept.shared.lock().fetching);
    // With the source still silent.
    kept.learn(&quote).unwrap();

    // A document that is good is given without any wait, while a newer one is asked for.
    let held = Document::from_json(pki.collateral_json().as_bytes()).unwrap();
    kept.shared.lock().held = Some(held);
    assert_eq!(kept.current().unwrap(), pki.collateral_json().as_bytes());
    assert!(kept.shared.lock().fetching);
}

#[test]
fn what_does_not_verify_is_neither_kept_nor_served() {
    let (dir, lines) = (tempfile::tempdir().unwrap(), Lines::default());
    set(start());
    let genuine = pki(start());
    let strange = pki(start());
    let forged = |change: &dyn Fn(&mut Collateral)| {
        let mut parts = parts(&genuine);
        change(&mut parts);
        parts.to_json().unwrap().into_bytes()
    };
    let file = dir.path().join(FILE);
    for bad in [
        strange.collateral_json().into_bytes(),
        forged(&|parts| parts.tcb_info = parts.tcb_info.replace("UpToDate", "OutOfDate")),
        forged(&|parts| parts.qe_identity_signature = parts.tcb_info_signature.clone()),
    ] {
        // From an earlier start.
        fs::write(&file, &bad).unwrap();
        let pages_now = Arc::new(Mutex::new(pages(&genuine)));
        let source = CollateralSource::Pccs(Pccs::new(&serve(pages_now), None).unwrap());
        let kept = keeper(source, dir.path(), &lines);
        kept.learn(&quote(&genuine)).unwrap();
        assert_eq!(settled(&kept).unwrap(), genuine.collateral_json().as_bytes());
    }

    // From somebody who answers in place of the source, once.
    fs::remove_file(&file).unwrap();
    let pages_now = Arc::new(Mutex::new(pages(&strange)));
    let source = CollateralSource::Pccs(Pccs::new(&serve(pages_now.clone()), None).unwrap());
    let kept = keeper(source, dir.path(), &lines);
    kept.learn(&quote(&genuine)).unwrap();
    let error = settled(&kept).unwrap_err().to_string();
    assert!(error.contains("not genuine"), "{error}");
    assert!(!file.exists());
    *pages_now.lock().unwrap() = pages(&genuine);
    set(start() + PAUSE);
    assert_eq!(settled(&kept).unwrap(), genuine.collateral_json().as_bytes());
    assert_eq!(fs::read(&file).unwrap(), genuine.collateral_json().as_bytes());
}

#[test]
fn that_the_platform_is_revoked_is_passed_on() {
    use sgx_emu::quoting::{PkiOptions, Revoked, TcbLevel, TcbStatus};
    let lines = Lines::default();
    set(start());
    let before = pki(start() - Duration::days(1));
    for options in [
        PkiOptions { revoked: vec![Revoked::Pck], ..PkiOptions::default() },
        PkiOptions { tcb_levels: vec![TcbLevel::of(TcbStatus::Revoked, &[])], ..PkiOptions::default() },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let revoked = before.renewed(start(), &options).unwrap();
        let pages_now = Arc::new(Mutex::new(pages(&revoked)));
        let source = CollateralSource::Pccs(Pccs::new(&serve(pages_now), None).unwrap());
        let kept = keeper(source, dir.path(), &lines);
        kept.learn(&quote(&before)).unwrap();
        assert_eq!(settled(&kept).unwrap(), revoked.collateral_json().as_bytes());
    }
}
