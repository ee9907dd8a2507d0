//! The identity of a snapshot file: its name, the checksums bound to it, and the errors that name it.

use std::path::{Path, PathBuf};

use crc32fast::Hasher;

use super::super::state::SnapshotRef;
use crate::error::{Corruption, CorruptionReason, LogUuid};
use crate::format::TEMPORARY;
use crate::groups::bytes::Put;
use crate::{Error, StreamRange};

pub(crate) const SUFFIX: &str = ".snap";

/// The log, the group, and the snapshot within the group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) uuid: LogUuid,
    pub(super) group: u64,
    pub(super) file: SnapshotRef,
}

impl Identity {
    pub(super) fn name(&self) -> String {
        let SnapshotRef { at, serial } = self.file;
        format!("{:016x}-{:016x}-{:016x}-{serial:016x}{SUFFIX}", self.group, at.index, at.term)
    }

    /// The name of the file until it is complete.
    pub(super) fn temporary_name(&self) -> String {
        format!("{}{TEMPORARY}", self.name())
    }

    /// Its form in a header: UUID, group, index, term, serial.
    pub(super) fn encode(&self) -> Vec<u8> {
        let SnapshotRef { at, serial } = self.file;
        let mut out = Vec::with_capacity(48);
        out.put(self.uuid.as_bytes());
        for v in [self.group, at.index, at.term, serial] {
            out.put_u64(v);
        }
        out
    }

    /// A running checksum, already bound to piece number `number` of this file.
    pub(super) fn hasher(&self, number: u64) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.update(self.uuid.as_bytes());
        hasher.update(&self.file.serial.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher
    }

    /// The checksum of chunk number `number`.
    pub(super) fn sum(&self, number: u64, chunk: &[u8]) -> u32 {
        let mut hasher = self.hasher(number);
        hasher.update(chunk);
        hasher.finalize()
    }

    pub(super) fn path(&self, directory: &Path) -> PathBuf {
        directory.join(self.name())
    }

    /// The error for bytes at `offset` of the file in `directory` that do not verify.
    pub(super) fn corruption(&self, directory: &Path, offset: u64, reason: CorruptionReason) -> Error {
        let index = self.file.at.index;
        let hit = StreamRange { stream: self.group, first: index, last: index };
        Corruption::beside_the_log(self.path(directory), offset, reason).hitting(vec![hit]).into()
    }
}

/// The serial in a snapshot file's name, temporary or not; `None` for a name of another form.
pub(super) fn serial_in(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(TEMPORARY).unwrap_or(name).strip_suffix(SUFFIX)?;
    let numbers: Vec<&str> = stem.split('-').collect();
    let well_formed = numbers.iter().all(|n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit()));
    match (numbers.as_slice(), well_formed) {
        ([_, _, _, serial], true) => u64::from_str_radix(serial, 16).ok(),
        _ => None,
    }
}
