//! Random schedules against the whole enclave. `README.md` says how to replay one.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

mod support;

use faulty_host::Schedule;
use faulty_host::run::{Report, run};
use support::{machine, second};

/// Schedules of one round.
const SCHEDULES: u64 = 60;

/// `ENCLAVE_OS_TEST_ROUNDS` times as many schedules; `FAULTY_HOST_FROM` is the first seed.
#[test]
fn whatever_the_host_does_no_answer_is_wrong_and_no_plaintext_is_outside() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let (from, rounds) =
        (number("FAULTY_HOST_FROM").unwrap_or(0), number("ENCLAVE_OS_TEST_ROUNDS").unwrap_or(1));
    let (mut all, mut failed) = (Report::default(), Vec::new());
    for seed in from..from + SCHEDULES * rounds {
        match run(machine(), second(), &Schedule::of(seed)) {
            Ok(report) => {
                all.answered += report.answered;
                all.refused += report.refused;
                all.broken += report.broken;
                all.told += report.told;
            }
            Err(_) => failed.push(smallest(seed)),
        }
    }
    println!("{} answers, {} refusals, {} broken, {} lies", all.answered, all.refused, all.broken, all.told);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // A run in which nothing goes well or nothing goes wrong shows little.
    let (well, ill) = (all.answered, all.refused + all.broken);
    assert!(u64::from(well) > SCHEDULES && ill > 0 && all.told > 0, "{all:?}");
}

/// The schedule of a seed that fails, as small as it gets, with why and how to see it again.
fn smallest(seed: u64) -> String {
    let least = Schedule::of(seed).shrink(|schedule| run(machine(), second(), schedule).is_err());
    let why = match run(machine(), second(), &least) {
        Err(violation) => violation.to_string(),
        Ok(_) => "it went well this time: keys are random, so lengths differ a little".to_owned(),
    };
    format!(
        "seed {seed}: {why}\n  FAULTY_HOST_SCHEDULE='{least}' cargo nextest run -p faulty-host --no-capture -E 'test(=replay)'"
    )
}

/// Runs the schedule in `FAULTY_HOST_SCHEDULE`, if there is one, else one with no lies.
#[test]
fn replay() {
    let schedule = match std::env::var("FAULTY_HOST_SCHEDULE") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => Schedule::honest(1),
    };
    let report =
        run(machine(), second(), &schedule).unwrap_or_else(|violation| panic!("{schedule}\n{violation}"));
    println!("{report:#?}");
    assert!(!schedule.faults.is_empty() || report.refused + report.broken == 0, "nobody lied: {report:?}");
}
