//! Artifacts, good and bad, against the machine that loads them.

#![allow(clippy::unwrap_used, reason = "a test")]

use enclave_access::ApprovedArtifact;
use enclave_os_compiler::{NATIVE_TARGET, SGX_TARGET, compile};
use enclave_wasm_platform::{ArtifactError, LoadError, Machine, Sizes};
use futures_lite::future::block_on;
use graviola::hashing::{Hash, Sha256};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

const ADD: &str = r#"(component
    (core module $m
        (memory (export "mem") 1)
        (data (i32.const 0) "some data")
        (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
    (core instance $i (instantiate $m))
    (func (export "add") (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add"))))"#;

fn machine() -> Machine {
    Machine::new(Sizes { code: 8 << 20, memory: 16 << 20, stacks: 8 }, 0x1234_5678).unwrap()
}

fn approved(bytes: &[u8]) -> Option<ApprovedArtifact> {
    let digest = Sha256::hash(bytes).as_ref().try_into().unwrap();
    ApprovedArtifact::resealed(bytes.to_vec(), digest).ok()
}

fn load(machine: &Machine, bytes: &[u8]) -> Result<Component, ArtifactError> {
    let Some(artifact) = approved(bytes) else { return Err(ArtifactError::NotAnArtifact) };
    machine.load(&artifact).map_err(|error| match error {
        LoadError::Artifact(error) => error,
        LoadError::Room(error) => panic!("{error}"),
    })
}

fn artifact() -> Vec<u8> {
    compile(&wat::parse_str(ADD).unwrap(), NATIVE_TARGET).unwrap()
}

/// The artifact as stock wasmtime makes it: without our digest.
fn stock(artifact: &[u8]) -> Vec<u8> {
    artifact[..artifact.len() - 48].to_vec()
}

fn add(component: &Component) -> u32 {
    let mut store = Store::new(component.engine(), ());
    store.set_fuel(10_000_000).unwrap();
    block_on(async {
        let instance =
            Linker::new(component.engine()).instantiate_async(&mut store, component).await.unwrap();
        let add = instance.get_typed_func::<(u32, u32), (u32,)>(&mut store, "add").unwrap();
        add.call_async(&mut store, (40, 2)).await.unwrap().0
    })
}

#[test]
fn an_artifact_runs_in_place_with_and_without_the_digest() {
    let machine = machine();
    let artifact = artifact();
    for bytes in [artifact.clone(), stock(&artifact)] {
        let component = load(&machine, &bytes).unwrap();
        assert_eq!(add(&component), 42);
        assert!(machine.usage().code >= stock(&artifact).len());
    }
    assert_eq!(machine.usage().memory, 0);
    assert_eq!(machine.usage().stacks, 0);
}

#[test]
fn a_thousand_loads_end_with_the_bytes_they_began_with() {
    let machine = machine();
    let approved = approved(&artifact()).unwrap();
    let before = machine.usage();
    let mut kept = Vec::new();
    for n in 0..1000 {
        kept.push(machine.load(&approved).unwrap());
        if n % 7 == 0 {
            assert_eq!(add(&kept[0]), 42);
        }
        if kept.len() > 5 {
            kept.swap_remove(n % kept.len());
        }
    }
    assert!(machine.usage().code > before.code);
    kept.clear();
    assert_eq!(machine.usage(), before);
}

/// An artifact of 2 MB: its size is data, as that of a real one is for the most part.
#[test]
fn a_thousand_loads_of_two_megabytes_end_with_the_bytes_they_began_with() {
    let machine = Machine::new(Sizes { code: 7 << 20, memory: 16 << 20, stacks: 8 }, 1).unwrap();
    let data: String = (0..2_000_000u32).map(|at| char::from(b'a' + (at * 7 % 23) as u8)).collect();
    let large = ADD.replace("(memory (export \"mem\") 1)", "(memory (export \"mem\") 40)");
    let large = large.replace("some data", &data);
    let bytes = compile(&wat::parse_str(large).unwrap(), NATIVE_TARGET).unwrap();
    assert!(bytes.len() > 2_000_000, "{}", bytes.len());
    let approved = approved(&bytes).unwrap();
    let before = machine.usage();
    for n in 0..1000 {
        let first = machine.load(&approved).unwrap();
        if n % 100 == 0 {
            // Three at a time leave no room for a fourth: each one is really given back.
            let others = [machine.load(&approved).unwrap(), machine.load(&approved).unwrap()];
            assert!(matches!(machine.load(&approved), Err(LoadError::Room(_))));
            assert_eq!(add(&others[1]), 42);
        }
        assert!(machine.usage().code > 2_000_000);
        drop(first);
        assert_eq!(machine.usage(), before);
    }
}

#[test]
fn a_component_without_code_frees_its_own_piece_only() {
    let machine = machine();
    let empty = compile(&wat::parse_str("(component)").unwrap(), NATIVE_TARGET).unwrap();
    let first = load(&machine, &empty).unwrap();
    let second = load(&machine, &artifact()).unwrap();
    let both = machine.usage().code;
    drop(first);
    assert!(machine.usage().code < both);
    assert_eq!(add(&second), 42);
    drop(second);
    assert_eq!(machine.usage().code, 0);
}

#[test]
fn code_outlives_its_component_as_long_as_something_runs_it() {
    let machine = machine();
    let component = load(&machine, &artifact()).unwrap();
    let pre = Linker::<()>::new(machine.engine()).instantiate_pre(&component).unwrap();
    drop(component);
    assert_ne!(machine.usage().code, 0);
    assert_eq!(add(pre.component()), 42);
    drop(pre);
    assert_eq!(machine.usage().code, 0);
}

#[test]
fn the_pool_says_when_it_is_full() {
    let machine = Machine::new(Sizes { code: 4096, memory: 1 << 20, stacks: 1 }, 1).unwrap();
    let error = machine.load(&approved(&artifact()).unwrap()).unwrap_err();
    assert!(matches!(error, LoadError::Room(_)));
    assert!(error.to_string().contains("unload an app"), "{error}");
}

#[test]
fn a_truncated_artifact_is_damaged_wherever_it_ends() {
    let machine = machine();
    let artifact = artifact();
    for bytes in [artifact.clone(), stock(&artifact)] {
        let whole = stock(&artifact).len();
        for len in (0..whole).step_by(4096).chain([1, 63, 64, 65, whole - 1]) {
            let error =
                load(&machine, &bytes[..len]).err().unwrap_or_else(|| panic!("{len} of {whole} bytes load"));
            assert!(
                matches!(error, ArtifactError::Damaged { .. } | ArtifactError::NotAnArtifact),
                "{len} of {whole}: {error}"
            );
        }
    }
    assert_eq!(machine.usage().code, 0);
}

#[test]
fn any_flipped_byte_of_ours_is_found_by_the_digest() {
    let machine = machine();
    let artifact = artifact();
    for at in (4..stock(&artifact).len()).step_by(97) {
        let mut bytes = artifact.clone();
        bytes[at] ^= 0x40;
        let error = load(&machine, &bytes).err().unwrap();
        assert_eq!(error, ArtifactError::Damaged { what: "its digest does not match" });
    }
}

/// Cut or changed, it must not pass for an artifact that never had one.
#[test]
fn a_damaged_digest_is_not_taken_for_none() {
    let machine = machine();
    let artifact = artifact();
    for at in stock(&artifact).len()..artifact.len() {
        let mut bytes = artifact.clone();
        bytes[at] ^= 1;
        assert!(matches!(load(&machine, &bytes).err(), Some(ArtifactError::Damaged { .. })), "byte {at}");
        if at > stock(&artifact).len() {
            let cut = load(&machine, &artifact[..at]).err();
            assert!(matches!(cut, Some(ArtifactError::Damaged { .. })), "cut at {at}: {cut:?}");
        }
    }
    assert_eq!(machine.usage().code, 0);
}

/// Without a digest the header, the section table, the names and what the artifact says of its compiler
/// are what stands between a damaged file and the engine.
#[test]
fn flipped_bytes_of_the_metadata_are_refused_or_harmless() {
    let machine = machine();
    let whole = stock(&artifact());
    let sections = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
    let engine = whole.windows(NATIVE_TARGET.len()).position(|w| w == NATIVE_TARGET.as_bytes()).unwrap();
    let places = (0..64).chain(sections..whole.len()).chain(engine - 5..engine + NATIVE_TARGET.len());
    let mut refused = 0;
    for at in places {
        for bit in [0x01, 0x10, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            if load(&machine, &bytes).is_err() {
                refused += 1;
            }
        }
    }
    assert!(refused > 500, "{refused}");
    assert_eq!(machine.usage().code, 0);
}

#[test]
fn another_target_is_refused_with_the_command_that_is_right() {
    let other = if NATIVE_TARGET == SGX_TARGET { "x86_64-unknown-linux-gnu" } else { SGX_TARGET };
    let bytes = compile(&wat::parse_str(ADD).unwrap(), other).unwrap();
    let error = load(&machine(), &bytes).err().unwrap();
    assert_eq!(error, ArtifactError::Target { found: other.to_owned() });
    let text = error.to_string();
    assert!(text.contains("`enclave-os compile app.wasm`"), "{text}");
    assert!(text.contains(&format!("`wasmtime compile --target {NATIVE_TARGET} -W fuel=1,")), "{text}");
}

#[test]
fn another_engine_version_is_refused_with_both_versions() {
    let mut bytes = stock(&artifact());
    let target = bytes.windows(NATIVE_TARGET.len()).position(|w| w == NATIVE_TARGET.as_bytes()).unwrap();
    // The version stands before the length of the target.
    assert_eq!(&bytes[target - 4..target - 1], b"\x0248");
    bytes[target - 2] = b'7';
    let error = load(&machine(), &bytes).err().unwrap();
    assert_eq!(error, ArtifactError::EngineVersion { found: "47".to_owned() });
    assert!(error.to_string().contains("this enclave runs 48"), "{error}");
}

/// An artifact of plain `wasmtime compile`, as far as each setting goes.
fn compiled_with(change: impl Fn(&mut Config)) -> Vec<u8> {
    let mut config = Config::new();
    compiler_config::base(&mut config);
    change(&mut config);
    config.target(NATIVE_TARGET).unwrap();
    Engine::new(&config).unwrap().precompile_component(&wat::parse_str(ADD).unwrap()).unwrap()
}

#[test]
fn other_settings_are_refused_with_the_difference_and_the_command() {
    let machine = machine();
    let cases: [(&str, Vec<u8>); 4] = [
        (
            "fuel",
            compiled_with(|c| {
                c.consume_fuel(false);
            }),
        ),
        (
            "memory reservation",
            compiled_with(|c| {
                c.memory_reservation(1 << 32);
            }),
        ),
        (
            "guard size",
            compiled_with(|c| {
                c.memory_guard_size(1 << 16);
            }),
        ),
        (
            "Signals-based traps",
            compiled_with(|c| {
                c.signals_based_traps(true);
            }),
        ),
    ];
    for (setting, bytes) in cases {
        let error = load(&machine, &bytes).err().unwrap();
        assert!(matches!(&error, ArtifactError::Settings { reason } if reason.contains(setting)), "{error}");
        assert!(error.to_string().contains("`enclave-os compile app.wasm`"), "{error}");
        assert!(error.to_string().contains("-W fuel=1,gc-support=n"), "{error}");
    }
    assert_eq!(machine.usage().code, 0);
}

#[test]
fn a_compiled_core_module_is_named_as_such() {
    let mut config = Config::new();
    compiler_config::base(&mut config);
    let engine = Engine::new(&config).unwrap();
    let bytes = engine.precompile_module(&wat::parse_str("(module)").unwrap()).unwrap();
    assert_eq!(load(&machine(), &bytes).err(), Some(ArtifactError::Module));
}
