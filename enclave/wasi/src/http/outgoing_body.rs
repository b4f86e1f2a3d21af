//! The resource `outgoing-body`.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi_io::streams::DynOutputStream;

use super::pipe::{Bounds, Of, Reader, Writer, pipe, room};
use super::quota::{Exhausted, Quota};
use super::{ErrorCode, Fields};
use crate::WasiCtx;
use crate::bindings::wasi::http::types::HostOutgoingBody;

/// The type of `outgoing-body`. Dropped before it is finished, the message it belongs to is cut off.
pub struct OutgoingBody {
    writer: Writer,
    stream_taken: bool,
    of: Of,
}

impl OutgoingBody {
    pub(super) fn new(bounds: Bounds, quota: &Quota) -> Result<(OutgoingBody, Reader), Exhausted> {
        let (writer, reader) = pipe(bounds, room(quota)?);
        Ok((OutgoingBody { writer, stream_taken: false, of: bounds.of }, reader))
    }
}

impl HostOutgoingBody for WasiCtx {
    fn write(&mut self, body: Resource<OutgoingBody>) -> Result<Result<Resource<DynOutputStream>, ()>> {
        let this = self.table.get_mut(&body)?;
        if std::mem::replace(&mut this.stream_taken, true) {
            return Ok(Err(()));
        }
        let stream: DynOutputStream = Box::new(this.writer.stream());
        Ok(Ok(self.table.push_child(stream, &body)?))
    }

    async fn finish(
        &mut self,
        body: Resource<OutgoingBody>,
        trailers: Option<Resource<Fields>>,
    ) -> Result<Result<(), ErrorCode>> {
        // Fails, as it should, while the stream lives.
        let OutgoingBody { writer, of, .. } = self.table.delete(body)?;
        let trailers = trailers.map(|trailers| self.table.delete(trailers)).transpose()?;
        if of == Of::Response {
            // Whoever sees the end of an answer may rely on what the app stored before it.
            self.files.flush().await?;
        }
        Ok(writer.finish(trailers.map(Fields::into_map)))
    }

    fn drop(&mut self, body: Resource<OutgoingBody>) -> Result<()> {
        self.table.delete(body)?;
        Ok(())
    }
}
