//! A file's bytes in sectors, shared between copies until one of them writes.
//!
//! A crash sweep copies the whole disk at every call and for every state, and nearly all of a copy never changes.

use std::sync::{Arc, OnceLock};

/// The unit that a device keeps or loses if it was not synced.
pub const SECTOR: usize = 4096;
/// The unit at which a sector can tear.
pub const TEAR: usize = 512;

/// The bytes of one sector; `None` stands for zeros.
pub(super) type Sector = Option<Arc<Bytes>>;

#[derive(Clone, Debug)]
pub(super) struct Bytes {
    bytes: [u8; SECTOR],
    /// Computed on first use and shared by all copies.
    digest: OnceLock<u64>,
}

/// Whether two sectors hold the same bytes.
pub(super) fn same(a: &Sector, b: &Sector) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a.bytes == b.bytes,
        _ => false,
    }
}

/// A sector with these bytes, padded with zeros.
pub(super) fn sector_of(bytes: &[u8]) -> Sector {
    if bytes.iter().all(|b| *b == 0) {
        return None;
    }
    let mut all = [0; SECTOR];
    all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Some(Arc::new(Bytes { bytes: all, digest: OnceLock::new() }))
}

/// A sector's bytes.
pub(super) fn bytes_of(sector: &Sector) -> &[u8; SECTOR] {
    static ZEROS: [u8; SECTOR] = [0; SECTOR];
    sector.as_ref().map_or(&ZEROS, |s| &s.bytes)
}

/// A file's bytes. The last sector is padded with zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Pages {
    sectors: Vec<Sector>,
    len: usize,
}

impl Pages {
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Pages { sectors: bytes.chunks(SECTOR).map(sector_of).collect(), len: bytes.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn resize(&mut self, len: usize) {
        self.sectors.resize(len.div_ceil(SECTOR), None);
        let (last, tail) = (len / SECTOR, len % SECTOR);
        if len < self.len && tail > 0 {
            let kept = bytes_of(&self.sector(last)).get(..tail).map(sector_of);
            self.set(last, kept.flatten());
        }
        self.len = len;
    }

    /// A sector; zeros beyond the end.
    pub(super) fn sector(&self, at: usize) -> Sector {
        self.sectors.get(at).cloned().flatten()
    }

    /// Stores a sector; does nothing beyond the end.
    pub(super) fn set(&mut self, at: usize, sector: Sector) {
        if let Some(place) = self.sectors.get_mut(at) {
            *place = sector;
        }
    }

    /// Copies bytes starting at `start`; returns their number.
    pub(super) fn read(&self, mut start: usize, buf: &mut [u8]) -> usize {
        let wanted = buf.len().min(self.len.saturating_sub(start));
        let (mut rest, _) = buf.split_at_mut(wanted);
        while !rest.is_empty() {
            let (at, within) = (start / SECTOR, start % SECTOR);
            let n = rest.len().min(SECTOR - within);
            let (now, later) = rest.split_at_mut(n);
            match self.sectors.get(at).and_then(Option::as_ref).and_then(|s| s.bytes.get(within..within + n))
            {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            (rest, start) = (later, start + n);
        }
        wanted
    }

    /// Writes bytes starting at `start`, up to the end of the file.
    pub(super) fn write(&mut self, mut start: usize, bytes: &[u8]) {
        let fits = bytes.len().min(self.len.saturating_sub(start));
        let (mut rest, _) = bytes.split_at(fits);
        while !rest.is_empty() {
            let (at, within) = (start / SECTOR, start % SECTOR);
            let (now, later) = rest.split_at(rest.len().min(SECTOR - within));
            if let Some(place) = self.sectors.get_mut(at) {
                write_into(place, within, now);
            }
            (rest, start) = (later, start + now.len());
        }
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut all = vec![0; self.len];
        self.read(0, &mut all);
        all
    }

    /// A number that distinguishes contents.
    pub(super) fn fingerprint(&self) -> u64 {
        self.sectors.iter().fold(mix(0, self.len as u64), |sum, s| mix(sum, digest(s)))
    }
}

fn write_into(place: &mut Sector, within: usize, bytes: &[u8]) {
    if bytes.len() == SECTOR || place.is_none() && within == 0 {
        *place = sector_of(bytes);
        return;
    }
    let blank = || Arc::new(Bytes { bytes: [0; SECTOR], digest: OnceLock::new() });
    let sector = Arc::make_mut(place.get_or_insert_with(blank));
    sector.digest = OnceLock::new();
    if let Some(to) = sector.bytes.get_mut(within..within + bytes.len()) {
        to.copy_from_slice(bytes);
    }
}

/// Mixes a number into a sum.
pub(super) fn mix(sum: u64, n: u64) -> u64 {
    let z = (sum ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (z ^ (z >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(23)
}

/// Zeros have the same digest however they are represented.
fn digest(sector: &Sector) -> u64 {
    let Some(sector) = sector else { return 1 };
    *sector.digest.get_or_init(|| {
        let (words, _) = sector.bytes.as_chunks::<8>();
        let sum = words.iter().fold(0, |sum, w| mix(sum, u64::from_le_bytes(*w)));
        if sector.bytes.iter().all(|b| *b == 0) { 1 } else { sum | 2 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with a plain vector.
    #[test]
    fn reads_what_was_written_whatever_is_shared() {
        let mut rng = super::super::Rng::new(1);
        let (mut pages, mut plain) = (Pages::default(), Vec::<u8>::new());
        let mut copies = Vec::new();
        for _ in 0..400 {
            let below = |rng: &mut super::super::Rng, n: u64| usize::try_from(rng.below(n)).unwrap();
            if rng.below(4) == 0 {
                let len = below(&mut rng, 20_000);
                pages.resize(len);
                plain.resize(len, 0);
            } else {
                let fill = u8::try_from(rng.below(3)).unwrap();
                let start = below(&mut rng, plain.len() as u64 + 1);
                let n = below(&mut rng, 9000).min(plain.len() - start);
                pages.write(start, &vec![fill; n]);
                plain[start..start + n].fill(fill);
            }
            assert_eq!(pages.to_vec(), plain);
            let again = Pages::from_bytes(&plain);
            assert_eq!(pages.fingerprint(), again.fingerprint());
            copies.push((pages.clone(), plain.clone()));
        }
        assert!(copies.iter().all(|(pages, plain)| pages.to_vec() == *plain));
    }

    #[test]
    fn a_fingerprint_tells_a_bit_and_a_length() {
        let bytes = vec![7; 6000];
        let base = Pages::from_bytes(&bytes).fingerprint();
        for at in [0, 4095, 4096, 5999] {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(Pages::from_bytes(&other).fingerprint(), base);
        }
        let mut longer = Pages::from_bytes(&bytes);
        longer.resize(6001);
        assert_ne!(longer.fingerprint(), base);
    }
}
