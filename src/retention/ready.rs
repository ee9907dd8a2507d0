//! Prepares the next segment from a released file, a new file, or the reserve.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::files::{Spare, Surplus};
use super::manager::SegmentManager;
use crate::error::{Error, Result};
use crate::format::DATA_START;
use crate::lsn::{Lsn, SegmentId};
use crate::mutation::or_fault;
use crate::segment::{Plan, RESERVE_FILE, Segment, SpacePool, Unprepared, make_reserve, prepare, size_of};
use crate::trace::span;

impl SegmentManager {
    pub(super) fn prepare_segment(
        &self,
        id: SegmentId,
        first_lsn: Lsn,
        pool: SpacePool,
    ) -> Result<Arc<Segment>> {
        let made = self.ready_segment(id, first_lsn, pool);
        if pool == SpacePool::Ordinary {
            self.monitor.note_segment(made.as_ref().err());
        }
        let segment = made?;
        let mut ready = self.ready.lock();
        ready.unnamed = None;
        ready.named.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// A prepared segment, named in the superblock: one that could not be named before, or else a new one.
    fn ready_segment(&self, id: SegmentId, first_lsn: Lsn, pool: SpacePool) -> Result<Arc<Segment>> {
        let unnamed = self.ready.lock().unnamed.clone();
        let segment = match unnamed {
            Some(segment) => segment,
            None => {
                let made = match pool {
                    SpacePool::Ordinary => self.prepare_ordinary(id, first_lsn),
                    SpacePool::Reserve => self.prepare_from_reserve(id, first_lsn),
                };
                self.counters.segments_prepared.add(u64::from(made.is_ok()));
                let segment = Arc::new(made?);
                let mut ready = self.ready.lock();
                ready.last = Some(segment.id());
                ready.unnamed = Some(Arc::clone(&segment));
                segment
            }
        };
        or_fault!(self.name_ready(&segment)?, ReadyName => ());
        Ok(segment)
    }

    /// Names a segment in the superblock, and records what has become of the earlier ones.
    fn name_ready(&self, segment: &Segment) -> Result<()> {
        let started = self.table.newest_with_a_block();
        self.superblock.lock().update(|sb| {
            sb.ready = Some((segment.id(), segment.first_lsn()));
            if let Some((newest, start)) = started {
                sb.newest = sb.newest.max(Some(newest));
                if let Some(start) = start {
                    sb.durable = sb.durable.max(start);
                }
            }
        })
    }

    fn prepare(&self, plan: &Plan, recycled: Option<&str>) -> Result<Segment> {
        prepare(&self.disk, plan, recycled, &self.progress, &self.monitor.background).map_err(
            |Unprepared { error, left }| {
                // What is left of the reserve stays the reserve.
                if let Some((name, bytes)) = left.filter(|(name, _)| name != RESERVE_FILE) {
                    self.surplus.lock().push(Surplus { name, bytes });
                }
                error
            },
        )
    }

    /// Like [`SegmentManager::prepare`], with a new file. A name taken since the log was opened is left alone.
    fn prepare_new(&self, plan: &Plan) -> Result<Segment> {
        const ATTEMPTS: usize = 16;
        let mut plan = *plan;
        for _ in 1..ATTEMPTS {
            match self.prepare(&plan, None) {
                Err(Error::Io { op: "create", source, .. })
                    if source.kind() == std::io::ErrorKind::AlreadyExists =>
                {
                    plan.id = self.jobs.lock().take_id();
                }
                made => return made,
            }
        }
        self.prepare(&plan, None)
    }

    fn prepare_ordinary(&self, id: SegmentId, first_lsn: Lsn) -> Result<Segment> {
        let _span = span!(DEBUG, "prepare", segment = id.get());
        // Leftover files may be what fills the disk. A failure to remove them is no reason to stop.
        let removed = self.remove_surplus(&self.monitor.background);
        self.note(&removed);
        self.replenish_reserve()?;
        let recycled = self.take_spare();
        let plan = Plan { id, first_lsn, ..self.plan(self.options.capacity, SpacePool::Ordinary) };
        let Some(recycled) = recycled else { return self.prepare_new(&plan) };
        let segment = self.prepare(&plan, Some(&recycled))?;
        self.counters.segments_recycled.add(1);
        Ok(segment)
    }

    fn prepare_from_reserve(&self, id: SegmentId, first_lsn: Lsn) -> Result<Segment> {
        let bytes = self.reserve.swap(0, Ordering::Relaxed);
        if bytes == 0 {
            let full = std::io::ErrorKind::StorageFull.into();
            return Err(Error::io(
                "use the reserve, which is used up:",
                self.disk.path().join(RESERVE_FILE),
                full,
            ));
        }
        let align = u64::from(self.options.block_align);
        let plan = self.plan((bytes - DATA_START) & !(align - 1), SpacePool::Reserve);
        self.prepare(&Plan { id, first_lsn, ..plan }, Some(RESERVE_FILE))
    }

    fn plan(&self, capacity: u64, pool: SpacePool) -> Plan {
        Plan {
            uuid: self.uuid,
            id: SegmentId::default(),
            before: self.ready.lock().last,
            first_lsn: Lsn::ZERO,
            capacity,
            block_align: self.options.block_align,
            salt: or_fault!(random_salt(), Salt => 1),
            mmap: self.options.mmap,
            pool,
        }
    }

    fn take_spare(&self) -> Option<String> {
        let mut spares = self.spares.lock();
        let at = spares.iter().position(Spare::unused);
        at.map(|at| spares.swap_remove(at).name)
    }

    /// Restores the reserve if necessary, with the space of a spare if it must.
    fn replenish_reserve(&self) -> Result<()> {
        let (want, caller) = (self.options.reserve, &self.monitor.background);
        let mut have = self.reserve.load(Ordering::Relaxed);
        while have < want {
            have = make_reserve(&self.disk, want, caller)?;
            self.reserve.store(have, Ordering::Relaxed);
            if have < want {
                let full = || {
                    Error::io(
                        "fill",
                        self.disk.path().join(RESERVE_FILE),
                        std::io::ErrorKind::StorageFull.into(),
                    )
                };
                let name = self.take_spare().ok_or_else(full)?;
                let bytes = size_of(&self.disk, &name);
                self.surplus.lock().push(Surplus { name, bytes });
                self.remove_surplus(caller)?;
            }
        }
        Ok(())
    }
}

/// A number not drawn by any earlier generation of any file; from the randomness that the standard library seeds its
/// maps with.
pub(crate) fn random_salt() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    hasher.write_u128(now.as_nanos());
    hasher.finish()
}
