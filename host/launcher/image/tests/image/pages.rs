//! Bug: native code in pages that are writable too, or that the host can still write. Cause: a host that does not
//! take permissions away when it is asked to, or a CPU that cannot. Required: a lie is found and named, and what
//! was loaded before goes on; where the CPU cannot, the code section is erased and every certificate says so.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attestation::manifest::LeafValue;
use boundary_wire::client::{Load, Params};
use boundary_wire::start;
use enclave_os_client::{Connector, Framed, danger};
use host_services::seats::Event;
use launcher_image::{Cpu, Emulated, Entry, Exception, Intercept, Registers, RestrictError};

use crate::support::{Host, LONG};

/// Says that it restricted, and does not, as long as it is told to lie.
struct Lazy(Arc<AtomicBool>);

impl Intercept for Lazy {
    fn call(&self, _: usize, call: &Registers) -> Option<(u64, u64)> {
        (call.rdi == start::RESTRICT && self.0.load(Ordering::Relaxed)).then_some((start::restrict::DONE, 0))
    }
}

fn answer() -> Vec<u8> {
    let text = "(component (core module $m (func (export \"answer\") (result i32) (i32.const 42)))
        (core instance $i (instantiate $m))
        (func (export \"answer\") (result u32) (canon lift (core func $i \"answer\"))))";
    enclave_os_compiler::compile(&wat::parse_str(text).unwrap(), enclave_os_compiler::SGX_TARGET).unwrap()
}

fn load(client: &mut Framed, name: &str) -> Result<(), String> {
    let load = Load { name: name.into(), bytes: answer(), ..Load::default() };
    client.load(load).map(drop).map_err(|error| error.to_string())
}

fn call(client: &mut Framed, name: &str) -> u64 {
    client.call(name, "answer", Params::default()).unwrap()[0]["value"].as_u64().unwrap()
}

fn connector(host: &Host) -> Connector {
    assert!(matches!(host.events.recv_timeout(LONG).unwrap(), Event::Serving));
    danger::accept_any_certificate(Connector::new(host.address.to_string()))
}

fn code_pages(connector: &Connector) -> String {
    let proof = connector.http().unwrap().proof("core.platform").unwrap();
    match proof.leaf().value() {
        LeafValue::Json(value) => value["code_pages"].as_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_host_that_leaves_the_code_section_executable() {
    let host = Host::start(1, |_| Some(Box::new(Lazy(Arc::new(AtomicBool::new(true))))));
    let (reason, log) = host.ended();
    let reason = reason.unwrap_or_else(|| panic!("it ended without a reason:\n{log}"));
    assert!(reason.contains("the host misbehaved: it says that the page at"), "{reason}\n{log}");
    assert!(reason.contains("was restricted to rw-"), "{reason}");
}

#[test]
fn a_host_that_stops_to_restrict_stops_nothing_that_runs() {
    let lazy = Arc::new(AtomicBool::new(false));
    let lies = lazy.clone();
    let host = Host::start(1, |_| Some(Box::new(Lazy(lies))));
    let connector = connector(&host);
    assert_eq!(code_pages(&connector), "write-xor-execute");
    let mut client = connector.framed().unwrap();
    load(&mut client, "before").unwrap();
    lazy.store(true, Ordering::Relaxed);
    let error = load(&mut client, "meanwhile").unwrap_err();
    assert!(error.contains("the host misbehaved: it says that the page at"), "{error}");
    assert!(error.contains("was restricted to r--"), "{error}");
    assert_eq!(call(&mut client, "before"), 42);
    lazy.store(false, Ordering::Relaxed);
    load(&mut client, "after").unwrap();
    assert_eq!(call(&mut client, "after"), 42);
    assert!(client.unload("before").unwrap());
    assert_eq!(call(&mut client, "after"), 42);
}

/// A CPU of before SGX2.
struct WithoutSgx2(Emulated);

impl Cpu for WithoutSgx2 {
    fn kind(&self) -> start::Cpu {
        self.0.kind()
    }

    fn range(&self) -> Range<usize> {
        self.0.range()
    }

    fn tcs(&self) -> &[usize] {
        self.0.tcs()
    }

    fn entry(&self) -> Entry {
        self.0.entry()
    }

    fn has_sgx2(&self) -> bool {
        false
    }

    fn restrict(&self, offset: u64, bytes: u64, permissions: u8) -> Result<(), RestrictError> {
        panic!("the image asks for what this CPU has not: {bytes} bytes at {offset} to {permissions}")
    }

    fn explain(&self, exception: &Exception) -> String {
        self.0.explain(exception)
    }
}

#[test]
fn without_sgx2_code_runs_and_the_certificate_says_how() {
    let host = Host::start_on(1, |cpu| (Box::new(WithoutSgx2(cpu)), None));
    let connector = connector(&host);
    assert_eq!(code_pages(&connector), "read-write-execute");
    let mut client = connector.framed().unwrap();
    load(&mut client, "app").unwrap();
    assert_eq!(call(&mut client, "app"), 42);
    assert!(client.unload("app").unwrap());
}
