//! The engine with our pools in it.

use std::io;
use std::sync::Arc;

use enclave_access::ApprovedArtifact;
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use crate::artifact::{ArtifactError, inspect};
use crate::code::{CodeMemory, CodePool, OutOfCode};
use crate::memory::{GuestMemory, Memories, MemoryPool};
use crate::stack::{STACK_BYTES, StackPool, Stacks, WASM_STACK_BYTES};
use crate::sys;

/// How much the guests of one enclave may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes for native code, at most: an image has a section of a fixed size.
    pub code: usize,
    /// Bytes for linear memories.
    pub memory: usize,
    /// Calls at a time: each has one stack of [`STACK_BYTES`].
    pub stacks: usize,
}

/// What is in use, for metrics and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes taken by loaded artifacts, in whole pages.
    pub code: usize,
    /// Bytes there are for artifacts.
    pub code_total: usize,
    /// Bytes handed out to running calls as linear memory.
    pub memory: usize,
    /// Bytes there are for linear memories.
    pub memory_total: usize,
    /// Fiber stacks handed out to running calls.
    pub stacks: usize,
}

/// The engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The code region could not be reserved.
    #[error("cannot reserve {bytes} bytes for native code: {source}")]
    Reserve {
        /// How much was asked for.
        bytes: usize,
        /// What the platform says.
        #[source]
        source: io::Error,
    },
    /// The settings do not fit this build of wasmtime.
    #[error("the engine refuses its settings: {0}")]
    Engine(String),
}

/// An artifact was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The artifact is not one this enclave takes.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// There is no room for it.
    #[error("{0}: unload an app first")]
    Room(#[from] OutOfCode),
}

/// The engine and the pools behind it.
pub struct Machine {
    engine: Engine,
    code: Arc<CodePool>,
    memory: Arc<MemoryPool>,
    stacks: Arc<StackPool>,
}

impl Machine {
    /// Makes the pools and the engine over them. `canary` is drawn at random by the caller.
    ///
    /// # Errors
    /// [`StartError`] when the code region cannot be reserved.
    pub fn new(sizes: Sizes, canary: u64) -> Result<Self, StartError> {
        let code =
            CodePool::new(sizes.code).map_err(|source| StartError::Reserve { bytes: sizes.code, source })?;
        let (code, memory, stacks) = (
            Arc::new(code),
            Arc::new(MemoryPool::new(sizes.memory)),
            Arc::new(StackPool::new(sizes.stacks, canary)),
        );
        let mut config = Config::new();
        compiler_config::base(&mut config)
            .memory_reservation_for_growth(0)
            .max_wasm_stack(WASM_STACK_BYTES)
            .async_stack_size(STACK_BYTES)
            .with_host_memory(Arc::new(Memories(Arc::clone(&memory))))
            .with_host_stack(Arc::new(Stacks(Arc::clone(&stacks))))
            .with_custom_code_memory(Some(Arc::new(CodeMemory(Arc::clone(&code)))));
        let engine = Engine::new(&config).map_err(|e| StartError::Engine(e.to_string()))?;
        Ok(Self { engine, code, memory, stacks })
    }

    /// The engine, for linkers and stores.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The linear memory that guests share.
    pub fn memory(&self) -> GuestMemory {
        GuestMemory(Arc::clone(&self.memory))
    }

    /// The most bytes of linear memory that one poll of a call erased and copied so far.
    pub fn longest_step(&self) -> usize {
        self.memory.longest()
    }

    /// What is in use.
    pub fn usage(&self) -> Usage {
        Usage {
            code: self.code.used(),
            code_total: self.code.total(),
            memory: self.memory.used(),
            memory_total: self.memory.budget(),
            stacks: self.stacks.used(),
        }
    }

    /// How pages of native code are protected while they run: `write-xor-execute` or, on a CPU that cannot
    /// change page permissions, `read-write-execute`.
    pub fn code_pages(&self) -> &'static str {
        self.code.protection()
    }

    /// Makes a component of an approved artifact. Its memory in the code pool is free again when the
    /// component, everything made from it and every call into it are gone.
    ///
    /// # Errors
    /// [`LoadError`]; everything that the artifact says about itself is checked before its code becomes
    /// executable, and an error leaves nothing behind.
    pub fn load(&self, artifact: &ApprovedArtifact) -> Result<Component, LoadError> {
        let inspected = inspect(artifact.bytes(), sys::page_size())?;
        // Tables for native unwinders would be registered with the process-wide unwinder, which walks them
        // unchecked and would do so after the pool has the memory back. Traps need none.
        let (ticket, place) = self.code.take(inspected.elf, |copy| {
            if let Some(name) = inspected.unwind_name
                && let Some(name) = copy.get_mut(name)
            {
                name.copy_from_slice(b".debug_eh");
            }
        })?;
        // SAFETY: the bytes are native code and data of wasmtime's own format that the code policy
        // approved: they are trusted to be what its compiler makes. They lie in the code pool, which
        // this engine holds on to, and stay there unchanged until the engine's `unpublish_executable`,
        // its last use of them: nothing but that hook and the error path below frees the piece.
        let loaded = unsafe { Component::deserialize_raw(&self.engine, place) };
        loaded.map_err(|error| {
            self.code.give_up(ticket);
            let reason = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
            LoadError::Artifact(ArtifactError::Settings { reason })
        })
    }
}
