//! One call, from a fresh store to its outcome.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use boundary_wire::client::WitType;
use enclave_wasm_platform::{CallWatch, GuestMemory, OutOfGuestMemory, OutOfStacks};
use enclave_worker::WHOLE_TURN;
use wasmtime::component::{ComponentExportIndex, InstancePre, Val};
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::error::CallError;
use crate::limits::{Limiter, Limits};
use crate::place::{Leaving, Place};
use crate::value;

/// After this much fuel a turn of the guest is over: some tens of microseconds.
const YIELD_INTERVAL: u64 = 50_000;
/// Bytes that a guest may hand to the enclave at once, as the engine counts them: a result, or the arguments of a
/// host function. What the engine makes of a result takes up to twice as much.
const MOST_DATA: usize = 32 << 20;
/// The same for exports whose results have flags. Of flags the engine counts only the letters of their names, and
/// what it makes of them takes some twenty times as much.
const MOST_DATA_WITH_FLAGS: usize = 2 << 20;
/// How the engine's error for more than that begins; its type is private.
const TOO_MUCH_DATA: &str = "too much data is being copied between the host and the guest";
/// Handles that a guest may hold.
const MOST_HANDLES: usize = 16 << 10;

/// What a store holds beside the guest.
pub(crate) trait Limited: Send + 'static {
    fn limiter(&mut self) -> &mut Limiter;
}

/// What to run, and under what.
pub(crate) struct Invocation<'a, T: Limited, A = &'a [Val]> {
    pub(crate) pre: &'a InstancePre<T>,
    pub(crate) export: &'a ComponentExportIndex,
    pub(crate) arguments: A,
    pub(crate) results: &'a [WitType],
    pub(crate) limits: &'a Limits,
    pub(crate) memory: &'a GuestMemory,
    pub(crate) place: Place,
}

/// What an export is given: values, or what exists only in the store of the call.
pub(crate) trait Arguments<'a, T> {
    /// Their values, after the instance was made.
    fn into_values(self, store: &mut Store<T>) -> wasmtime::Result<Cow<'a, [Val]>>;
}

impl<'a, T> Arguments<'a, T> for &'a [Val] {
    fn into_values(self, _: &mut Store<T>) -> wasmtime::Result<Cow<'a, [Val]>> {
        Ok(Cow::Borrowed(self))
    }
}

/// How a call ended, with the store's data where the guest is done with it.
pub(crate) enum Ended<T> {
    /// It gave results.
    Returned(Vec<Val>, T),
    /// It did not, for the reason given.
    Failed(wasmtime::Error, T),
    /// It was cut off.
    Deadline,
}

/// Runs the call in a store and an instance of its own, until it ends or `deadline` does. The guest runs in turns;
/// what it leaves in memory is erased in turns, too, after this has returned or was dropped.
pub(crate) async fn invoke<'a, T: Limited, A: Arguments<'a, T>>(
    mut invocation: Invocation<'a, T, A>,
    mut data: T,
    deadline: impl Future<Output = ()>,
) -> Ended<T> {
    let watch = CallWatch::new();
    data.limiter().watch(watch.memory(), invocation.memory);
    let limits = invocation.limits;
    // Before the store, so that it outlives what the store leaves.
    let mut leaving = Leaving { place: invocation.place.take(), watch: watch.clone() };
    let mut store = Store::new(invocation.pre.engine(), data);
    store.limiter_async(|data| data.limiter());
    let has_flags = invocation.results.iter().any(value::has_flags);
    store.set_hostcall_fuel(if has_flags { MOST_DATA_WITH_FLAGS } else { MOST_DATA });
    store.set_max_component_handles(MOST_HANDLES);
    if let Err(error) =
        store.set_fuel(limits.fuel).and_then(|()| store.fuel_async_yield_interval(Some(YIELD_INTERVAL)))
    {
        return Ended::Failed(error, store.into_data());
    }
    let mut turns: u64 = 0;
    let outcome = {
        let run = run(&mut store, invocation);
        // Boxed, so that dropping it happens under the watch too.
        let mut run = Some(Box::pin(run));
        let mut deadline = pin!(deadline);
        poll_fn(|cx| {
            let Some(running) = run.as_mut() else { return Poll::Ready(None) };
            if leaving.place.poll_turn(cx).is_ready() {
                turns += 1;
                if let Poll::Ready(outcome) = watch.poll(|| running.as_mut().poll(cx)) {
                    watch.poll(|| run = None);
                    return Poll::Ready(Some(outcome));
                }
                leaving.place.turn_over(WHOLE_TURN);
            }
            if deadline.as_mut().poll(cx).is_ready() {
                // The guest's fiber is unwound here.
                watch.poll(|| run = None);
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    };
    let left = store.get_fuel().unwrap_or(0);
    leaving.place.turn_over(last_turn(limits.fuel.saturating_sub(left), turns));
    match outcome {
        Some(Ok(results)) => Ended::Returned(results, watch.poll(|| store.into_data())),
        Some(Err(error)) => Ended::Failed(error, watch.poll(|| store.into_data())),
        None => {
            watch.poll(|| drop(store));
            Ended::Deadline
        }
    }
}

/// How much of a whole turn the last of so many was, by what the call used of its fuel.
fn last_turn(used: u64, turns: u64) -> u32 {
    let before = turns.saturating_sub(1).saturating_mul(YIELD_INTERVAL);
    let last = used.saturating_sub(before).min(YIELD_INTERVAL);
    1 + u32::try_from(last * u64::from(WHOLE_TURN - 1) / YIELD_INTERVAL).unwrap_or(WHOLE_TURN)
}

async fn run<'a, T: Limited, A: Arguments<'a, T>>(
    store: &mut Store<T>,
    invocation: Invocation<'a, T, A>,
) -> wasmtime::Result<Vec<Val>> {
    let instance = invocation.pre.instantiate_async(&mut *store).await?;
    let function = instance
        .get_func(&mut *store, invocation.export)
        .ok_or_else(|| wasmtime::Error::msg("the export is not a function"))?;
    let mut results = vec![Val::Bool(false); invocation.results.len()];
    let arguments = invocation.arguments.into_values(store)?;
    function.call_async(&mut *store, &arguments, &mut results).await?;
    Ok(results)
}

/// What a failure of the guest or the engine means to the caller.
pub(crate) fn classify(error: &wasmtime::Error, limiter: &Limiter, limits: &Limits) -> CallError {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        return CallError::FuelExhausted { limit: limits.fuel };
    }
    if let Some(full) = error.downcast_ref::<OutOfStacks>() {
        return CallError::Overloaded(full.to_string());
    }
    if let Some(full) = limiter.pool {
        return CallError::Overloaded(format!("{full}: try again later"));
    }
    if limiter.denied() && matches!(trap, None | Some(Trap::UnreachableCodeReached)) {
        return CallError::MemoryLimit { limit: limits.memory_bytes };
    }
    let text = error.root_cause().to_string();
    if OutOfGuestMemory::is(&text) {
        return CallError::Overloaded(format!("{text}: try again later"));
    }
    if error.chain().any(|cause| cause.to_string().starts_with(TOO_MUCH_DATA)) {
        return CallError::TooMuchData;
    }
    CallError::Trap {
        trap: trap.map_or(text, |trap| trap.to_string().trim_start_matches("wasm trap: ").to_owned()),
        frames: frames(error),
    }
}

/// The guest's call stack, where the artifact has names.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let named = backtrace.frames().iter().any(|frame| frame.func_name().is_some());
    if !named {
        return Vec::new();
    }
    let name = |frame: &wasmtime::FrameInfo| match frame.func_name() {
        Some(name) => readable(name),
        None => format!("function {}", frame.func_index()),
    };
    backtrace.frames().iter().map(name).collect()
}

/// A function's name as its author knows it. Names are the guest's to choose: long ones are cut, and
/// nothing in them can end a line or steer a terminal.
fn readable(name: &str) -> String {
    const LONGEST: usize = 200;
    let start: String = name.chars().take(2 * LONGEST).collect();
    let plain = match rustc_demangle::try_demangle(&start) {
        Ok(demangled) => format!("{demangled:#}"),
        Err(_) => start,
    };
    plain.chars().map(|c| if c.is_control() { '?' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
