//! One lie at a time, and what the enclave says of it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod support;

use std::time::Duration;

use faulty_host::Schedule;
use faulty_host::client::Outcome;
use faulty_host::run::CALL_TIME;
use faulty_host::scene::{Request, Scene};
use faulty_host::schedule::{Lie, Point};
use serde_json::Value;
use support::{machine, second};

/// Longer than the storage may take to answer, twice: the second question is what the first one came to.
const STORAGE_TIME: Duration = Duration::from_secs(130);

fn scene() -> Scene {
    let mut scene = Scene::new(machine().clone(), &Schedule::honest(1), second()).unwrap();
    scene.host.start().unwrap();
    scene.one(0, Request::Put(0, "before".to_owned())).unwrap();
    scene
}

fn put() -> Request {
    Request::Put(0, "after".to_owned())
}

fn answer(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// The code of a refusal, or the words of the app that met one.
fn refused(outcome: Outcome) -> String {
    let answer = answer(outcome);
    let said = answer["code"].as_str().or(answer["returns"][0]["value"].as_str());
    said.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn read(scene: &mut Scene) -> String {
    refused(scene.try_one(0, &Request::Get(0)).unwrap())
}

/// How long it takes in the time of the enclave, and what it gives.
fn timed<T>(scene: &mut Scene, act: impl FnOnce(&mut Scene) -> T) -> (Duration, T) {
    let start = scene.host.now();
    let result = act(scene);
    (Duration::from_nanos(scene.host.now() - start), result)
}

#[test]
fn a_write_that_the_host_never_answers_ends_with_its_call() {
    for (lie, kept) in [(Lie::Silent, "before"), (Lie::Unsaid, "after")] {
        let mut scene = scene();
        scene.host.lie_next(Point::Batch, lie, 0);
        let (took, outcome) = timed(&mut scene, |scene| scene.try_one(0, &put()).unwrap());
        assert_eq!(refused(outcome), "deadline");
        assert!(took < CALL_TIME + Duration::from_secs(1), "{took:?}");
        scene.host.time().pass(STORAGE_TIME);
        assert_eq!(answer(scene.try_one(1, &Request::Ping).unwrap()), "Pong");
        // Only the second host has a store that the enclave does not know: it says so, and stores nothing more.
        let ready = answer(scene.ready().unwrap());
        let reason = ready["storage"]["reason"].as_str().unwrap_or_default();
        let ended = lie == Lie::Unsaid;
        assert_eq!(ready["status"], if ended { "degraded" } else { "ready" }, "{ready}");
        assert_eq!(reason.contains("restart the enclave"), ended, "{ready}");
        scene.again().unwrap();
        assert_eq!(read(&mut scene), kept);
        scene.end().unwrap();
    }
}

#[test]
fn a_read_that_the_host_never_answers_ends_with_its_call() {
    let mut scene = scene();
    scene.again().unwrap();
    scene.host.lie_next(Point::Get, Lie::Silent, 0);
    let (took, said) = timed(&mut scene, read);
    assert_eq!(said, "deadline");
    assert!(took < CALL_TIME + Duration::from_secs(1), "{took:?}");
    assert_eq!(read(&mut scene), "before", "the next one is asked again");
    scene.end().unwrap();
}

#[test]
fn a_load_that_the_host_never_answers_is_refused() {
    let mut scene = scene();
    scene.host.lie_next(Point::Batch, Lie::Silent, 0);
    let (took, outcome) = timed(&mut scene, |scene| scene.try_one(0, &Request::Load).unwrap());
    assert_eq!(refused(outcome), "storage-failed");
    assert!(took < STORAGE_TIME, "{took:?}");
    assert_eq!(read(&mut scene), "before");
    scene.end().unwrap();
}

#[test]
fn a_start_that_the_host_never_answers_is_given_up() {
    let mut scene = Scene::new(machine().clone(), &Schedule::honest(1), second()).unwrap();
    scene.host.lie_next(Point::Scan, Lie::Silent, 0);
    scene.host.start().unwrap();
    let (took, outcome) = timed(&mut scene, |scene| scene.try_one(0, &Request::Ping).unwrap());
    assert_eq!(outcome, Outcome::Late, "nobody serves");
    assert!(took < STORAGE_TIME, "{took:?}");
    let ended = scene.host.stop().unwrap();
    for end in ended {
        assert!(end.unwrap_err().contains("did not answer within 60 seconds"));
    }
}

#[test]
fn an_end_that_the_host_never_answers_is_given_up() {
    let mut scene = scene();
    scene.host.lie_next(Point::Batch, Lie::Silent, 0);
    let ended = scene.again().unwrap();
    assert!(ended[2].as_ref().unwrap_err().contains("did not answer"), "{ended:?}");
    assert_eq!(read(&mut scene), "before");
    scene.end().unwrap();
}

#[test]
fn a_destination_that_never_answers_ends_with_its_call() {
    let mut scene = scene();
    scene.host.lie_next(Point::Dial, Lie::Silent, 0);
    let (took, outcome) = timed(&mut scene, |scene| scene.try_one(0, &Request::Fetch).unwrap());
    assert_eq!(refused(outcome), "deadline");
    assert!(took < CALL_TIME + Duration::from_secs(1), "{took:?}");
    for (lie, said) in
        [(Lie::Fail, "error: "), (Lie::Reset, "error: "), (Lie::Eof, "error: "), (Lie::Babble, "error: ")]
    {
        scene.host.lie_next(Point::Dial, lie, 1);
        let outcome = refused(scene.try_one(0, &Request::Fetch).unwrap());
        assert!(outcome.starts_with(said), "{}: {outcome}", lie.word());
    }
    assert_eq!(read(&mut scene), "before");
    scene.end().unwrap();
}

#[test]
fn a_disk_that_is_full_or_read_only_is_an_error_and_no_end() {
    for lie in [Lie::Full, Lie::ReadOnly] {
        let mut scene = scene();
        scene.host.lie_next(Point::Batch, lie, 10);
        for _ in 0..3 {
            let said = refused(scene.try_one(0, &put()).unwrap());
            assert!(said.starts_with("error: ") || said.starts_with("storage-"), "{said}");
        }
        let said = refused(scene.try_one(1, &Request::Load).unwrap());
        assert_eq!(said, if lie == Lie::Full { "storage-full" } else { "storage-failed" });
        scene.host.repent();
        scene.one(0, Request::Put(0, "room again".to_owned())).unwrap();
        scene.restart().unwrap();
        assert_eq!(read(&mut scene), "room again");
        scene.end().unwrap();
    }
}

#[test]
fn what_breaks_the_protocol_ends_that_channel_and_is_named() {
    let lies = [
        (Point::Inward, Lie::NoFrame, "no frame"),
        (Point::Inward, Lie::Unknown, "which never was"),
        (Point::Accept, Lie::Reused, "again"),
        (Point::Accept, Lie::Uninvited, "uninvited"),
        (Point::Get, Lie::Garbage, "its reply"),
        (Point::Get, Lie::Twice, "which nobody made"),
        (Point::Get, Lie::Nobody, "which nobody made"),
        (Point::Get, Lie::Endless, "goes on beyond"),
        (Point::Batch, Lie::Garbage, "its reply"),
        (Point::Batch, Lie::Twice, "which nobody made"),
    ];
    for (point, lie, says) in lies {
        let mut scene = scene();
        scene.again().unwrap();
        let at = format!("{} {}", point.word(), lie.word());
        scene.host.lie_next(point, lie, 8);
        // Somewhere among these the lie is told; what becomes of them is judged.
        scene.one(0, Request::Get(0)).unwrap();
        scene.one(0, put()).unwrap();
        scene.one(1, Request::Get(0)).unwrap();
        assert_eq!(scene.host.told().len(), 1, "{at}");
        let ended = scene.host.stop().unwrap();
        let reasons: Vec<String> = ended.into_iter().filter_map(Result::err).collect();
        assert!(
            reasons.iter().any(|r| r.contains("the host misbehaved") && r.contains(says)),
            "{at}: {reasons:?}"
        );
    }
}

#[test]
fn what_is_wrong_about_one_connection_ends_that_one() {
    for lie in [Lie::Beyond, Lie::Credit, Lie::Eof, Lie::Reset, Lie::Flipped, Lie::Twice, Lie::Cut, Lie::Lost]
    {
        let mut scene = scene();
        scene.host.lie_next(Point::Inward, lie, 3);
        scene.one(0, Request::Ping).unwrap();
        for client in 0..2 {
            assert_eq!(answer(scene.try_one(client, &Request::Ping).unwrap()), "Pong", "{}", lie.word());
        }
        let ended = scene.host.stop().unwrap();
        assert!(ended.iter().all(Result::is_ok), "{}: {ended:?}", lie.word());
    }
}

#[test]
fn a_record_that_is_not_the_last_one_is_named() {
    for (lie, by) in
        [(Lie::Missing, 0), (Lie::Flipped, 900), (Lie::Cut, 3), (Lie::Longer, 9), (Lie::Other, 0)]
    {
        let mut scene = scene();
        scene.again().unwrap();
        scene.host.lie_next(Point::Get, lie, by);
        assert_eq!(read(&mut scene), "host-misbehaved", "{}", lie.word());
        scene.host.repent();
        assert_eq!(read(&mut scene), "before", "{}: the true one is still there", lie.word());
        scene.end().unwrap();
    }
}

#[test]
fn an_earlier_state_of_a_record_is_named() {
    let mut named = 0;
    for (back, skip) in (1..6).flat_map(|back| (0..4).map(move |skip| (back, skip))) {
        let mut scene = scene();
        scene.one(0, put()).unwrap();
        scene.again().unwrap();
        scene.host.lie_after(skip, Point::Get, Lie::Stale, back);
        let said = read(&mut scene);
        // Some states that far back are the last one of this record, or there was none.
        assert!(["host-misbehaved", "after"].contains(&said.as_str()), "{back} batches back: {said}");
        named += u32::from(said == "host-misbehaved");
        scene.host.repent();
        assert_eq!(read(&mut scene), "after");
        scene.end().unwrap();
    }
    assert!(named > 0);
}

#[test]
fn a_batch_that_was_torn_is_found() {
    for lie in [Lie::Torn, Lie::TornFailed, Lie::Ignored] {
        let mut scene = scene();
        scene.host.lie_next(Point::Batch, lie, 1);
        scene.one(0, put()).unwrap();
        drop(scene.again().unwrap());
        let whole = !scene.host.is_over() && ["before", "after"].contains(&read(&mut scene).as_str());
        let ended = scene.host.stop().unwrap();
        let named =
            ended.iter().all(|end| end.as_ref().is_err_and(|why| why.contains("the host misbehaved")));
        // What was said to have failed is written again, by what comes next, and may so become whole.
        assert!(named || lie == Lie::TornFailed && whole, "{}: {ended:?}", lie.word());
    }
}

#[test]
fn time_that_ends_or_stands_still_ends_no_thread() {
    for lie in [
        Lie::Last,
        Lie::Zero,
        Lie::Still,
        Lie::Forward,
        Lie::Back,
        Lie::WallLast,
        Lie::WallZero,
        Lie::WallBack,
    ] {
        let mut scene = scene();
        scene.host.lie_next(Point::Visit, lie, 90_000);
        for _ in 0..3 {
            scene.one(0, put()).unwrap();
            scene.one(1, Request::Get(0)).unwrap();
        }
        scene.host.repent();
        scene.restart().unwrap();
        scene.one(0, Request::Get(0)).unwrap();
        scene.end().unwrap();
    }
}
