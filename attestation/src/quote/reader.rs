//! Takes little-endian fields off a slice, and says within which part it ended.

use super::ParseError;

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn bytes(&mut self, count: usize, part: &'static str) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ParseError::Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn reference<const N: usize>(
        &mut self,
        part: &'static str,
    ) -> Result<&'a [u8; N], ParseError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ParseError::Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], ParseError> {
        self.reference(part).copied()
    }

    pub(super) fn u16(&mut self, part: &'static str) -> Result<u16, ParseError> {
        self.array(part).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, part: &'static str) -> Result<u32, ParseError> {
        self.array(part).map(u32::from_le_bytes)
    }

    /// A length that does not fit the address space is longer than what is left.
    pub(super) fn length_u32(&mut self, part: &'static str) -> Result<usize, ParseError> {
        usize::try_from(self.u32(part)?).map_err(|_| ParseError::Truncated(part))
    }

    /// Demands that nothing is left.
    pub(super) fn end(&self, after: &'static str) -> Result<(), ParseError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(ParseError::LeftOver { count, after }),
        }
    }
}
