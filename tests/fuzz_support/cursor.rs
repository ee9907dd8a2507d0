//! Reads decisions from an input. After its end every decision is 0, which the bodies take as the plain choice.

/// The rest of an input.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The whole input.
    pub fn new(input: &'a [u8]) -> Self {
        Cursor { rest: input }
    }

    /// Whether no decision is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Up to `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        head
    }

    fn number<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let head = self.take(N);
        bytes[..head.len()].copy_from_slice(head);
        bytes
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        self.number::<1>()[0]
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.number())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.number())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.number())
    }

    /// A byte, reduced below `n`.
    pub fn below(&mut self, n: u8) -> u8 {
        self.u8() % n.max(1)
    }

    /// A place among `n`.
    pub fn index(&mut self, n: usize) -> usize {
        self.u32() as usize % n.max(1)
    }

    /// `true` in 1 of 32 inputs, and never at the end.
    pub fn seldom(&mut self) -> bool {
        self.u8() >= 248
    }

    /// `plain`, or rarely a value from the input.
    pub fn or_any<T>(&mut self, plain: T, any: impl FnOnce(&mut Self) -> T) -> T {
        if self.seldom() { any(self) } else { plain }
    }

    /// Some bytes, up to 64 KiB, of which only the first are the input's.
    pub fn blob(&mut self) -> Vec<u8> {
        let len = self.u16() as usize;
        let zeros = self.below(64) as usize * 256;
        let mut bytes = self.take(len).to_vec();
        bytes.resize(bytes.len() + zeros, 0);
        bytes
    }
}
