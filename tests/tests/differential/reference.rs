//! wasmtime's own host, set up as `wasmtime run --dir FOLDER::/` does it, without the network.

use std::path::Path;

use wasmtime_compile::component::{Component, Linker, ResourceTable};
use wasmtime_compile::{Engine, Result, Store};
use wasmtime_wasi::p2::bindings::sync::Command;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// A component ready to be called, each time in an instance of its own over the same files.
pub(crate) struct Reference {
    linker: Linker<World>,
    component: Component,
    files: tempfile::TempDir,
}

struct World {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl WasiView for World {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

/// What both hosts are given.
pub(crate) struct Inputs {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Reference {
    pub(crate) fn new(component: &Path) -> Result<Self> {
        let engine = Engine::default();
        let component = Component::from_file(&engine, component)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        Ok(Self { linker, component, files: tempfile::tempdir()? })
    }

    /// What a section answers.
    pub(crate) fn section(&self, inputs: &Inputs, name: &str) -> Result<Vec<String>> {
        let stderr = MemoryOutputPipe::new(1 << 20);
        let mut store = self.store_of(self.world(inputs)?.stderr(stderr.clone()));
        let instance = self.linker.instantiate(&mut store, &self.component)?;
        let section = instance.get_typed_func::<(&str,), (Vec<String>,)>(&mut store, "section")?;
        let lines = section.call(&mut store, (name,));
        let lines =
            lines.map_err(|error| error.context(String::from_utf8_lossy(&stderr.contents()).into_owned()));
        Ok(lines?.0)
    }

    /// Whether it lets a misuse pass.
    pub(crate) fn tolerates(&self, inputs: &Inputs, name: &str) -> Result<bool> {
        let mut store = self.store(inputs)?;
        let instance = self.linker.instantiate(&mut store, &self.component)?;
        let misuse = instance.get_typed_func::<(&str,), ()>(&mut store, "misuse")?;
        Ok(misuse.call(&mut store, (name,)).is_ok())
    }

    /// Runs `wasi:cli/run` with that input: exit code (none: a trap), standard output and standard error.
    pub(crate) fn run(&self, inputs: &Inputs, stdin: &[u8]) -> Result<(Option<i32>, Vec<u8>, Vec<u8>)> {
        let (stdout, stderr) = (MemoryOutputPipe::new(1 << 20), MemoryOutputPipe::new(1 << 20));
        let mut ctx = self.world(inputs)?;
        ctx.stdin(MemoryInputPipe::new(stdin.to_vec())).stdout(stdout.clone()).stderr(stderr.clone());
        let mut store = self.store_of(&mut ctx);
        let command = Command::instantiate(&mut store, &self.component, &self.linker)?;
        let code = match command.wasi_cli_run().call_run(&mut store) {
            Ok(result) => Some(i32::from(result.is_err())),
            Err(error) => error.downcast_ref::<I32Exit>().map(|exit| exit.0),
        };
        drop(store);
        Ok((code, stdout.contents().to_vec(), stderr.contents().to_vec()))
    }

    fn store(&self, inputs: &Inputs) -> Result<Store<World>> {
        Ok(self.store_of(&mut self.world(inputs)?))
    }

    fn store_of(&self, ctx: &mut WasiCtxBuilder) -> Store<World> {
        Store::new(self.linker.engine(), World { ctx: ctx.build(), table: ResourceTable::new() })
    }

    fn world(&self, inputs: &Inputs) -> Result<WasiCtxBuilder> {
        let mut ctx = WasiCtx::builder();
        ctx.args(&inputs.arguments)
            .envs(&inputs.environment)
            .initial_cwd("/")
            .allow_tcp(false)
            .allow_udp(false)
            .allow_blocking_current_thread(true)
            .preopened_dir(self.files.path(), "/", FsPerms::ReadWrite)?;
        Ok(ctx)
    }
}
