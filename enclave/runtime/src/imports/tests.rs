//! Hand-made components against everything that is linked.

use enclave_access::ApprovedArtifact;
use enclave_wasi::{WasiCtx, WasiView};
use enclave_wasm_platform::{Machine, Sizes};
use graviola::hashing::{Hash, Sha256};

use super::*;

/// No call is made, so there is no world either.
enum Never {}

impl WasiView for Never {
    fn wasi(&mut self) -> &mut WasiCtx {
        match *self {}
    }
}

/// Those of today, and one of tomorrow.
fn patches() -> impl Iterator<Item = String> {
    (0..=12).chain([99]).map(|patch| format!("0.2.{patch}"))
}

/// Interfaces, one at least of each package, with something they export. (An instance without exports is always there.)
const SOME: &[(&str, &str)] = &[
    ("wasi:cli/environment", r#""initial-cwd" (func (result (option string)))"#),
    ("wasi:clocks/monotonic-clock", r#""now" (func (result u64))"#),
    ("wasi:filesystem/types", r#""descriptor" (type (sub resource))"#),
    ("wasi:http/types", r#""fields" (type (sub resource))"#),
    ("wasi:io/poll", r#""pollable" (type (sub resource))"#),
    ("wasi:io/streams", r#""input-stream" (type (sub resource))"#),
    ("wasi:random/random", r#""get-random-u64" (func (result u64))"#),
    ("wasi:sockets/tcp", r#""tcp-socket" (type (sub resource))"#),
];

fn import((name, export): &(&str, &str), version: &str) -> String {
    format!("(import \"{name}@{version}\" (instance (export {export})))\n")
}

fn resolved(imports: &str) -> Result<(), Vec<String>> {
    let sizes = Sizes { code: 16 << 20, memory: 16 << 20, stacks: 4 };
    let machine = Machine::new(sizes, 0x00C0_FFEE).unwrap();
    let mut linker = Linker::<Never>::new(machine.engine());
    enclave_wasi::add_to_linker(&mut linker).unwrap();
    let wasm = wat::parse_str(format!("(component {imports})")).unwrap();
    let bytes = enclave_os_compiler::compile(&wasm, enclave_os_compiler::NATIVE_TARGET).unwrap();
    let digest = Sha256::hash(&bytes).as_ref().try_into().unwrap();
    let component = machine.load(&ApprovedArtifact::resealed(bytes, digest).unwrap()).unwrap();
    resolve(&linker, &component).map(drop)
}

#[test]
fn every_version_of_wasi_0_2_links() {
    let all = SOME.iter().flat_map(|some| patches().map(|version| import(some, &version)));
    assert_eq!(resolved(&all.collect::<String>()), Ok(()));
}

#[test]
fn other_versions_are_refused_together_with_what_there_is_instead() {
    let others = ["0.1.0", "0.2.0-rc-2023-12-05", "0.3.0", "1.0.0"];
    let wrong = || SOME.iter().flat_map(|some| others.map(|version| (some, version)));
    let imports: String = wrong().map(|(some, version)| import(some, version)).collect();
    let right = import(&SOME[0], "0.2.3");
    let mut refused = resolved(&format!("{right}{imports}")).unwrap_err();
    let mut wanted: Vec<_> =
        wrong().map(|((name, _), version)| format!("{name}@{version} (here: {name}@0.2)")).collect();
    refused.sort();
    wanted.sort();
    assert_eq!(refused, wanted);
}

#[test]
fn what_is_nowhere_is_named_as_it_is() {
    let refused = resolved(&import(&("wasi:nn/tensor", r#""tensor" (type (sub resource))"#), "0.2.0"));
    let refused = refused.unwrap_err();
    assert!(refused.len() == 1 && refused[0].starts_with("wasi:nn/tensor@0.2.0"), "{refused:?}");
    assert!(!refused[0].contains("here:"), "{refused:?}");
    let refused = resolved(&import(&("wasi:io/poll", r#""wait-for" (func)"#), "0.2.0")).unwrap_err();
    assert!(refused.len() == 1 && refused[0].starts_with("wasi:io/poll@0.2.0 ("), "{refused:?}");
    assert!(refused[0].contains("wait-for"), "{refused:?}");
}
