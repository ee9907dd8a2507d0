//! Runs the segment manager: in a thread, or on the caller's own if the log has none.

use std::sync::Arc;

use super::pipeline::Pipeline;
use crate::error::Result;
use crate::sync::thread::Builder;

const MANAGER: &str = "seawall-manager";

impl Pipeline {
    /// Starts the segment manager's thread. [`Pipeline::close`] ends it.
    pub(crate) fn start_manager(self: &Arc<Self>) -> Result<()> {
        let pipeline = Arc::clone(self);
        let spawned = Builder::new().name(MANAGER.into()).spawn(move || pipeline.manage());
        *self.manager.lock() = Some(spawned.map_err(|e| self.no_thread(e))?);
        Ok(())
    }

    fn manage(&self) {
        let _guard = self.panic_guard(MANAGER);
        loop {
            self.manage_pending();
            self.monitor.tell_overdue();
            if !self.segments.rest() {
                return;
            }
        }
    }

    /// Lets the segment manager do everything requested so far.
    pub(super) fn manage_pending(&self) {
        while self.segments.has_work() {
            let at_work = self.monitor.at_work();
            self.watch();
            self.segments.work(&|made| self.offer(made));
            drop(at_work);
            self.monitor.tell_returned();
        }
    }
}
