//! Encodes and decodes fields. All integers are little-endian.

use byteorder::{ByteOrder as _, LittleEndian};

use super::error::ContentProblem;

/// Reads consecutive fields, never beyond the end.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], ContentProblem> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(ContentProblem::Short)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ContentProblem> {
        self.bytes(1)?.first().copied().ok_or(ContentProblem::Short)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ContentProblem> {
        Ok(LittleEndian::read_u16(self.bytes(2)?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ContentProblem> {
        Ok(LittleEndian::read_u32(self.bytes(4)?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ContentProblem> {
        Ok(LittleEndian::read_u64(self.bytes(8)?))
    }

    /// A variable-length integer, seven bits per byte; only the shortest encoding is accepted.
    pub(crate) fn varint(&mut self) -> Result<u64, ContentProblem> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                return Err(ContentProblem::Field("varint"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ContentProblem::Field("varint"))
    }

    /// A count of items of `size` bytes each that follow; at most as many as the remaining bytes allow, so the count
    /// is safe for an allocation.
    pub(crate) fn count(&mut self, size: usize) -> Result<usize, ContentProblem> {
        let count = self.u32()? as usize;
        match count.checked_mul(size) {
            Some(bytes) if bytes <= self.rest.len() => Ok(count),
            _ => Err(ContentProblem::Short),
        }
    }

    /// Number of remaining bytes.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All remaining bytes.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn finish(&self) -> Result<(), ContentProblem> {
        if self.rest.is_empty() { Ok(()) } else { Err(ContentProblem::Trailing) }
    }
}

/// Appends fields to a buffer.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u16(&mut self, v: u16) {
        self.put(&v.to_le_bytes());
    }

    fn put_u32(&mut self, v: u32) {
        self.put(&v.to_le_bytes());
    }

    fn put_u64(&mut self, v: u64) {
        self.put(&v.to_le_bytes());
    }

    /// See [`Cursor::varint`].
    fn put_varint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.put(&[v.to_le_bytes()[0] | 0x80]);
            v >>= 7;
        }
        self.put(&[v.to_le_bytes()[0]]);
    }

    /// A length or count. Anything longer than 4 GiB does not fit into a record and is refused by the log below.
    fn put_len(&mut self, len: usize) {
        self.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_larger_than_the_input_is_refused_before_anything_is_allocated() {
        let mut bytes = Vec::new();
        bytes.put_u32(u32::MAX);
        bytes.put_u64(7);
        assert_eq!(Cursor::new(&bytes).count(8), Err(ContentProblem::Short));
    }

    #[test]
    fn a_varint_has_one_spelling() {
        for v in [0, 1, 127, 128, 16383, 16384, u64::MAX >> 1, u64::MAX] {
            let mut bytes = Vec::new();
            bytes.put_varint(v);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(cursor.varint(), Ok(v));
            cursor.finish().unwrap();
        }
        Cursor::new(&[0x80, 0]).varint().unwrap_err();
        Cursor::new(&[0xff; 10]).varint().unwrap_err();
        Cursor::new(&[0xff]).varint().unwrap_err();
    }
}
