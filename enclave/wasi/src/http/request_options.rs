//! The resource `request-options`.

use std::time::Duration;

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::WasiCtx;
use crate::bindings::wasi::http::types::HostRequestOptions;

/// The type of `request-options`: times in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestOptions {
    connect: Option<u64>,
    first_byte: Option<u64>,
    between_bytes: Option<u64>,
}

/// Until TLS stands, unless the guest wants less.
const CONNECT: Duration = Duration::from_secs(10);
/// For the head of the response, and between two pieces of its body, unless the guest says otherwise.
const WAIT: Duration = Duration::from_secs(60);
/// The longest of these times.
const LONGEST: Duration = Duration::from_secs(600);

impl RequestOptions {
    pub(super) fn connect(&self) -> Duration {
        self.connect.map_or(CONNECT, |time| Duration::from_nanos(time).min(CONNECT))
    }

    pub(super) fn first_byte(&self) -> Duration {
        self.first_byte.map_or(WAIT, |time| Duration::from_nanos(time).min(LONGEST))
    }

    pub(super) fn between_bytes(&self) -> Duration {
        self.between_bytes.map_or(WAIT, |time| Duration::from_nanos(time).min(LONGEST))
    }
}

impl HostRequestOptions for WasiCtx {
    fn new(&mut self) -> Result<Resource<RequestOptions>> {
        Ok(self.table.push(RequestOptions::default())?)
    }

    fn connect_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(self.table.get(&options)?.connect)
    }

    fn set_connect_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        time: Option<u64>,
    ) -> Result<Result<(), ()>> {
        self.table.get_mut(&options)?.connect = time;
        Ok(Ok(()))
    }

    fn first_byte_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(self.table.get(&options)?.first_byte)
    }

    fn set_first_byte_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        time: Option<u64>,
    ) -> Result<Result<(), ()>> {
        self.table.get_mut(&options)?.first_byte = time;
        Ok(Ok(()))
    }

    fn between_bytes_timeout(&mut self, options: Resource<RequestOptions>) -> Result<Option<u64>> {
        Ok(self.table.get(&options)?.between_bytes)
    }

    fn set_between_bytes_timeout(
        &mut self,
        options: Resource<RequestOptions>,
        time: Option<u64>,
    ) -> Result<Result<(), ()>> {
        self.table.get_mut(&options)?.between_bytes = time;
        Ok(Ok(()))
    }

    fn drop(&mut self, options: Resource<RequestOptions>) -> Result<()> {
        self.table.delete(options)?;
        Ok(())
    }
}
