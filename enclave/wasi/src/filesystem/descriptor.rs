//! The functions of `wasi:filesystem` on top of the operations.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Resource;
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use super::cache::{Stop, Transaction};
use super::chunks::{self, At, MAX_TRANSFER};
use super::record::{Body, Entry, FileId, Inode, Kind, Position};
use super::streams::{FileReader, FileWriter, StreamCode};
use super::{CallFiles, ErrorCode, FsError, OpenFile, OpenSlot, tree};
use crate::WasiCtx;
use crate::bindings::wasi::clocks::wall_clock::Datetime;
use crate::bindings::wasi::filesystem::{preopens, types};
use types::{DescriptorFlags, DescriptorStat, DescriptorType, MetadataHashValue, NewTimestamp, OpenFlags};

/// Bytes of a path that are one unit of work ([`Turn`](crate::turn::Turn)).
const PATH_PER_UNIT: usize = 128;
/// One `write` takes at most this much, and says so.
const MAX_WRITE: usize = 1 << 20;

type FsResult<T> = Result<T, FsError>;

/// An open file or directory.
pub struct Descriptor {
    flags: DescriptorFlags,
    opened: Opened,
}

enum Opened {
    File(Arc<OpenFile>),
    Directory(FileId, #[expect(dead_code, reason = "held, not read")] OpenSlot),
}

impl OpenSlot {
    /// Opens what `open` finds. What it counted as open is counted off when the result is dropped.
    async fn open(self, open: impl FnMut(&mut Transaction<'_>) -> Result<Entry, Stop>) -> FsResult<Opened> {
        let files = self.0.clone();
        files.turn().spend(1).await;
        let (entry, changed) = files.call.cache.run(&files.call.world, open).await?;
        files.note(changed);
        let opened = match entry.kind {
            Kind::File => Opened::File(Arc::new(OpenFile { id: entry.id, slot: self })),
            Kind::Directory => Opened::Directory(entry.id, self),
        };
        files.call.reclaim();
        Ok(opened)
    }
}

impl Descriptor {
    fn id(&self) -> FileId {
        match &self.opened {
            Opened::File(file) => file.id,
            Opened::Directory(id, _) => *id,
        }
    }

    fn directory(&self) -> FsResult<FileId> {
        match &self.opened {
            Opened::File(_) => Err(ErrorCode::NotDirectory.into()),
            Opened::Directory(id, _) => Ok(*id),
        }
    }

    fn file(&self) -> FsResult<&Arc<OpenFile>> {
        match &self.opened {
            Opened::File(file) => Ok(file),
            Opened::Directory(..) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// Whether what `flags` name can be done with it; if not, a file answers as POSIX's `EBADF`.
    fn allows(&self, flags: DescriptorFlags) -> Result<(), ErrorCode> {
        if self.flags.contains(flags) { Ok(()) } else { Err(ErrorCode::BadDescriptor) }
    }

    fn readable(&self) -> FsResult<&Arc<OpenFile>> {
        let file = self.file()?;
        self.allows(DescriptorFlags::READ)?;
        Ok(file)
    }

    fn writable(&self) -> FsResult<&Arc<OpenFile>> {
        let file = self.file()?;
        self.allows(DescriptorFlags::WRITE)?;
        Ok(file)
    }

    /// A stream over it. One that the file was not opened for fails when it is used.
    fn writer(&self, at: At) -> FsResult<DynOutputStream> {
        let file = self.file()?.clone();
        Ok(Box::new(FileWriter::new(file, at, self.allows(DescriptorFlags::WRITE))))
    }
}

/// A walk through a directory.
pub struct DirectoryCursor {
    id: FileId,
    after: Option<Position>,
    _slot: OpenSlot,
}

fn kind_type(kind: Kind) -> DescriptorType {
    match kind {
        Kind::File => DescriptorType::RegularFile,
        Kind::Directory => DescriptorType::Directory,
    }
}

fn datetime(ns: u64) -> Option<Datetime> {
    let time = Duration::from_nanos(ns);
    Some(Datetime { seconds: time.as_secs(), nanoseconds: time.subsec_nanos() })
}

fn stat(inode: &Inode, link_count: u64) -> DescriptorStat {
    DescriptorStat {
        type_: kind_type(inode.kind()),
        link_count,
        size: match inode.body {
            Body::File { size } => size,
            Body::Directory { .. } => 0,
        },
        data_access_timestamp: datetime(inode.accessed),
        data_modification_timestamp: datetime(inode.modified),
        status_change_timestamp: datetime(inode.changed),
    }
}

/// Tells files apart, whatever becomes of them: C libraries take it for the number of the inode.
fn metadata_hash(id: FileId) -> MetadataHashValue {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, id).hash(&mut hasher);
        hasher.finish()
    };
    MetadataHashValue { lower: half(0), upper: half(1) }
}

/// Offsets and sizes that POSIX could not name.
pub(super) fn nameable(offset: u64) -> Result<u64, ErrorCode> {
    i64::try_from(offset).map(|_| offset).map_err(|_| ErrorCode::Invalid)
}

/// What to do with a time: leave it, take now, or set it.
enum NewTime {
    Keep,
    Now,
    At(u64),
}

fn new_time(time: NewTimestamp) -> FsResult<NewTime> {
    match time {
        NewTimestamp::NoChange => Ok(NewTime::Keep),
        NewTimestamp::Now => Ok(NewTime::Now),
        NewTimestamp::Timestamp(Datetime { seconds, nanoseconds }) => {
            let ns = seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(u64::from(nanoseconds)));
            ns.map(NewTime::At).ok_or(ErrorCode::Overflow.into())
        }
    }
}

impl CallFiles {
    async fn set_times(&self, id: FileId, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
        let (accessed, modified) = (new_time(accessed)?, new_time(modified)?);
        self.run(|tx| {
            let mut inode = tx.inode(id)?;
            for (field, new) in [(&mut inode.accessed, &accessed), (&mut inode.modified, &modified)] {
                match new {
                    NewTime::Keep => {}
                    NewTime::Now => *field = tx.now(),
                    NewTime::At(ns) => *field = *ns,
                }
            }
            inode.changed = tx.now();
            tx.put_inode(id, inode);
            Ok(())
        })
        .await
    }

    /// Pays for the walk along a path.
    async fn walk(&self, path: &str) {
        self.turn().take_in(path.len()).await;
        let units = path.len().min(tree::MAX_PATH) / PATH_PER_UNIT;
        self.turn().spend(u32::try_from(units).unwrap_or(u32::MAX)).await;
    }

    async fn inode_at(&self, base: FileId, path: &str) -> FsResult<(FileId, Inode)> {
        self.walk(path).await;
        self.run(|tx| {
            let Entry { id, .. } = tree::existing(tx, base, path)?;
            Ok((id, tx.inode(id)?))
        })
        .await
    }
}

impl WasiCtx {
    fn descriptor(&self, handle: &Resource<Descriptor>) -> FsResult<&Descriptor> {
        Ok(self.table.get(handle)?)
    }

    fn directory(&self, handle: &Resource<Descriptor>) -> FsResult<FileId> {
        self.descriptor(handle)?.directory()
    }
}

impl preopens::Host for WasiCtx {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let slot = self.files.open_slot().map_err(FsError::Code)?;
        let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
        let root = Descriptor { flags, opened: Opened::Directory(FileId::ROOT, slot) };
        Ok(vec![(self.table.push(root)?, "/".to_owned())])
    }
}

impl types::Host for WasiCtx {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.into_code()
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime_wasi_io::streams::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<StreamCode>().map(|code| code.0))
    }
}

impl types::HostDescriptor for WasiCtx {
    fn read_via_stream(
        &mut self,
        this: Resource<Descriptor>,
        offset: u64,
    ) -> FsResult<Resource<DynInputStream>> {
        let descriptor = self.descriptor(&this)?;
        let Opened::File(file) = &descriptor.opened else { return Err(ErrorCode::IsDirectory.into()) };
        let allowed = descriptor.allows(DescriptorFlags::READ);
        let stream: DynInputStream = Box::new(FileReader::new(file.clone(), offset, allowed));
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(
        &mut self,
        this: Resource<Descriptor>,
        offset: u64,
    ) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.descriptor(&this)?.writer(At::Offset(offset))?;
        Ok(self.table.push(stream)?)
    }

    fn append_via_stream(&mut self, this: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let stream = self.descriptor(&this)?.writer(At::End)?;
        Ok(self.table.push(stream)?)
    }

    async fn advise(
        &mut self,
        this: Resource<Descriptor>,
        _: u64,
        length: u64,
        _: types::Advice,
    ) -> FsResult<()> {
        self.descriptor(&this)?.file()?;
        nameable(length)?;
        Ok(())
    }

    async fn sync_data(&mut self, this: Resource<Descriptor>) -> FsResult<()> {
        self.descriptor(&this)?;
        Ok(self.files.sync().await?)
    }

    async fn sync(&mut self, this: Resource<Descriptor>) -> FsResult<()> {
        self.descriptor(&this)?;
        Ok(self.files.sync().await?)
    }

    fn get_flags(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        Ok(self.descriptor(&this)?.flags)
    }

    fn get_type(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorType> {
        Ok(match self.descriptor(&this)?.opened {
            Opened::File(_) => DescriptorType::RegularFile,
            Opened::Directory(..) => DescriptorType::Directory,
        })
    }

    async fn set_size(&mut self, this: Resource<Descriptor>, size: u64) -> FsResult<()> {
        let descriptor = self.descriptor(&this)?;
        let id = descriptor.file()?.id;
        descriptor.allows(DescriptorFlags::WRITE).map_err(|_| ErrorCode::Invalid)?;
        let size = nameable(size)?;
        self.files.run(|tx| chunks::resize(tx, id, size)).await
    }

    async fn set_times(
        &mut self,
        this: Resource<Descriptor>,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let id = self.descriptor(&this)?.id();
        self.files.set_times(id, accessed, modified).await
    }

    async fn read(
        &mut self,
        this: Resource<Descriptor>,
        length: u64,
        offset: u64,
    ) -> FsResult<(Vec<u8>, bool)> {
        let id = self.descriptor(&this)?.readable()?.id;
        nameable(offset.saturating_add(length.min(MAX_TRANSFER as u64)))?;
        let (bytes, _) = self.files.run(|tx| chunks::read(tx, id, offset, length)).await?;
        // The end is what gives nothing, as with POSIX.
        let end = bytes.is_empty();
        Ok((bytes, end))
    }

    async fn write(&mut self, this: Resource<Descriptor>, mut buffer: Vec<u8>, offset: u64) -> FsResult<u64> {
        self.turn.take_in(buffer.len()).await;
        let id = self.descriptor(&this)?.writable()?.id;
        nameable(offset.saturating_add(buffer.len() as u64))?;
        // It is kept while the store is waited for, outside the guest's own limit.
        buffer.truncate(MAX_WRITE);
        buffer.shrink_to_fit();
        let mut buffer = Bytes::from(buffer);
        let mut written = 0;
        while !buffer.is_empty() {
            let part = buffer.split_to(buffer.len().min(MAX_TRANSFER));
            let at = At::Offset(offset.saturating_add(written));
            match self.files.run(|tx| chunks::write(tx, id, at, &part)).await {
                Ok(_) => written += part.len() as u64,
                // What went before is written, and said so: the next call meets the error again.
                Err(FsError::Code(_)) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn read_directory(&mut self, this: Resource<Descriptor>) -> FsResult<Resource<DirectoryCursor>> {
        let id = self.directory(&this)?;
        let cursor = DirectoryCursor { id, after: None, _slot: self.files.open_slot()? };
        Ok(self.table.push(cursor)?)
    }

    async fn create_directory_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.files.walk(&path).await;
        let base = self.directory(&this)?;
        let id = self.files.new_id()?;
        self.files.run(|tx| tree::make_directory(tx, base, &path, id)).await
    }

    async fn stat(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let id = self.descriptor(&this)?.id();
        self.files.run(|tx| Ok(stat(&tx.inode(id)?, chunks::links(tx, id)?))).await
    }

    async fn stat_at(
        &mut self,
        this: Resource<Descriptor>,
        _: types::PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        self.turn.take_in(path.len()).await;
        let base = self.directory(&this)?;
        let (_, inode) = self.files.inode_at(base, &path).await?;
        Ok(stat(&inode, 1))
    }

    async fn set_times_at(
        &mut self,
        this: Resource<Descriptor>,
        _: types::PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.turn.take_in(path.len()).await;
        let base = self.directory(&this)?;
        let (id, _) = self.files.inode_at(base, &path).await?;
        self.files.set_times(id, accessed, modified).await
    }

    async fn link_at(
        &mut self,
        this: Resource<Descriptor>,
        flags: types::PathFlags,
        old: String,
        new_base: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        self.turn.take_in(old.len().saturating_add(new.len())).await;
        let base = self.directory(&this)?;
        self.directory(&new_base)?;
        if flags.contains(types::PathFlags::SYMLINK_FOLLOW) {
            return Err(ErrorCode::Invalid.into());
        }
        self.files.inode_at(base, &old).await?;
        Err(ErrorCode::Unsupported.into())
    }

    async fn open_at(
        &mut self,
        this: Resource<Descriptor>,
        _: types::PathFlags,
        path: String,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        self.files.walk(&path).await;
        let base = self.directory(&this)?;
        // Each write would wait for the store, which `sync` is for.
        let synchronous = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if flags.intersects(synchronous) {
            return Err(ErrorCode::Unsupported.into());
        }
        let slot = self.files.open_slot()?;
        let new = self.files.new_id()?;
        let mut how = tree::Open {
            create: open.contains(OpenFlags::CREATE),
            exclusive: open.contains(OpenFlags::EXCLUSIVE),
            truncate: open.contains(OpenFlags::TRUNCATE),
            directory: open.contains(OpenFlags::DIRECTORY),
            write: flags.contains(DescriptorFlags::WRITE),
        };
        let mut flags = flags & (DescriptorFlags::READ | DescriptorFlags::WRITE);
        if !how.write {
            flags |= DescriptorFlags::READ;
        }
        // Whoever makes or empties a file writes it.
        how.write |= how.create || how.truncate;
        if how.write {
            flags |= DescriptorFlags::WRITE;
        }
        let opened = slot.open(|tx| tree::open(tx, base, &path, how, new)).await?;
        Ok(self.table.push(Descriptor { flags, opened })?)
    }

    async fn readlink_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.turn.take_in(path.len()).await;
        let base = self.directory(&this)?;
        self.files.inode_at(base, &path).await?;
        Err(ErrorCode::Invalid.into())
    }

    async fn remove_directory_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.files.walk(&path).await;
        let base = self.directory(&this)?;
        self.files.run(|tx| tree::remove_directory(tx, base, &path)).await
    }

    async fn rename_at(
        &mut self,
        this: Resource<Descriptor>,
        old: String,
        new_base: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        self.files.walk(&old).await;
        self.files.walk(&new).await;
        let (base, new_base) = (self.directory(&this)?, self.directory(&new_base)?);
        self.files.run(|tx| tree::rename(tx, base, &old, new_base, &new)).await
    }

    async fn symlink_at(&mut self, this: Resource<Descriptor>, old: String, new: String) -> FsResult<()> {
        self.turn.take_in(old.len().saturating_add(new.len())).await;
        self.directory(&this)?;
        Err(ErrorCode::Unsupported.into())
    }

    async fn unlink_file_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        self.files.walk(&path).await;
        let base = self.directory(&this)?;
        self.files.run(|tx| tree::unlink(tx, base, &path)).await
    }

    fn is_same_object(
        &mut self,
        this: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        Ok(self.table.get(&this)?.id() == self.table.get(&other)?.id())
    }

    async fn metadata_hash(&mut self, this: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        let id = self.descriptor(&this)?.id();
        self.files.run(|tx| tx.inode(id).map(|_| metadata_hash(id))).await
    }

    async fn metadata_hash_at(
        &mut self,
        this: Resource<Descriptor>,
        _: types::PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        self.turn.take_in(path.len()).await;
        let base = self.directory(&this)?;
        let (id, _) = self.files.inode_at(base, &path).await?;
        Ok(metadata_hash(id))
    }

    fn drop(&mut self, this: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl types::HostDirectoryEntryStream for WasiCtx {
    async fn read_directory_entry(
        &mut self,
        this: Resource<DirectoryCursor>,
    ) -> FsResult<Option<types::DirectoryEntry>> {
        let cursor = self.table.get(&this)?;
        let (id, after) = (cursor.id, cursor.after.clone());
        let next = self.files.run(|tx| tree::next_entry(tx, id, after.as_ref())).await?;
        let Some((position, entry)) = next else { return Ok(None) };
        let name = position.1.clone();
        self.table.get_mut(&this)?.after = Some(position);
        Ok(Some(types::DirectoryEntry { type_: kind_type(entry.kind), name }))
    }

    fn drop(&mut self, this: Resource<DirectoryCursor>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
