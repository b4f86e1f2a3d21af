//! The apps of the tests, compiled once.

use std::sync::OnceLock;

use faulty_host::Machine;

/// A machine with the example loaded under [`faulty_host::scene::APP`].
pub(crate) fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let component = scenarios::host::guest("examples/wasm-example", "wasm_example.wasm").unwrap();
        let wasm = std::fs::read(component).unwrap();
        faulty_host::run::prepare(&compiled(&wasm)).unwrap()
    })
}

/// A small app.
pub(crate) fn second() -> &'static [u8] {
    static SECOND: OnceLock<Vec<u8>> = OnceLock::new();
    SECOND.get_or_init(|| {
        let text = r#"(component
            (core module $m (func (export "answer") (result i32) (i32.const 42)))
            (core instance $i (instantiate $m))
            (func (export "answer") (result u32) (canon lift (core func $i "answer"))))"#;
        compiled(&wat::parse_str(text).unwrap())
    })
}

fn compiled(wasm: &[u8]) -> Vec<u8> {
    enclave_os_compiler::compile(wasm, enclave_os_compiler::NATIVE_TARGET).unwrap()
}
