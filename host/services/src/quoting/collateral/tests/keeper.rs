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
    assert_eq!(kept.current().unwrap(), first.collateral_json().as_bytes());

    // Good for long: what is newer there is not asked for.
    let later = start() + Duration::days(20);
    let second = first.renewed(later, &Default::default()).unwrap();
    *pages_now.lock().unwrap() = pages(&second);
    set(later);
    assert_eq!(kept.current().unwrap(), first.collateral_json().as_bytes());

    // A week before the end it is.
    set(start() + Duration::days(23) + Duration::SECOND);
    assert_eq!(kept.current().unwrap(), second.collateral_json().as_bytes());

    // The next start needs no PCCS.
    pages_now.lock().unwrap().clear();
    let again = keeper(source(), dir.path(), &lines);
    assert_eq!(again.current().unwrap(), b"", "the platform is not known yet");
    again.learn(&quote(&first)).unwrap();
    assert_eq!(again.current().unwrap(), second.collateral_json().as_bytes());

    // It is not to be had any more: what is good is served, and the log says so once in a while.
    set(later + Duration::days(25));
    for _ in 0..3 {
        assert_eq!(again.current().unwrap(), second.collateral_json().as_bytes());
    }
    again.log.flush();
    let warned = lines.text();
    assert_eq!(warned.matches("the last one is served, which is good until").count(), 1, "{warned}");
    set(later + Duration::days(31));
    let error = again.current().unwrap_err().to_string();
    assert!(error.contains("register the platform"), "{error}");
    let error = again.current().unwrap_err().to_string();
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
    assert!(kept.current().unwrap_err().to_string().contains("--collateral-dir"));

    fs::create_dir(&folder).unwrap();
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    put("other.json", &other.collateral_json());
    put("damaged.json", "{}");
    set(start() + PAUSE);
    let error = kept.current().unwrap_err().to_string();
    assert!(error.contains("no collateral document for FMSPC 005357534758"), "{error}");
    assert!(error.contains("damaged.json: it is no collateral document"), "{error}");

    put("a.json", &new.collateral_json());
    put("b.json", &old.collateral_json());
    put("c.txt", "not looked at");
    set(start() + PAUSE * 2);
    assert_eq!(kept.current().unwrap(), new.collateral_json().as_bytes());
}
