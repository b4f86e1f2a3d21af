//! `wasi:io@0.2` is `wasmtime-wasi-io`; this file bounds what a guest may wait for at once.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{Result, format_err};
use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};
use wasmtime_wasi_io::poll::DynPollable;

use crate::WasiView;

/// Handles in one `poll`.
const MAX_POLL: usize = 4096;

pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    error::add_to_linker::<T, Table>(linker, |t| WasiView::table(t))?;
    streams::add_to_linker::<T, Table>(linker, |t| WasiView::table(t))?;
    poll::add_to_linker::<T, Poll>(linker, |t| Poll(WasiView::table(t)))
}

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// The same table, with a bound on the length of a poll.
pub(crate) struct Poll<'a>(&'a mut ResourceTable);

impl HasData for Poll<'static> {
    type Data<'a> = Poll<'a>;
}

impl poll::Host for Poll<'_> {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        if pollables.len() > MAX_POLL {
            return Err(format_err!("poll: {} handles, at most {MAX_POLL} are waited for", pollables.len()));
        }
        poll::Host::poll(self.0, pollables).await
    }
}

impl poll::HostPollable for Poll<'_> {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::block(self.0, pollable).await
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        poll::HostPollable::ready(self.0, pollable).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(self.0, pollable)
    }
}
