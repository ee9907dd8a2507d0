//! What the commit path asks of the segment manager: the one seam between them.
//!
//! ```text
//!  commit path                               segment manager
//!   owns it    want, watch, started  ------>  notes what there is to do
//!   runs it    has_work, work, rest  ------>  does it, and hands over the segment that was wanted
//!   publishes  Progress              ------>  how far the commits are, while a file is filled beside them
//! ```
//!
//! The manager is called and calls nobody back: the commit path runs it, in a thread that it starts for that, or on the
//! caller's own where the log has no threads. So the commit path holds the manager, and nothing holds the commit path.

use std::fmt;
use std::sync::Arc;

use super::{Segment, SpacePool, Tip};
use crate::error::Result;
use crate::lsn::Lsn;

/// The segment manager, as the commit path sees it.
pub(crate) trait Supply: fmt::Debug + Send + Sync {
    /// The segment that begins at `first_lsn` is to be made ready, out of this pool of space; [`Supply::work`] hands it over.
    fn want(&self, first_lsn: Lsn, pool: SpacePool);

    /// The first block of `segment` is durable, and with it the end of its predecessor. Called before anybody can know.
    fn started(&self, segment: &Arc<Segment>, predecessor: Tip);

    /// Somebody begins to work: a thread in [`Supply::rest`] is to notice should that hang.
    fn watch(&self);

    /// Whether there is something to do.
    fn has_work(&self) -> bool;

    /// Does the next thing that there is to do. The segment that was wanted, or why it could not be made, is given to `offer`.
    fn work(&self, offer: &dyn Fn(Result<Arc<Segment>>));

    /// Sleeps until there is something to do, or until it may be time to tell of a call that hangs. `false` when all is done
    /// and nothing will come any more.
    fn rest(&self) -> bool;

    /// No more work will come. What was asked for so far is done at full speed.
    fn stop(&self);
}
