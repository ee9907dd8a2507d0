//! The bytes of a block, padded with zeros, in reused memory.
//!
//! ```text
//!   header | records | zeros .............. |
//!                    ^ end          ^ padded length
//! ```
//!
//! **Every byte from `end` on is zero.** So padding a block costs nothing, and preparing the buffer for the next block
//! clears what this one used: 100 bytes for a small record, not the 4096 that its block takes in the log.

use crate::format::block::BLOCK_HEADER;

/// A used buffer is cleared up to this length; a longer one is started over, which costs only the padding.
const LITTLE: usize = 4096;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    end: usize,
    padded: usize,
}

impl Buffer {
    /// Empties the buffer except for the space for a header.
    pub(super) fn begin(&mut self) {
        if self.end <= LITTLE {
            self.bytes.split_at_mut(self.end).0.fill(0);
        } else {
            self.bytes.clear();
        }
        if self.bytes.len() < BLOCK_HEADER {
            self.bytes.resize(BLOCK_HEADER, 0);
        }
        (self.end, self.padded) = (BLOCK_HEADER, 0);
    }

    /// The length without padding.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Appends these bytes; returns them in place.
    pub(super) fn append(&mut self, more: &[u8]) -> &mut [u8] {
        let at = self.end;
        self.end += more.len();
        if self.end > self.bytes.len() {
            self.bytes.truncate(at);
            self.bytes.extend_from_slice(more);
            return self.bytes.split_at_mut(at).1;
        }
        let place = self.bytes.split_at_mut(at).1.split_at_mut(more.len()).0;
        place.copy_from_slice(more);
        place
    }

    /// Writes the header, and pads the block to `len` bytes.
    pub(super) fn finish(&mut self, header: &[u8; BLOCK_HEADER], len: usize) {
        assert!(len >= self.end, "{} bytes do not fit into {len}", self.end);
        self.bytes.split_at_mut(BLOCK_HEADER).0.copy_from_slice(header);
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        self.padded = len;
    }

    /// The block without padding. Its header is written last.
    pub(super) fn used(&self) -> &[u8] {
        self.bytes.split_at(self.end).0
    }

    /// The finished block as written to disk.
    pub(super) fn block(&self) -> &[u8] {
        self.bytes.split_at(self.padded).0
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever blocks it held before, a block consists of its header, the appended bytes, and zeros.
        #[test]
        fn nothing_of_an_earlier_block_is_left(
            blocks in proptest::collection::vec(
                (proptest::collection::vec(proptest::collection::vec(1u8.., 0..3000), 0..5), 0usize..5000), 1..12),
        ) {
            let mut buffer = Buffer::default();
            for (batches, padding) in blocks {
                buffer.begin();
                let mut expected = vec![0xee; BLOCK_HEADER];
                for batch in &batches {
                    prop_assert_eq!(&*buffer.append(batch), batch);
                    expected.extend_from_slice(batch);
                    prop_assert_eq!(&buffer.used()[BLOCK_HEADER..], &expected[BLOCK_HEADER..]);
                }
                expected.resize(expected.len() + padding, 0);
                buffer.finish(&[0xee; BLOCK_HEADER], expected.len());
                prop_assert_eq!(buffer.block(), expected);
            }
        }
    }
}
