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
            Opened::Directory(..) => Err(ErrorCode::IsDirectory.into()),
        }
    }

    fn readable(&self) -> FsResult<&Arc<OpenFile>> {
        let file = self.file()?;
        if self.flags.contains(DescriptorFlags::READ) {
            Ok(file)
        } else {
            Err(ErrorCode::NotPermitted.into())
        }
    }

    fn writable(&self) -> FsResult<&Arc<OpenFile>> {
        let file = self.file()?;
        if self.flags.contains(DescriptorFlags::WRITE) {
            Ok(file)
        } else {
            Err(ErrorCode::NotPermitted.into())
        }
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

fn stat(inode: &Inode) -> DescriptorStat {
    DescriptorStat {
        type_: kind_type(inode.kind()),
        link_count: 1,
        size: match inode.body {
            Body::File { size } => size,
            Body::Directory { .. } => 0,
        },
        data_access_timestamp: datetime(inode.accessed),
        data_modification_timestamp: datetime(inode.modified),
        status_change_timestamp: datetime(inode.changed),
    }
}

/// Tells apart files and versions of a file; within one run of the enclave equal means equal.
fn metadata_hash(id: FileId, inode: &Inode) -> MetadataHashValue {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        let stat = stat(inode);
        (salt, id, inode.modified, inode.changed, stat.size).hash(&mut hasher);
        hasher.finish()
    };
    MetadataHashValue { lower: half(0), upper: half(1) }
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
            ns.filter(|_| nanoseconds < 1_000_000_000).map(NewTime::At).ok_or(ErrorCode::Invalid.into())
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
        let file = self.descriptor(&this)?.readable()?.clone();
        let stream: DynInputStream = Box::new(FileReader::new(file, offset));
        Ok(self.table.push(stream)?)
    }

    fn write_via_stream(
        &mut self,
        this: Resource<Descriptor>,
        offset: u64,
    ) -> FsResult<Resource<DynOutputStream>> {
        let file = self.descriptor(&this)?.writable()?.clone();
        let stream: DynOutputStream = Box::new(FileWriter::new(file, At::Offset(offset)));
        Ok(self.table.push(stream)?)
    }

    fn append_via_stream(&mut self, this: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        let file = self.descriptor(&this)?.writable()?.clone();
        let stream: DynOutputStream = Box::new(FileWriter::new(file, At::End));
        Ok(self.table.push(stream)?)
    }

    async fn advise(&mut self, this: Resource<Descriptor>, _: u64, _: u64, _: types::Advice) -> FsResult<()> {
        self.descriptor(&this)?.file()?;
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
        let id = self.descriptor(&this)?.writable()?.id;
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
        self.files.run(|tx| chunks::read(tx, id, offset, length)).await
    }

    async fn write(&mut self, this: Resource<Descriptor>, mut buffer: Vec<u8>, offset: u64) -> FsResult<u64> {
        let id = self.descriptor(&this)?.writable()?.id;
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
        let base = self.directory(&this)?;
        let id = self.files.new_id()?;
        self.files.walk(&path).await;
        self.files.run(|tx| tree::make_directory(tx, base, &path, id)).await
    }

    async fn stat(&mut self, this: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        let id = self.descriptor(&this)?.id();
        self.files.run(|tx| Ok(stat(&tx.inode(id)?))).await
    }

    async fn stat_at(
        &mut self,
        this: Resource<Descriptor>,
        _: types::PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let base = self.directory(&this)?;
        let (_, inode) = self.files.inode_at(base, &path).await?;
        Ok(stat(&inode))
    }

    async fn set_times_at(
        &mut self,
        this: Resource<Descriptor>,
        _: types::PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        let base = self.directory(&this)?;
        let (id, _) = self.files.inode_at(base, &path).await?;
        self.files.set_times(id, accessed, modified).await
    }

    async fn link_at(
        &mut self,
        this: Resource<Descriptor>,
        _: types::PathFlags,
        old: String,
        new_base: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        let base = self.directory(&this)?;
        self.directory(&new_base)?;
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
        let base = self.directory(&this)?;
        let slot = self.files.open_slot()?;
        let new = self.files.new_id()?;
        let how = tree::Open {
            create: open.contains(OpenFlags::CREATE),
            exclusive: open.contains(OpenFlags::EXCLUSIVE),
            truncate: open.contains(OpenFlags::TRUNCATE),
            directory: open.contains(OpenFlags::DIRECTORY),
            write: flags.contains(DescriptorFlags::WRITE),
        };
        let mut flags = flags & (DescriptorFlags::READ | DescriptorFlags::WRITE);
        if flags == DescriptorFlags::default() {
            flags = DescriptorFlags::READ;
        }
        self.files.walk(&path).await;
        let opened = slot.open(|tx| tree::open(tx, base, &path, how, new)).await?;
        if matches!(opened, Opened::Directory(..)) {
            flags |= DescriptorFlags::MUTATE_DIRECTORY;
        }
        Ok(self.table.push(Descriptor { flags, opened })?)
    }

    async fn readlink_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<String> {
        let base = self.directory(&this)?;
        self.files.inode_at(base, &path).await?;
        Err(ErrorCode::Invalid.into())
    }

    async fn remove_directory_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        let base = self.directory(&this)?;
        self.files.walk(&path).await;
        self.files.run(|tx| tree::remove_directory(tx, base, &path)).await
    }

    async fn rename_at(
        &mut self,
        this: Resource<Descriptor>,
        old: String,
        new_base: Resource<Descriptor>,
        new: String,
    ) -> FsResult<()> {
        let (base, new_base) = (self.directory(&this)?, self.directory(&new_base)?);
        self.files.walk(&old).await;
        self.files.walk(&new).await;
        self.files.run(|tx| tree::rename(tx, base, &old, new_base, &new)).await
    }

    async fn symlink_at(&mut self, this: Resource<Descriptor>, _: String, _: String) -> FsResult<()> {
        self.directory(&this)?;
        Err(ErrorCode::Unsupported.into())
    }

    async fn unlink_file_at(&mut self, this: Resource<Descriptor>, path: String) -> FsResult<()> {
        let base = self.directory(&this)?;
        self.files.walk(&path).await;
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
        self.files.run(|tx| Ok(metadata_hash(id, &tx.inode(id)?))).await
    }

    async fn metadata_hash_at(
        &mut self,
        this: Resource<Descriptor>,
        _: types::PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let base = self.directory(&this)?;
        let (id, inode) = self.files.inode_at(base, &path).await?;
        Ok(metadata_hash(id, &inode))
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
