//! SGXS: the file form of an enclave, as EDP's tools write it. It is what ECREATE, EADD and EEXTEND measure,
//! block for block, with the bytes of each measured chunk behind its block.
//!
//! | block (64 bytes) | tag, 8 bytes | then |
//! |---|---|---|
//! | ECREATE, first and once | `ECREATE\0` | u32 SSAFRAMESIZE, u64 SIZE, zeros |
//! | EADD, one for each page | `EADD\0\0\0\0` | u64 offset, the first 48 bytes of SECINFO |
//! | EEXTEND, with 256 bytes behind it | `EEXTEND\0` | u64 offset, zeros |
//! | the same, loaded but not measured | `UNMEASRD` | u64 offset, zeros |
//!
//! Chunks lie behind the EADD of their page, in ascending order; what a page has no chunk for is zero.

use crate::keys::field;
use crate::measurement::{CHUNK_SIZE, PAGE_SIZE, Secinfo};

const BLOCK: usize = 64;
const ECREATE: [u8; 8] = *b"ECREATE\0";
const EADD: [u8; 8] = *b"EADD\0\0\0\0";
const EEXTEND: [u8; 8] = *b"EEXTEND\0";
const UNMEASURED: [u8; 8] = *b"UNMEASRD";

/// Why bytes are not an SGXS file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at:#x} of the SGXS file: {what}")]
pub struct SgxsError {
    /// Where the block begins that is wrong.
    pub at: usize,
    /// What is wrong with it.
    pub what: SgxsFault,
}

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SgxsFault {
    /// The file ends within a block or the bytes behind it.
    #[error("the file was cut off here")]
    CutOff,
    /// Another tag than the four, or one where it may not stand.
    #[error("no block of an SGXS file can begin here")]
    UnexpectedTag,
    /// A reserved byte that is not zero.
    #[error("a reserved byte of the block is set")]
    Reserved,
    /// A chunk that is not of the page before it, or not behind the chunk before it.
    #[error("the chunk is no chunk of the page before it, or stands before one that must come first")]
    ChunkOutOfPlace,
}

/// An SGXS file: its ECREATE block, and its pages still to be read.
#[derive(Clone, Copy, Debug)]
pub struct Sgxs<'a> {
    /// SECS.SSAFRAMESIZE, in pages.
    pub ssa_frame_size: u32,
    /// SECS.SIZE, in bytes.
    pub size: u64,
    file: &'a [u8],
}

impl<'a> Sgxs<'a> {
    /// Reads the ECREATE block.
    ///
    /// # Errors
    /// [`SgxsError`] if the file does not begin with one.
    pub fn parse(file: &'a [u8]) -> Result<Self, SgxsError> {
        let error = |what| SgxsError { at: 0, what };
        let block: &[u8; BLOCK] = file.first_chunk().ok_or(error(SgxsFault::CutOff))?;
        if field(block, 0) != ECREATE {
            return Err(error(SgxsFault::UnexpectedTag));
        }
        if block[20..].iter().any(|&b| b != 0) {
            return Err(error(SgxsFault::Reserved));
        }
        Ok(Self {
            ssa_frame_size: u32::from_le_bytes(field(block, 8)),
            size: u64::from_le_bytes(field(block, 12)),
            file,
        })
    }

    /// The pages in the order of the file. After an error there are no more.
    pub fn pages(&self) -> Pages<'a> {
        Pages { file: self.file, at: BLOCK }
    }
}

/// A page: its EADD block and the chunks behind it.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Where it lies, from the enclave's base.
    pub offset: u64,
    /// SECINFO as EADD takes it, not yet checked.
    pub secinfo: [u8; Secinfo::LEN],
    chunks: &'a [u8],
}

/// 256 bytes of a page.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// Where it lies, from the enclave's base.
    pub offset: u64,
    /// What it holds.
    pub data: &'a [u8; CHUNK_SIZE],
    /// Whether EEXTEND measures it.
    pub measured: bool,
}

impl<'a> Page<'a> {
    /// The chunks in ascending order. None of a page means a page of zeros.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'a>> + use<'a> {
        // Pages were made of whole chunks only.
        self.chunks.as_chunks::<{ BLOCK + CHUNK_SIZE }>().0.iter().filter_map(|chunk| {
            let (block, data) = chunk.split_first_chunk::<BLOCK>()?;
            Some(Chunk {
                offset: u64::from_le_bytes(field(block, 8)),
                data: data.first_chunk()?,
                measured: field(block, 0) == EEXTEND,
            })
        })
    }
}

/// The pages of an SGXS file.
#[derive(Clone, Debug)]
pub struct Pages<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Pages<'a> {
    fn rest(&self) -> &'a [u8] {
        self.file.get(self.at..).unwrap_or_default()
    }

    fn page(&mut self, block: &[u8; BLOCK]) -> Result<Page<'a>, SgxsFault> {
        if field(block, 0) != EADD {
            return Err(SgxsFault::UnexpectedTag);
        }
        let offset = u64::from_le_bytes(field(block, 8));
        let mut secinfo = [0; Secinfo::LEN];
        secinfo[..48].copy_from_slice(&block[16..]);
        self.at += BLOCK;
        let start = self.at;
        let mut next = offset;
        while let Some(block) = self.rest().first_chunk::<BLOCK>()
            && matches!(field(block, 0), EEXTEND | UNMEASURED)
        {
            let chunk_at = u64::from_le_bytes(field(block, 8));
            // Within the page: the distance fits, and is small.
            if chunk_at < next
                || chunk_at - offset >= PAGE_SIZE as u64
                || !(chunk_at - offset).is_multiple_of(CHUNK_SIZE as u64)
            {
                return Err(SgxsFault::ChunkOutOfPlace);
            }
            if block[16..].iter().any(|&b| b != 0) {
                return Err(SgxsFault::Reserved);
            }
            if self.rest().len() < BLOCK + CHUNK_SIZE {
                return Err(SgxsFault::CutOff);
            }
            next = chunk_at.saturating_add(CHUNK_SIZE as u64);
            self.at += BLOCK + CHUNK_SIZE;
        }
        Ok(Page { offset, secinfo, chunks: &self.file[start..self.at] })
    }
}

impl<'a> Iterator for Pages<'a> {
    type Item = Result<Page<'a>, SgxsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        let page = match rest.first_chunk() {
            Some(block) => self.page(block),
            None => Err(SgxsFault::CutOff),
        };
        let page = page.map_err(|what| SgxsError { at: self.at, what });
        if page.is_err() {
            self.at = self.file.len();
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests;
