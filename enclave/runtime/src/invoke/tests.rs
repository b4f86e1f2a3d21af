use std::cell::Cell;
use std::time::{Duration, Instant};

use boundary_wire::client::Params;
use enclave_access::ApprovedArtifact;
use enclave_wasm_platform::{Machine, STEP, Sizes};
use futures_lite::future::{block_on, pending, yield_now, zip};
use graviola::hashing::{Hash, Sha256};
use serde_json::json;
use wasmtime::component::Linker;

use super::*;
use crate::exports::Exports;
use crate::value;

/// A store with nothing but its limits.
struct Bare(Limiter);

impl Limited for Bare {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.0
    }
}

/// A loaded component and the machine it runs on.
struct Guest {
    machine: Machine,
    pre: InstancePre<Bare>,
    exports: Exports,
    limits: Limits,
}

impl Guest {
    fn new(wat: &str) -> Self {
        Self::on(Sizes { code: 16 << 20, memory: 256 << 20, stacks: 64 }, wat)
    }

    fn on(sizes: Sizes, wat: &str) -> Self {
        let machine = Machine::new(sizes, 0x00C0_FFEE).unwrap();
        let wasm = wat::parse_str(wat).unwrap();
        let bytes = enclave_os_compiler::compile(&wasm, enclave_os_compiler::NATIVE_TARGET).unwrap();
        let digest = Sha256::hash(&bytes).as_ref().try_into().unwrap();
        let artifact = ApprovedArtifact::resealed(bytes, digest).unwrap();
        let component = machine.load(&artifact).unwrap();
        let exports = Exports::of(&component, machine.engine());
        let pre = Linker::new(machine.engine()).instantiate_pre(&component).unwrap();
        Self { machine, pre, exports, limits: Limits::default() }
    }

    /// One core function without parameters or results, and a memory of one page.
    fn of_function(body: &str) -> Self {
        Self::new(&format!(
            r#"(component
                (core module $m
                    (memory 1)
                    (global $count (mut i32) (i32.const 0))
                    (func $run_it (export "run") {body}))
                (core instance $i (instantiate $m))
                (func (export "run") (canon lift (core func $i "run"))))"#
        ))
    }

    async fn call_until(
        &self,
        function: &str,
        params: serde_json::Value,
        deadline: impl Future<Output = ()>,
    ) -> Result<Vec<serde_json::Value>, CallError> {
        let export = self.exports.find(function)?;
        let params: Params = serde_json::from_value(params).unwrap();
        let arguments = value::arguments(&params, &export.params)
            .map_err(|source| CallError::BadParams { function: export.name.clone(), source })?;
        let invocation = Invocation {
            pre: &self.pre,
            export: &export.index,
            arguments: arguments.as_slice(),
            results: &export.results,
            limits: &self.limits,
            memory: &self.machine.memory(),
            place: Place::default(),
        };
        match invoke(invocation, Bare(Limiter::new(&self.limits)), deadline).await {
            Ended::Returned(results, _) => match value::results(results, &export.results) {
                Ok((results, _)) => Ok(results),
                Err(value::TooLarge) => Err(CallError::TooMuchData),
            },
            Ended::Failed(error, state) => Err(classify(&error, &state.0, &self.limits)),
            Ended::Deadline => Err(CallError::Deadline { limit_ms: self.limits.timeout_ms }),
        }
    }

    fn call(&self, function: &str, params: serde_json::Value) -> Result<Vec<serde_json::Value>, CallError> {
        block_on(self.call_until(function, params, pending()))
    }

    fn run(&self) -> CallError {
        let error = self.call("run", json!([])).unwrap_err();
        let usage = self.machine.usage();
        assert_eq!((usage.memory, usage.stacks), (0, 0), "a call that ended holds nothing");
        error
    }
}

const FOREVER: &str = "(loop (br 0))";

#[test]
fn an_endless_loop_uses_up_its_fuel() {
    let error = Guest::of_function(FOREVER).run();
    assert_eq!(error, CallError::FuelExhausted { limit: 10_000_000 });
    assert_eq!(error.code(), "fuel-exhausted");
}

#[test]
fn a_trap_is_named_with_the_guests_own_stack() {
    let error = Guest::of_function("unreachable").run();
    let text = error.to_string();
    assert_eq!(error.code(), "trap");
    assert!(text.starts_with("trap: wasm `unreachable` instruction executed"), "{text}");
    assert!(text.contains("0: run_it"), "{text}");
}

#[test]
fn names_in_a_backtrace_are_readable_and_bounded() {
    assert_eq!(readable("_ZN9misbehave6deeper17h4ac90d9f7f83bf68E"), "misbehave::deeper");
    assert_eq!(readable("_RNvNtCshXfaRvt2tfW_3std7process5abort"), "std::process::abort");
    assert_eq!(readable("plain"), "plain");
    assert_eq!(readable("a\n\u{1b}[31m"), "a??[31m");
    assert_eq!(readable(&"x".repeat(1 << 20)).len(), 200);
}

#[test]
fn endless_recursion_traps_and_the_enclave_goes_on() {
    let guest = Guest::of_function("(call 0)");
    let error = guest.run();
    assert!(matches!(&error, CallError::Trap { trap, .. } if trap == "call stack exhausted"), "{error}");
    assert_eq!(guest.run().code(), "trap");
}

#[test]
fn deep_recursion_with_large_frames_traps_too() {
    let locals = "(local i64) ".repeat(200);
    let uses = "(local.set 0 (i64.add (local.get 0) (i64.const 1)))";
    let error = Guest::of_function(&format!("{locals} {uses} (call 0)")).run();
    assert!(matches!(&error, CallError::Trap { trap, .. } if trap == "call stack exhausted"), "{error}");
}

#[test]
fn a_guest_that_gives_up_for_want_of_memory_is_told_so() {
    let mut guest = Guest::of_function(
        "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
    );
    guest.limits.memory_bytes = 4 << 20;
    let error = guest.run();
    assert_eq!(error, CallError::MemoryLimit { limit: 4 << 20 });
    assert!(error.to_string().contains("max_memory_bytes"));
    guest.limits.memory_bytes = 1000;
    assert_eq!(guest.run().code(), "memory-limit", "already at the start");
}

#[test]
fn the_memory_of_all_guests_together_ends_one_call_only() {
    let sizes = Sizes { code: 4 << 20, memory: 1 << 20, stacks: 2 };
    let guest = Guest::on(
        sizes,
        r#"(component
            (core module $m (memory 1)
                (func (export "small"))
                (func (export "run")
                    (if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then unreachable))))
            (core instance $i (instantiate $m))
            (func (export "small") (canon lift (core func $i "small")))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    assert_eq!(guest.run().code(), "overloaded");
    assert_eq!(guest.call("small", json!([])), Ok(vec![]));
    let large = Guest::on(
        sizes,
        r#"(component (core module $m (memory 100) (func (export "run"))) (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    assert_eq!(large.run().code(), "overloaded");
}

#[test]
fn calls_beyond_the_stacks_there_are_are_refused() {
    let guest = Guest::on(
        Sizes { code: 4 << 20, memory: 16 << 20, stacks: 1 },
        r#"(component (core module $m (func (export "run") (loop (br 0)))) (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    );
    let both =
        zip(guest.call_until("run", json!([]), pending()), guest.call_until("run", json!([]), pending()));
    let (first, second) = block_on(both);
    assert_eq!(first.unwrap_err().code(), "fuel-exhausted");
    assert_eq!(second.unwrap_err().code(), "overloaded");
}

#[test]
fn the_deadline_cuts_a_call_off_and_takes_everything_back() {
    let mut guest = Guest::of_function(FOREVER);
    guest.limits.fuel = u64::MAX;
    let deadline = async {
        for _ in 0..20 {
            yield_now().await;
        }
    };
    let error = block_on(guest.call_until("run", json!([]), deadline)).unwrap_err();
    assert_eq!(error, CallError::Deadline { limit_ms: 10_000 });
    assert_eq!(guest.machine.usage().stacks, 0);
    assert_eq!(guest.machine.usage().memory, 0);
}

#[test]
fn a_long_call_lets_others_run() {
    let guest = Guest::of_function(FOREVER);
    let turns = Cell::new(0);
    let other = async {
        loop {
            turns.set(turns.get() + 1);
            yield_now().await;
        }
    };
    let longest = Cell::new(Duration::ZERO);
    let call = guest.call_until("run", json!([]), pending());
    let mut call = pin!(call);
    let timed = poll_fn(|cx| {
        let start = Instant::now();
        let polled = call.as_mut().poll(cx);
        longest.set(longest.get().max(start.elapsed()));
        polled
    });
    let result = block_on(futures_lite::future::or(timed, other));
    assert!(result.is_err());
    assert!(turns.get() > 100, "the other task had {} turns", turns.get());
    assert!(longest.get() < Duration::from_millis(100), "one turn took {:?}", longest.get());
}

/// Whatever a guest asks of memory, no poll of its call erases or copies more than a step.
#[test]
fn memory_grows_in_bounded_steps() {
    let mut guest = Guest::new(
        r#"(component
            (core module $m
                (memory $one 100) (memory $two 100)
                (func (export "grow") (local $n i32)
                    (loop $more
                        (if (i32.eq (memory.grow $one (i32.const 16)) (i32.const -1)) (then (unreachable)))
                        (if (i32.eq (memory.grow $two (i32.const 1)) (i32.const -1)) (then (unreachable)))
                        ;; What was there is there, what is new is zero.
                        (i32.store $one (local.get $n) (i32.add (local.get $n) (i32.const 7)))
                        (if (i32.ne (i32.load $one (local.get $n)) (i32.add (local.get $n) (i32.const 7)))
                            (then (unreachable)))
                        (if (i32.load $one (i32.sub (i32.mul (memory.size $one) (i32.const 65536)) (i32.const 4)))
                            (then (unreachable)))
                        (local.set $n (i32.add (local.get $n) (i32.const 4)))
                        (br_if $more (i32.lt_u (local.get $n) (i32.const 400))))))
            (core instance $i (instantiate $m))
            (func (export "grow") (canon lift (core func $i "grow"))))"#,
    );
    guest.limits.memory_bytes = 200 << 20;
    for round in 0..2 {
        let mut polls = 0;
        let mut call = pin!(guest.call_until("grow", json!([]), pending()));
        let result = block_on(poll_fn(|cx| {
            polls += 1;
            call.as_mut().poll(cx)
        }));
        assert_eq!(result, Ok(vec![]));
        // 1,700 pages and 200, each copied about once and erased at most once.
        assert!(polls > 1700 * 65536 / STEP, "{polls} polls in round {round}");
        assert_eq!(guest.machine.usage().memory, 0);
    }
    assert_eq!(guest.machine.longest_step(), STEP);
}

#[test]
fn nothing_of_a_call_is_left_for_the_next() {
    let guest = Guest::new(
        r#"(component
            (core module $m
                (memory 1)
                (global $count (mut i32) (i32.const 0))
                (func (export "next") (result i32)
                    (global.set $count (i32.add (global.get $count) (i32.const 1)))
                    (i32.store8 (i32.const 0) (i32.add (i32.load8_u (i32.const 0)) (i32.const 1)))
                    (i32.add (global.get $count) (i32.load8_u (i32.const 0)))))
            (core instance $i (instantiate $m))
            (func (export "next") (result u32) (canon lift (core func $i "next"))))"#,
    );
    for _ in 0..3 {
        assert_eq!(guest.call("next", json!([])), Ok(vec![json!({ "type": "u32", "value": 2 })]));
    }
}

#[test]
fn a_result_larger_than_the_enclave_takes_is_refused() {
    let guest = Guest::new(
        r#"(component
            (core module $m
                (memory (export "mem") 512)
                (func (export "much") (result i32)
                    (i32.store (i32.const 4) (i32.const 30000000))
                    (i32.const 0)))
            (core instance $i (instantiate $m))
            (alias core export $i "mem" (core memory $mem))
            (func (export "much") (result (list u8))
                (canon lift (core func $i "much") (memory $mem))))"#,
    );
    assert_eq!(guest.call("much", json!([])), Err(CallError::TooMuchData));
}

/// Flags are short in the guest's memory and to the engine's counter, and long in the enclave's.
#[test]
fn flags_are_not_a_way_around_the_bound_of_results() {
    let labels: String = (0..32).map(|n| format!("\"f{n}\" ")).collect();
    let guest = |length: u32| {
        Guest::new(&format!(
            r#"(component
                (type $flags' (flags {labels}))
                (export $flags "names" (type $flags'))
                (core module $m
                    (memory (export "mem") 32)
                    (func (export "many") (result i32)
                        (memory.fill (i32.const 1024) (i32.const 255) (i32.const 1000000))
                        (i32.store (i32.const 0) (i32.const 1024))
                        (i32.store (i32.const 4) (i32.const {length}))
                        (i32.const 0)))
                (core instance $i (instantiate $m))
                (alias core export $i "mem" (core memory $mem))
                (func (export "many") (result (list $flags))
                    (canon lift (core func $i "many") (memory $mem))))"#
        ))
    };
    assert_eq!(guest(100).call("many", json!([])).unwrap()[0]["value"].as_array().unwrap().len(), 100);
    // Few enough that their JSON would be taken.
    assert_eq!(guest(30_000).call("many", json!([])), Err(CallError::TooMuchData));
}

#[test]
fn a_result_may_be_nested_as_deep_as_types_may() {
    let (mut types, mut outer) = (String::new(), "u8".to_owned());
    for n in 0..90 {
        types.push_str(&format!("(type $l{n} (list {outer}))"));
        outer = format!("$l{n}");
    }
    // Every list has one item, which lies where the list's own address and length lie.
    let guest = Guest::new(&format!(
        r#"(component {types}
            (core module $m
                (memory (export "mem") 1)
                (func (export "deep") (result i32)
                    (i32.store (i32.const 0) (i32.const 0))
                    (i32.store (i32.const 4) (i32.const 1))
                    (i32.const 0)))
            (core instance $i (instantiate $m))
            (alias core export $i "mem" (core memory $mem))
            (func (export "deep") (result {outer}) (canon lift (core func $i "deep") (memory $mem))))"#
    ));
    let results = guest.call("deep", json!([])).unwrap();
    let text = results[0].to_string();
    assert_eq!(text.matches('[').count(), 89, "{text}");
    // Readers with the usual bound of 128 levels take it.
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), results[0]);
}

#[test]
fn fifty_calls_at_a_time_do_not_mix() {
    let guest = Guest::new(
        r#"(component
            (core module $m
                (memory 1)
                (func (export "slow") (param i32) (result i32) (local $n i32)
                    (i32.store (i32.const 16) (local.get 0))
                    (local.set $n (i32.const 20000))
                    (loop (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                    (i32.load (i32.const 16))))
            (core instance $i (instantiate $m))
            (func (export "slow") (param "x" u32) (result u32) (canon lift (core func $i "slow"))))"#,
    );
    let executor = async_executor::LocalExecutor::new();
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let guest = &guest;
            executor.spawn(async move { (n, guest.call_until("slow", json!([n]), pending()).await) })
        })
        .collect();
    block_on(executor.run(async {
        for call in calls {
            let (n, result) = call.await;
            assert_eq!(result, Ok(vec![json!({ "type": "u32", "value": n })]));
        }
    }));
    assert_eq!(guest.machine.usage().stacks, 0);
}

const INTERFACES: &str = r#"(component
    (core module $m (func (export "one") (result i32) (i32.const 1)) (func (export "two") (result i32) (i32.const 2)))
    (core instance $i (instantiate $m))
    (func $one (result u32) (canon lift (core func $i "one")))
    (func $two (result u32) (canon lift (core func $i "two")))
    (instance $a (export "get" (func $one)) (export "only" (func $one)))
    (instance $b (export "get" (func $two)))
    (export "top" (func $two))
    (export "test:pkg/alpha@1.0.0" (instance $a))
    (export "test:pkg/beta@1.0.0" (instance $b)))"#;

#[test]
fn exports_are_found_by_full_and_short_names() {
    let guest = Guest::new(INTERFACES);
    let names: Vec<_> = guest.exports.all().iter().map(|e| e.name.as_str()).collect();
    assert_eq!(
        names,
        ["top", "test:pkg/alpha@1.0.0#get", "test:pkg/alpha@1.0.0#only", "test:pkg/beta@1.0.0#get"]
    );
    let two = Ok(vec![json!({ "type": "u32", "value": 2 })]);
    assert_eq!(guest.call("top", json!([])), two);
    assert_eq!(guest.call("test:pkg/beta@1.0.0#get", json!([])), two);
    assert_eq!(guest.call("beta#get", json!([])), two);
    assert!(guest.call("only", json!([])).is_ok());
    let error = guest.call("get", json!([])).unwrap_err();
    assert_eq!(error.code(), "ambiguous-function");
    assert!(error.to_string().contains("test:pkg/alpha@1.0.0#get, test:pkg/beta@1.0.0#get"), "{error}");
    let error = guest.call("gone", json!([])).unwrap_err();
    assert_eq!(error.code(), "unknown-function");
    assert!(error.to_string().contains("top, test:pkg/alpha@1.0.0#get"), "{error}");
}

#[test]
fn every_missing_import_is_named_at_once() {
    let machine = Machine::new(Sizes { code: 4 << 20, memory: 1 << 20, stacks: 1 }, 1).unwrap();
    let wat = r#"(component
        (import "wasi:http/types@0.2.0" (instance (export "fields" (type (sub resource))) (export "f" (func))))
        (import "here:it/is@1.0.0" (instance (export "f" (func))))
        (import "my:own/thing" (instance (export "g" (func (param "x" u32)))))
        (import "bare" (func)))"#;
    let bytes =
        enclave_os_compiler::compile(&wat::parse_str(wat).unwrap(), enclave_os_compiler::NATIVE_TARGET)
            .unwrap();
    let digest = Sha256::hash(&bytes).as_ref().try_into().unwrap();
    let component = machine.load(&ApprovedArtifact::resealed(bytes, digest).unwrap()).unwrap();
    let mut linker = Linker::<()>::new(machine.engine());
    linker.instance("here:it/is@1.0.0").unwrap().func_new("f", |_, _, _, _| Ok(())).unwrap();
    let missing = crate::imports::resolve(&linker, &component).err().unwrap();
    let names: Vec<_> = missing.iter().map(|m| m.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["wasi:http/types@0.2.0", "my:own/thing", "bare"], "{missing:?}");
}

#[test]
fn a_last_turn_costs_what_it_used() {
    assert_eq!(last_turn(0, 1), 1);
    assert_eq!(last_turn(YIELD_INTERVAL / 2, 1), 4);
    assert_eq!(last_turn(YIELD_INTERVAL, 1), WHOLE_TURN);
    assert_eq!(last_turn(3 * YIELD_INTERVAL + 10, 4), 1);
    assert_eq!(last_turn(10, 4), 1, "turns that waited for the host");
    assert_eq!(last_turn(u64::MAX, 1), WHOLE_TURN);
}

/// Not a limit, a reading: `cargo nextest run --no-capture -E 'test(cost_of_a_call)'` prints it.
#[test]
fn cost_of_a_call() {
    let guest = Guest::of_function("");
    let rounds = 200;
    let start = Instant::now();
    for _ in 0..rounds {
        guest.call("run", json!([])).unwrap();
    }
    println!("{:?} for a fresh store, instance and call", start.elapsed() / rounds);
}
