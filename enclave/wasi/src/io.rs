//! `wasi:io@0.2` is `wasmtime-wasi-io`; this file bounds what a guest may wait for at once.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{Result, format_err};
use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};
use wasmtime_wasi_io::poll::DynPollable;

use crate::{WasiCtx, WasiView};

/// Handles in one `poll`.
const MAX_POLL: usize = 4096;
/// Handles of a `poll` that are one unit of work ([`Turn`](crate::turn::Turn)).
const POLLED_PER_UNIT: usize = 32;

pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    error::add_to_linker::<T, Table>(linker, |t| WasiView::table(t))?;
    streams::add_to_linker::<T, Table>(linker, |t| WasiView::table(t))?;
    poll::add_to_linker::<T, Poll>(linker, |t| Poll(t.wasi()))
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// The same table, with a bound on the length of a poll, and on the polls of one turn.
pub(crate) struct Poll<'a>(&'a mut WasiCtx);

impl HasData for Poll<'static> {
    type Data<'a> = Poll<'a>;
}

impl poll::Host for Poll<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        if pollables.len() > MAX_POLL {
            return Err(format_err!("poll: {} handles, at most {MAX_POLL} are waited for", pollables.len()));
        }
        self.0.turn.spend(1 + u32::try_from(pollables.len() / POLLED_PER_UNIT).unwrap_or(u32::MAX)).await;
        poll::Host::poll(&mut self.0.table, pollables).await
    }
}

impl poll::HostPollable for Poll<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.0.turn.spend(1).await;
        poll::HostPollable::block(&mut self.0.table, pollable).await
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        self.0.turn.spend(1).await;
        poll::HostPollable::ready(&mut self.0.table, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(&mut self.0.table, pollable)
    }
}
