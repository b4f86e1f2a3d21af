#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use proptest::prelude::*;

use super::*;

/// Counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The state of turns without a clock: what is reported is what is charged.
#[derive(Default)]
struct Bench {
    state: State,
    calls: Vec<Call>,
}

struct Call {
    account: Account,
    used: Option<u64>,
    key: Option<Key>,
    woken: Arc<Woken>,
}

impl Bench {
    /// A call that waits for its first turn.
    fn call(&mut self, account: &Account) -> usize {
        let call = Call { account: account.clone(), used: None, key: None, woken: Arc::default() };
        self.calls.push(call);
        let last = self.calls.len() - 1;
        self.wait(last);
        last
    }

    fn wait(&mut self, call: usize) {
        let Call { account, used, key, woken } = &mut self.calls[call];
        let waker = Waker::from(woken.clone());
        *key = Some(self.state.wait(account, *used, &Context::from_waker(&waker)));
    }

    /// Gives out a turn: whose it was.
    fn grant(&mut self) -> Option<usize> {
        let waiting: Vec<_> = self.calls.iter().map(|call| call.woken.0.load(Ordering::Relaxed)).collect();
        self.state.grant()?.wake();
        let woken = self
            .calls
            .iter()
            .zip(waiting)
            .position(|(call, before)| call.woken.0.load(Ordering::Relaxed) > before);
        let call = woken.unwrap();
        self.calls[call].key = None;
        Some(call)
    }

    /// The turn is over.
    fn over(&mut self, call: usize, cost: u64) {
        let Call { account, used, .. } = &mut self.calls[call];
        *used = Some(self.state.charge(account, *used, cost, WHOLE_TURN));
    }

    /// One turn of a call that goes on: whose it was.
    fn turn(&mut self) -> usize {
        let call = self.grant().unwrap();
        self.over(call, WHOLE);
        self.wait(call);
        call
    }

    fn leave(&mut self, call: usize) {
        let call = &mut self.calls[call];
        if let Some(key) = call.key.take() {
            self.state.leave(&call.account, key);
        }
    }
}

const WHOLE: u64 = UNIT * WHOLE_TURN as u64;

#[test]
fn an_app_with_one_call_has_as_many_turns_as_one_with_64() {
    let mut bench = Bench::default();
    let (many, one) = (Account::new(), Account::new());
    for _ in 0..64 {
        bench.call(&many);
    }
    for _ in 0..200 {
        bench.turn();
    }
    let single = bench.call(&one);
    let turns: Vec<_> = (0..1000).map(|_| bench.turn()).collect();
    assert_eq!(turns[0], single, "who has used little goes first");
    let singles = turns.iter().filter(|turn| **turn == single).count();
    assert!((499..=501).contains(&singles), "{singles} of 1000");
    // The calls of one app take turns, too.
    for call in 0..64 {
        let had = turns.iter().filter(|turn| **turn == call).count();
        assert!((6..=9).contains(&had), "call {call} had {had}");
    }
}

#[test]
fn a_new_call_goes_before_the_others_of_its_app_and_not_for_ever() {
    let mut bench = Bench::default();
    let account = Account::new();
    let long: Vec<_> = (0..8).map(|_| bench.call(&account)).collect();
    for _ in 0..100 {
        bench.turn();
    }
    let fresh = bench.call(&account);
    assert_eq!(bench.state.next_is_fresh(), Some(true));
    assert_eq!(bench.turn(), fresh);
    assert_eq!(bench.state.next_is_fresh(), Some(false));
    bench.leave(fresh);
    // New calls without end, each over after one turn: the old ones are let in between.
    let mut had = HashSet::new();
    for _ in 0..20_000 {
        let fresh = bench.call(&account);
        let call = bench.grant().unwrap();
        bench.over(call, WHOLE);
        if long.contains(&call) {
            had.insert(call);
            bench.wait(call);
        }
        bench.leave(fresh);
    }
    assert_eq!(had.len(), long.len(), "nobody starves");
}

#[test]
fn nobody_saves_up_turns_by_being_away() {
    let mut bench = Bench::default();
    let (sleeper, worker) = (Account::new(), Account::new());
    let (asleep, works) = (bench.call(&sleeper), bench.call(&worker));
    bench.leave(asleep);
    for _ in 0..1000 {
        bench.turn();
    }
    bench.wait(asleep);
    let turns: Vec<_> = (0..100).map(|_| bench.turn()).collect();
    let first = turns.iter().filter(|turn| **turn == asleep).count();
    assert!((49..=51).contains(&first), "{first} of 100 after a pause of 1000 turns");
    assert!(turns.contains(&works));
}

/// Bug avoided: an account was forgotten as soon as nobody of it waited, and came back with nothing on its account.
/// Required: leaving for a moment after each turn gains nothing.
#[test]
fn nobody_gains_turns_by_leaving_after_each() {
    let mut bench = Bench::default();
    let (clever, plain) = (Account::new(), Account::new());
    let (trick, works) = ([bench.call(&clever), bench.call(&clever)], bench.call(&plain));
    bench.leave(trick[1]);
    let mut turns = [0; 2];
    for round in 0..1000 {
        let call = bench.grant().unwrap();
        bench.over(call, WHOLE);
        if call == works {
            bench.wait(works);
        } else {
            // The other one comes when this one is away already.
            bench.wait(trick[(round + 1) % 2]);
        }
        turns[usize::from(call == works)] += 1;
    }
    assert!((495..=505).contains(&turns[0]), "{turns:?}");
}

#[test]
fn a_long_turn_is_paid_for() {
    let mut bench = Bench::default();
    let (heavy, light) = (Account::new(), Account::new());
    let (slow, quick) = (bench.call(&heavy), bench.call(&light));
    let mut turns = [0; 2];
    for _ in 0..1100 {
        let call = bench.grant().unwrap();
        bench.over(call, if call == slow { 10 * WHOLE } else { WHOLE });
        bench.wait(call);
        turns[usize::from(call == quick)] += 1;
    }
    assert!((99..=101).contains(&turns[0]), "{turns:?}");
}

#[test]
fn who_gives_up_is_not_waited_for() {
    let mut bench = Bench::default();
    let (a, b) = (Account::new(), Account::new());
    let calls = [bench.call(&a), bench.call(&a), bench.call(&b)];
    bench.leave(calls[0]);
    bench.leave(calls[2]);
    assert_eq!(bench.grant(), Some(calls[1]));
    // Granted, and gone before it could run: the next has its turn all the same.
    bench.wait(calls[2]);
    bench.leave(calls[1]);
    assert_eq!(bench.grant(), Some(calls[2]));
    assert_eq!(bench.grant(), None);
    assert_eq!(bench.state.next_is_fresh(), None);
    assert!(bench.state.waiting.is_empty());
}

#[test]
fn accounts_without_calls_are_forgotten() {
    let mut bench = Bench::default();
    for _ in 0..100 * REMEMBERED {
        let account = Account::new();
        let call = bench.call(&account);
        assert_eq!(bench.grant(), Some(call));
        bench.over(call, WHOLE);
        bench.calls.clear();
    }
    assert!(bench.state.accounts.len() <= 2 * REMEMBERED, "{} remembered", bench.state.accounts.len());
}

#[derive(Clone, Debug)]
enum Step {
    Call(usize),
    Leave(usize),
    Grant(u64),
}

proptest! {
    /// Whoever comes, goes and pays what: each turn is given to somebody who waits, while somebody does, and to the
    /// account that has used least.
    #[test]
    fn turns_are_given_while_somebody_waits(steps in prop::collection::vec(prop_oneof![
        (0..5usize).prop_map(Step::Call),
        (0..40usize).prop_map(Step::Leave),
        (1..20u64).prop_map(Step::Grant),
    ], 0..200)) {
        let accounts: Vec<_> = (0..5).map(|_| Account::new()).collect();
        let mut bench = Bench::default();
        for step in steps {
            match step {
                Step::Call(account) => { bench.call(&accounts[account]); }
                Step::Leave(call) if call < bench.calls.len() => bench.leave(call),
                Step::Leave(_) => {}
                Step::Grant(cost) => {
                    let waiting: HashSet<_> =
                        (0..bench.calls.len()).filter(|call| bench.calls[*call].key.is_some()).collect();
                    let least = bench.state.waiting.first().map(|(used, _, _)| *used);
                    let granted = bench.grant();
                    prop_assert_eq!(granted.is_some(), !waiting.is_empty());
                    if let Some(call) = granted {
                        let account = &bench.state.accounts[&bench.calls[call].account.0];
                        prop_assert_eq!(Some(account.used), least);
                        prop_assert!(waiting.contains(&call));
                        bench.over(call, cost * UNIT);
                        if cost % 2 == 0 {
                            bench.wait(call);
                        }
                    }
                }
            }
        }
    }
}
