//! The interface through which the commit path uses the segment manager.
//!
//! ```text
//!  commit path                               segment manager
//!   owns it    want, watch, started  ------>  notes the work to do
//!   runs it    has_work, work, rest  ------>  does it, and hands over the requested segment
//!   publishes  Progress              ------>  the progress of commits, while a file is filled beside them
//! ```
//!
//! The manager never calls back: the commit path runs it, in a thread started for that, or on the caller's thread if
//! the log has no threads. So the commit path holds the manager, and nothing holds the commit path.

use std::fmt;
use std::sync::Arc;

use super::{Segment, SpacePool, Tip};
use crate::error::Result;
use crate::lsn::Lsn;

/// The segment manager, as the commit path sees it.
pub(crate) trait Supply: fmt::Debug + Send + Sync {
    /// Requests the segment that begins at `first_lsn`, from this pool of space; [`Supply::work`] hands it over.
    fn want(&self, first_lsn: Lsn, pool: SpacePool);

    /// The first block of `segment` is durable, and with it the end of its predecessor. Called before this becomes
    /// visible to anyone.
    fn started(&self, segment: &Arc<Segment>, predecessor: Tip);

    /// Announces work: a thread in [`Supply::rest`] must notice if that work hangs.
    fn watch(&self);

    /// Whether there is something to do.
    fn has_work(&self) -> bool;

    /// Does the next piece of work. The requested segment, or the error if it could not be made, is passed to
    /// `offer`.
    fn work(&self, offer: &dyn Fn(Result<Arc<Segment>>));

    /// Sleeps until there is something to do, or until a hanging call may have to be reported. `false` when
    /// everything is done and nothing more will come.
    fn rest(&self) -> bool;

    /// No more work will come. What was already requested is done at full speed.
    fn stop(&self);
}
