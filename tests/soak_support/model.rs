//! The expected state of each group in a few numbers: payloads follow from group, incarnation, index and term, so
//! none is stored.

use raft::eraftpb::{ConfState, Entry, HardState};

/// The expected state of a group.
pub struct Member {
    pub id: u64,
    /// How often the id was created.
    pub incarnation: u64,
    /// Index and term of the last entry that was compacted.
    pub compacted: (u64, u64),
    pub last: u64,
    /// The first index of each term, after `compacted`.
    terms: Vec<(u64, u64)>,
    pub term: u64,
    pub commit: u64,
    pub applied: u64,
    /// Index, and the length of its data.
    pub snapshot: Option<(u64, u64)>,
    /// This many entries may accumulate before it compacts.
    pub patience: u64,
}

impl Member {
    /// A group that was just created.
    pub fn new(id: u64, incarnation: u64, patience: u64) -> Self {
        Member {
            id,
            incarnation,
            compacted: (0, 0),
            last: 0,
            terms: Vec::new(),
            term: 1,
            commit: 0,
            applied: 0,
            snapshot: None,
            patience,
        }
    }

    pub fn entries(&self) -> u64 {
        self.last - self.compacted.0
    }

    pub fn term_of(&self, index: u64) -> u64 {
        match self.terms.partition_point(|(first, _)| *first <= index) {
            0 => self.compacted.1,
            n => self.terms[n - 1].1,
        }
    }

    pub fn hard_state(&self) -> HardState {
        let mut hs = HardState::default();
        (hs.term, hs.vote, hs.commit) = (self.term, 1, self.commit);
        hs
    }

    /// `count` entries from `first` on, of the present term, replacing existing ones.
    pub fn append(&mut self, first: u64, count: u64) -> Vec<Entry> {
        self.terms.retain(|(from, _)| *from < first);
        if self.term_of(first) != self.term {
            self.terms.push((first, self.term));
        }
        self.last = first + count - 1;
        (first..=self.last).map(|index| self.entry(index)).collect()
    }

    pub fn compact(&mut self, index: u64) {
        let term = self.term_of(index);
        let gone = self.terms.partition_point(|(first, _)| *first <= index + 1);
        self.compacted = (index, term);
        // The term of the first index began earlier, or begins there.
        if gone > 1 {
            self.terms.drain(..gone - 1);
        }
    }

    /// A snapshot of a leader replaces the whole log.
    pub fn install(&mut self, index: u64, length: u64) {
        (self.compacted, self.last) = ((index, self.term), index);
        (self.commit, self.applied, self.snapshot) = (index, index, Some((index, length)));
        self.terms.clear();
    }

    /// The entry that must be at this index.
    pub fn entry(&self, index: u64) -> Entry {
        let term = self.term_of(index);
        let mut stream = Stream::new([self.id, self.incarnation, index, term]);
        // Mostly small, sometimes large.
        let length = match stream.next() {
            n if n.is_multiple_of(64) => 4096,
            n => n % 400,
        };
        let mut data = vec![0; length as usize];
        stream.fill(&mut data);
        let mut entry = Entry::default();
        (entry.index, entry.term) = (index, term);
        entry.data = data.into();
        entry
    }

    /// The data of a snapshot at this index, as it comes.
    pub fn state_at(&self, index: u64) -> Stream {
        Stream::new([self.id, self.incarnation, index, u64::MAX])
    }
}

pub fn members() -> ConfState {
    ConfState::from((vec![1, 2, 3], vec![]))
}

/// Numbers that follow from a seed.
pub struct Stream(u64);

impl Stream {
    pub fn new(seed: [u64; 4]) -> Self {
        let mixed = seed.iter().fold(0x51_7c_c1_b7_27_22_0a_95, |mixed: u64, part| {
            (mixed.rotate_left(5) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        Stream(mixed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 3
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }
}
