//! What the compiler takes, and that stock wasmtime makes the same of it.

#![allow(clippy::unwrap_used, reason = "a test may stop where it fails")]

use compiler_config::{STOCK_FLAGS, trailer};
use enclave_os_compiler::{CompileError, NATIVE_TARGET, SGX_TARGET, compile};
use sha2::{Digest, Sha256};
use wasmtime_compile::{Config, Engine, WasmFeatures};

const COMPONENT: &str = r#"(component
    (core module $m (memory 1) (table 2 funcref) (func (export "f") (result i32) (i32.load (i32.const 8))))
    (core instance $i (instantiate $m))
    (func (export "f") (result u32) (canon lift (core func $i "f"))))"#;

/// What wasmtime's command line does with each flag.
fn apply(config: &mut Config, flag: &str) {
    match flag {
        "fuel=1" => config.consume_fuel(true),
        "gc-support=n" => config.gc_support(false),
        "exceptions=n" => config.wasm_features(WasmFeatures::EXCEPTIONS, false),
        "threads=n" => config.wasm_features(WasmFeatures::THREADS, false),
        "concurrency-support=n" => config.concurrency_support(false),
        "signals-based-traps=n" => config.signals_based_traps(false),
        "memory-reservation=0" => config.memory_reservation(0),
        "memory-guard-size=0" => config.memory_guard_size(0),
        "memory-init-cow=n" => config.memory_init_cow(false),
        other => panic!("the stock command has a flag that is not tested: {other}"),
    };
}

#[test]
fn the_stock_command_line_gives_the_same_artifact() {
    let wasm = wat::parse_str(COMPONENT).unwrap();
    for target in [NATIVE_TARGET, SGX_TARGET] {
        let mut config = Config::new();
        for flag in
            STOCK_FLAGS.split_whitespace().filter(|word| !word.starts_with('-')).flat_map(|w| w.split(','))
        {
            apply(&mut config, flag);
        }
        config.target(target).unwrap();
        let stock = Engine::new(&config).unwrap().precompile_component(&wasm).unwrap();
        let ours = compile(&wasm, target).unwrap();
        let (artifact, digest) = trailer::split(&ours).unwrap();
        assert_eq!(digest, Sha256::digest(artifact).as_slice());
        assert!(artifact == stock, "{target}: the artifacts differ");
    }
}

#[test]
fn the_same_input_gives_the_same_artifact() {
    let wasm = wat::parse_str(COMPONENT).unwrap();
    assert_eq!(compile(&wasm, NATIVE_TARGET).unwrap(), compile(&wasm, NATIVE_TARGET).unwrap());
}

#[test]
fn what_is_not_a_component_is_refused_with_a_hint() {
    let module = wat::parse_str("(module)").unwrap();
    let error = compile(&module, NATIVE_TARGET).unwrap_err();
    assert!(matches!(error, CompileError::CoreModule));
    assert!(error.to_string().contains("wasm32-wasip2"), "{error}");
    assert!(matches!(compile(b"", NATIVE_TARGET), Err(CompileError::NotWasm)));
    assert!(matches!(compile(b"(component)", NATIVE_TARGET), Err(CompileError::NotWasm)));
    let wasm = wat::parse_str(COMPONENT).unwrap();
    let artifact = compile(&wasm, NATIVE_TARGET).unwrap();
    assert!(matches!(compile(&artifact, NATIVE_TARGET), Err(CompileError::AlreadyCompiled)));
    assert!(matches!(compile(&wasm[..wasm.len() - 3], NATIVE_TARGET), Err(CompileError::Invalid(_))));
}

#[test]
fn what_the_enclave_does_not_have_is_refused_here() {
    let shared = wat::parse_str("(component (core module (memory 1 1 shared)))").unwrap();
    let error = compile(&shared, NATIVE_TARGET).unwrap_err();
    assert!(matches!(&error, CompileError::Invalid(reason) if reason.contains("threads")), "{error}");
}

#[test]
fn an_unknown_target_is_named() {
    let wasm = wat::parse_str(COMPONENT).unwrap();
    for target in ["", "z80-unknown-none", "sparc-unknown-linux-gnu"] {
        let error = compile(&wasm, target).err().unwrap_or_else(|| panic!("{target} is taken"));
        assert!(matches!(error, CompileError::Target { .. }), "{target}: {error}");
    }
}
