//! Streams over files.

use std::sync::Arc;

use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{InputStream, OutputStream, StreamError, StreamResult};

use super::chunks::{self, At, MAX_TRANSFER};
use super::descriptor::nameable;
use super::storage::BoxFuture;
use super::{ErrorCode, FsError, Held, OpenFile};

/// What a stream takes at once while the streams of its call hold as much as they may.
const LITTLE: usize = 64;

/// The error behind `last-operation-failed`, found again by `filesystem-error-code`.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("filesystem error: {0:?}")]
pub(super) struct StreamCode(pub(super) ErrorCode);

impl From<FsError> for StreamError {
    fn from(error: FsError) -> Self {
        match error.into_code() {
            Ok(code) => StreamError::LastOperationFailed(StreamCode(code).into()),
            Err(trap) => StreamError::Trap(trap),
        }
    }
}

/// Reads a file from an offset on.
pub(super) struct FileReader {
    file: Arc<OpenFile>,
    position: u64,
    state: Reading,
}

enum Reading {
    Idle,
    Waiting(BoxFuture<'static, Result<Bytes, FsError>>),
    Read(Bytes, Held),
    /// There is something to read, in the cache: nothing is held here.
    Ready,
    Failed(FsError),
    Closed,
}

impl FileReader {
    /// From `position` on; if it is not `allowed`, it fails when it is used.
    pub(super) fn new(file: Arc<OpenFile>, position: u64, allowed: Result<(), ErrorCode>) -> Self {
        let state = match allowed.and_then(|()| nameable(position)) {
            Ok(_) => Reading::Idle,
            Err(code) => Reading::Failed(code.into()),
        };
        FileReader { file, position, state }
    }

    fn hold(&self, bytes: Bytes) -> Reading {
        let held = self.file.files().hold(bytes.len());
        Reading::Read(bytes, held)
    }

    fn start(&self, size: usize) -> BoxFuture<'static, Result<Bytes, FsError>> {
        let (file, position) = (self.file.clone(), self.position);
        let wanted = size.min(MAX_TRANSFER) as u64;
        Box::pin(async move {
            let read = file.files().run(|tx| chunks::read(tx, file.id, position, wanted));
            Ok(read.await?.0.into())
        })
    }
}

#[async_trait]
impl Pollable for FileReader {
    async fn ready(&mut self) {
        if matches!(self.state, Reading::Idle) {
            self.state = Reading::Waiting(self.start(MAX_TRANSFER));
        }
        if let Reading::Waiting(read) = &mut self.state {
            self.state = match read.await {
                Ok(bytes) if self.file.files().has_room() => self.hold(bytes),
                Ok(_) => Reading::Ready,
                Err(error) => Reading::Failed(error),
            };
        }
    }
}

#[async_trait]
impl InputStream for FileReader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if matches!(self.state, Reading::Idle | Reading::Ready) && size > 0 {
            let (id, position, wanted) = (self.file.id, self.position, size.min(MAX_TRANSFER) as u64);
            match self.file.files().try_run(|tx| chunks::read(tx, id, position, wanted)) {
                Ok(Some((bytes, _))) => self.state = self.hold(bytes.into()),
                Ok(None) => self.state = Reading::Waiting(self.start(MAX_TRANSFER)),
                Err(error) => self.state = Reading::Failed(error),
            }
        }
        match std::mem::replace(&mut self.state, Reading::Idle) {
            Reading::Idle | Reading::Ready => Ok(Bytes::new()),
            Reading::Waiting(read) => {
                self.state = Reading::Waiting(read);
                Ok(Bytes::new())
            }
            Reading::Read(bytes, _) if bytes.is_empty() => {
                self.state = Reading::Closed;
                Err(StreamError::Closed)
            }
            Reading::Read(mut bytes, held) => {
                let taken = bytes.split_to(size.min(bytes.len()));
                self.position += taken.len() as u64;
                if !bytes.is_empty() {
                    self.state = Reading::Read(bytes, held);
                }
                Ok(taken)
            }
            Reading::Failed(error) => {
                self.state = Reading::Closed;
                Err(error.into())
            }
            Reading::Closed => {
                self.state = Reading::Closed;
                Err(StreamError::Closed)
            }
        }
    }

    /// Reads no more than is asked for, so that what others write behind it meanwhile is seen.
    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if matches!(self.state, Reading::Waiting(_)) {
            self.ready().await;
        }
        if matches!(self.state, Reading::Idle | Reading::Ready) && size > 0 {
            self.state = match self.start(size).await {
                Ok(bytes) => self.hold(bytes),
                Err(error) => Reading::Failed(error),
            };
        }
        self.read(size)
    }
}

/// Writes a file from an offset on, or at its end.
pub(super) struct FileWriter {
    file: Arc<OpenFile>,
    at: At,
    allowed: Result<(), ErrorCode>,
    state: Writing,
}

enum Writing {
    Idle,
    Waiting(BoxFuture<'static, Result<u64, FsError>>),
    Failed(FsError),
    Closed,
}

impl FileWriter {
    /// From `at` on; if it is not `allowed`, its first write fails.
    pub(super) fn new(file: Arc<OpenFile>, at: At, allowed: Result<(), ErrorCode>) -> Self {
        let allowed = allowed.and_then(|()| match at {
            At::Offset(offset) => nameable(offset).map(drop),
            At::End => Ok(()),
        });
        FileWriter { file, at, allowed, state: Writing::Idle }
    }

    fn wrote(&mut self, result: Result<u64, FsError>) {
        match result {
            Ok(end) => {
                if let At::Offset(offset) = &mut self.at {
                    *offset = end;
                }
                self.state = Writing::Idle;
            }
            Err(error) => self.state = Writing::Failed(error),
        }
    }

    fn check(&mut self) -> StreamResult<()> {
        match std::mem::replace(&mut self.state, Writing::Closed) {
            Writing::Failed(error) => Err(error.into()),
            Writing::Closed => Err(StreamError::Closed),
            state => {
                self.state = state;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl Pollable for FileWriter {
    async fn ready(&mut self) {
        if let Writing::Waiting(write) = &mut self.state {
            let result = write.await;
            self.wrote(result);
        }
    }
}

#[async_trait]
impl OutputStream for FileWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.check_write()? < bytes.len() {
            return Err(StreamError::trap("output-stream: more was written than check-write permitted"));
        }
        if let Err(code) = self.allowed {
            self.state = Writing::Failed(code.into());
            return Ok(());
        }
        let (id, at) = (self.file.id, self.at);
        match self.file.files().try_run(|tx| chunks::write(tx, id, at, &bytes)) {
            Ok(Some(end)) => self.wrote(Ok(end)),
            Ok(None) => {
                let file = self.file.clone();
                let held = file.files().hold(bytes.len());
                self.state = Writing::Waiting(Box::pin(async move {
                    let _held = held;
                    file.files().run(|tx| chunks::write(tx, id, at, &bytes)).await
                }));
            }
            Err(error) => self.state = Writing::Failed(error),
        }
        Ok(())
    }

    /// Nothing is kept back in the stream, so there is nothing to push on. Durability is `sync`'s business.
    fn flush(&mut self) -> StreamResult<()> {
        self.check()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.check()?;
        Ok(match self.state {
            Writing::Waiting(_) => 0,
            _ if self.file.files().has_room() => MAX_TRANSFER,
            _ => LITTLE,
        })
    }

    /// Lets a write that waits for the store come to its end before the stream goes.
    async fn cancel(&mut self) {
        self.ready().await;
    }
}
