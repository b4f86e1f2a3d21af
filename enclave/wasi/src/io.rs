//! `wasi:io@0.2` is `wasmtime-wasi-io`; this file bounds what a guest may wait for and write at once.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime::{Result, format_err};
use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};
use wasmtime_wasi_io::poll::DynPollable;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream, StreamError, StreamResult};

use crate::{WasiCtx, WasiView};

/// Handles in one `poll`.
const MAX_POLL: usize = 4096;
/// The most that `check-write` permits. More is a trap (wasi:io/streams, `write`), whatever state the stream is in: what
/// is written was copied out of the guest by then, at nobody's charge.
const MAX_WRITE: usize = 64 << 10;
/// Handles of a `poll` that are one unit of work ([`Turn`](crate::turn::Turn)).
const POLLED_PER_UNIT: usize = 32;

pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> Result<()> {
    error::add_to_linker::<T, Table>(linker, |t| WasiView::table(t))?;
    streams::add_to_linker::<T, Streams>(linker, |t| Streams(WasiView::table(t)))?;
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

/// The same table, with a bound on one `write`.
pub(crate) struct Streams<'a>(&'a mut ResourceTable);

impl HasData for Streams<'static> {
    type Data<'a> = Streams<'a>;
}

impl streams::Host for Streams<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.0, error)
    }
}

impl streams::HostOutputStream for Streams<'_> {
    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        at_once(bytes.len())?;
        streams::HostOutputStream::write(self.0, stream, bytes)
    }

    async fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        at_once(bytes.len())?;
        streams::HostOutputStream::blocking_write_and_flush(self.0, stream, bytes).await
    }

    async fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        streams::HostOutputStream::drop(self.0, stream).await
    }

    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        let permitted = streams::HostOutputStream::check_write(self.0, stream)?;
        Ok(permitted.min(MAX_WRITE as u64))
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        streams::HostOutputStream::subscribe(self.0, stream)
    }

    async fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        len: u64,
    ) -> StreamResult<()> {
        streams::HostOutputStream::blocking_write_zeroes_and_flush(self.0, stream, len).await
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        streams::HostOutputStream::write_zeroes(self.0, stream, len)
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        streams::HostOutputStream::flush(self.0, stream)
    }

    async fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        streams::HostOutputStream::blocking_flush(self.0, stream).await
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        streams::HostOutputStream::splice(self.0, to, from, len)
    }

    async fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        streams::HostOutputStream::blocking_splice(self.0, to, from, len).await
    }
}

impl streams::HostInputStream for Streams<'_> {
    async fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        streams::HostInputStream::drop(self.0, stream).await
    }

    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        streams::HostInputStream::read(self.0, stream, len)
    }

    async fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        streams::HostInputStream::blocking_read(self.0, stream, len).await
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        streams::HostInputStream::skip(self.0, stream, len)
    }

    async fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        streams::HostInputStream::blocking_skip(self.0, stream, len).await
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        streams::HostInputStream::subscribe(self.0, stream)
    }
}

fn at_once(len: usize) -> StreamResult<()> {
    if len <= MAX_WRITE {
        return Ok(());
    }
    Err(StreamError::Trap(format_err!("write: {len} bytes, at most {MAX_WRITE} are permitted at once")))
}

#[cfg(test)]
mod tests {
    use streams::HostOutputStream;
    use wasmtime_wasi_io::async_trait;
    use wasmtime_wasi_io::bytes::Bytes;
    use wasmtime_wasi_io::poll::Pollable;
    use wasmtime_wasi_io::streams::OutputStream;

    use super::*;

    /// Closed: it does not look at what is written.
    struct Closed;

    #[async_trait]
    impl Pollable for Closed {
        async fn ready(&mut self) {}
    }

    #[async_trait]
    impl OutputStream for Closed {
        fn write(&mut self, _: Bytes) -> StreamResult<()> {
            Err(StreamError::Closed)
        }

        fn flush(&mut self) -> StreamResult<()> {
            Err(StreamError::Closed)
        }

        fn check_write(&mut self) -> StreamResult<usize> {
            Err(StreamError::Closed)
        }
    }

    #[test]
    fn more_than_any_permit_is_a_trap_whatever_the_stream() {
        let mut table = ResourceTable::new();
        let closed: DynOutputStream = Box::new(Closed);
        let stream = table.push(closed).unwrap();
        let mut write = |len| Streams(&mut table).write(Resource::new_borrow(stream.rep()), vec![0; len]);
        assert!(matches!(write(MAX_WRITE), Err(StreamError::Closed)));
        assert!(matches!(write(MAX_WRITE + 1), Err(StreamError::Trap(_))));
    }
}
