//! Which guest runs next?
//!
//! A worker's tasks move bytes, and some of them run guests. What moves bytes runs as soon as it is woken. A guest
//! runs in turns, each ended by its fuel, and asks for every one of them here. The worker gives out a turn when no
//! task is ready, one at a time:
//!
//! - to the account that has used least. An app has one account, so what one app uses does not depend on how many
//!   calls it has running, and an app that has done little goes before one that computes without end;
//! - among the calls of an account to the one that has used least. The first turn of a call comes before those of
//!   calls that have had theirs, so a short one is over before the long ones go on.
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng, *Start-time Fair Queuing*, SIGCOMM 1996) in two levels.
//! Whoever comes back from a pause continues at the time of those who went on: nobody saves up turns. Time is what
//! the clock says, and never less than what was reported of the turn, so that a clock which stands still, as the
//! host may let it, changes the shares and stops nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use enclave_platform::clock::{Clock, Monotonic};

use crate::wake::ThreadBell;

/// What a turn may be reported as, at most: a guest ran for its whole stretch of fuel.
pub const WHOLE_TURN: u32 = 8;
/// What the eighth part of a whole turn counts as, at least. Nanoseconds.
const UNIT: u64 = 5_000;
/// What a turn counts as, at most: a clock that jumps makes nobody wait for hours. Nanoseconds.
const LONGEST: u64 = 10_000_000;
/// How far before the others of its account a call has its first turn. Nanoseconds.
const HEAD_START: u64 = 2_000_000;
/// Accounts without a waiting call that are remembered before they are looked through.
const REMEMBERED: usize = 64;

/// What shares the time of workers with others. An app has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(u64);

impl Account {
    /// A new one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are equal")]
    pub fn new() -> Account {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Account(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The turns of one worker.
pub(crate) struct Turns {
    state: Mutex<State>,
    clock: Arc<Clock>,
    bell: Arc<ThreadBell>,
}

/// A call's way to its turns. Dropped, its place is given up.
pub struct Turn {
    turns: Arc<Turns>,
    account: Account,
    used: Option<u64>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Away,
    Waiting(Key),
    Running(Monotonic),
}

/// Used time, then who came first.
type Key = (u64, u64);
/// Used time, then whose last turn was earlier, then the account.
type AccountKey = (u64, u64, u64);

#[derive(Default)]
struct State {
    /// The used time of the account that had the last turn when it got it.
    now: u64,
    /// Counts those who came.
    came: u64,
    /// What turns given since the worker was outside are reported as.
    spent: u32,
    accounts: HashMap<u64, Ledger>,
    /// The accounts that have calls waiting.
    waiting: BTreeSet<AccountKey>,
}

/// One account on one worker.
struct Ledger {
    used: u64,
    /// The time of its calls: it goes on with what each of them would have had by now.
    now: u64,
    /// When it last had a turn, as the count of those who came.
    last: u64,
    /// Its place among the accounts, while it has calls waiting.
    place: Option<AccountKey>,
    /// Whom to wake, and whether it has had no turn yet.
    waiting: BTreeMap<Key, (Waker, bool)>,
}

impl Turns {
    pub(crate) fn new(clock: Arc<Clock>, bell: Arc<ThreadBell>) -> Arc<Turns> {
        Arc::new(Turns { state: Mutex::default(), clock, bell })
    }

    pub(crate) fn turn(self: &Arc<Self>, account: &Account) -> Turn {
        Turn { turns: self.clone(), account: account.clone(), used: None, place: Place::Away }
    }

    /// Whether a turn is waited for, and if so whether the next one is the first of its call.
    pub(crate) fn next_is_fresh(&self) -> Option<bool> {
        self.lock().next_is_fresh()
    }

    /// Gives out the next turn, to whoever is to be woken.
    pub(crate) fn grant(&self) -> Option<Waker> {
        self.lock().grant()
    }

    /// What turns were reported as since the worker was outside.
    pub(crate) fn spent(&self) -> u32 {
        self.lock().spent
    }

    /// The worker was outside.
    pub(crate) fn restart(&self) {
        self.lock().spent = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Resolves when it is this call's turn. To be ended with [`Turn::over`].
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.turns.lock();
        match self.place {
            Place::Running(_) => return Poll::Ready(()),
            Place::Waiting(key) => {
                if state.still_waits(&self.account, key, cx) {
                    return Poll::Pending;
                }
                drop(state);
                self.place = Place::Running(self.turns.clock.monotonic());
                return Poll::Ready(());
            }
            Place::Away => {}
        }
        let key = state.wait(&self.account, self.used, cx);
        drop(state);
        self.place = Place::Waiting(key);
        // Whoever asks from elsewhere than the worker's tasks finds it asleep.
        self.turns.bell.ring();
        Poll::Pending
    }

    /// [`Turn::poll`] as a future.
    pub async fn wait(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// The turn is over, and was so much of a [`WHOLE_TURN`].
    pub fn over(&mut self, units: u32) {
        let Place::Running(since) = self.place else { return };
        let took = nanos(self.turns.clock.monotonic().since(since)).min(LONGEST);
        let units = units.clamp(1, WHOLE_TURN);
        let cost = took.max(u64::from(units) * UNIT);
        self.place = Place::Away;
        self.used = Some(self.turns.lock().charge(&self.account, self.used, cost, units));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match self.place {
            Place::Away => {}
            Place::Waiting(key) => self.turns.lock().leave(&self.account, key),
            Place::Running(_) => self.over(WHOLE_TURN),
        }
    }
}

impl Ledger {
    fn new(used: u64) -> Ledger {
        Ledger { used, now: HEAD_START, last: 0, place: None, waiting: BTreeMap::new() }
    }
}

impl State {
    /// A call of the account waits. `used`: what it has used so far, if it had a turn before.
    fn wait(&mut self, account: &Account, used: Option<u64>, cx: &Context<'_>) -> Key {
        self.came += 1;
        self.forget_idle();
        let now = self.now;
        let ledger = self.accounts.entry(account.0).or_insert_with(|| Ledger::new(now));
        ledger.used = ledger.used.max(now);
        let at = match used {
            Some(used) => used.clamp(ledger.now, ledger.now.saturating_add(LONGEST)),
            // The more there are of it, the less: a call that goes on comes between new ones all the same.
            None => ledger.now.saturating_sub(HEAD_START / (ledger.waiting.len() as u64 + 1)),
        };
        let key = (at, self.came);
        ledger.waiting.insert(key, (cx.waker().clone(), used.is_none()));
        if ledger.place.is_none() {
            let place = (ledger.used, ledger.last, account.0);
            ledger.place = Some(place);
            self.waiting.insert(place);
        }
        key
    }

    /// Whether the call at `key` still waits; if so, with this waker from now on.
    fn still_waits(&mut self, account: &Account, key: Key, cx: &Context<'_>) -> bool {
        let waiting = self.accounts.get_mut(&account.0).and_then(|ledger| ledger.waiting.get_mut(&key));
        let Some((waker, _)) = waiting else { return false };
        waker.clone_from(cx.waker());
        true
    }

    fn leave(&mut self, account: &Account, key: Key) {
        let Some(ledger) = self.accounts.get_mut(&account.0) else { return };
        ledger.waiting.remove(&key);
        if ledger.waiting.is_empty()
            && let Some(place) = ledger.place.take()
        {
            self.waiting.remove(&place);
        }
    }

    fn next_is_fresh(&self) -> Option<bool> {
        let (_, _, account) = self.waiting.first()?;
        let (_, (_, fresh)) = self.accounts.get(account)?.waiting.first_key_value()?;
        Some(*fresh)
    }

    fn grant(&mut self) -> Option<Waker> {
        let (used, _, account) = self.waiting.pop_first()?;
        self.now = self.now.max(used);
        let ledger = self.accounts.get_mut(&account)?;
        (ledger.place, ledger.last) = (None, self.came);
        let ((at, _), (waker, _)) = ledger.waiting.pop_first()?;
        ledger.now = ledger.now.max(at);
        if !ledger.waiting.is_empty() {
            // Until its cost is known the turn counts as nothing; who has used as little is before it all the same.
            let place = (ledger.used, ledger.last, account);
            ledger.place = Some(place);
            self.waiting.insert(place);
        }
        Some(waker)
    }

    /// What a turn of a call cost that had used so much before. What it has used by now.
    fn charge(&mut self, account: &Account, used: Option<u64>, cost: u64, units: u32) -> u64 {
        self.spent = self.spent.saturating_add(units);
        let now = self.now;
        let ledger = self.accounts.entry(account.0).or_insert_with(|| Ledger::new(now));
        ledger.used = ledger.used.saturating_add(cost);
        // With what each of its calls would have by now, so that new calls cannot keep an old one from its turn.
        let calls = ledger.waiting.len() as u64 + 1;
        ledger.now = ledger.now.saturating_add(cost / calls);
        if let Some(place) = ledger.place.take() {
            self.waiting.remove(&place);
            let place = (ledger.used, ledger.last, account.0);
            ledger.place = Some(place);
            self.waiting.insert(place);
        }
        if self.waiting.is_empty() {
            // Nobody is behind: the account owes nothing.
            self.now = self.now.max(ledger.used);
        }
        // After the first turn a call is one of many.
        used.map_or(ledger.now, |used| used.saturating_add(cost))
    }

    /// Forgets accounts that would be where they are without having been remembered.
    fn forget_idle(&mut self) {
        let idle = self.accounts.len().saturating_sub(self.waiting.len());
        if idle > REMEMBERED {
            let now = self.now;
            self.accounts.retain(|_, ledger| ledger.place.is_some() || ledger.used > now);
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
