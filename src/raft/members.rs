//! Equal configurations, kept once.
//!
//! The groups of a node mostly have the same few sets of members, and a `ConfState` takes as much memory as all else that
//! is known of an idle group. The last few that were seen are remembered; a group whose configuration equals one of them
//! shares it.

use std::sync::Arc;

use ::raft::eraftpb::ConfState;
use parking_lot::Mutex;

/// So many are remembered.
const REMEMBERED: usize = 16;

/// The configurations seen last, those that were asked for last at the end.
#[derive(Debug, Default)]
pub(crate) struct Members(Mutex<Vec<Arc<ConfState>>>);

impl Members {
    /// An equal configuration: one that is there already, if there is one.
    pub(crate) fn share(&self, conf: Arc<ConfState>) -> Arc<ConfState> {
        let mut known = self.0.lock();
        let shared = match known.iter().rposition(|other| *other == conf) {
            Some(at) => known.remove(at),
            None => conf,
        };
        if known.len() >= REMEMBERED {
            known.remove(0);
        }
        known.push(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(voter: u64) -> Arc<ConfState> {
        let mut conf = ConfState::default();
        conf.voters = vec![voter, voter + 1];
        Arc::new(conf)
    }

    #[test]
    fn equal_ones_are_shared_and_few_are_remembered() {
        let members = Members::default();
        let first = members.share(conf(1));
        assert!(Arc::ptr_eq(&first, &members.share(conf(1))));
        for voter in 2..100 {
            assert_eq!(members.share(conf(voter)), conf(voter));
            assert!(Arc::ptr_eq(&first, &members.share(conf(1))), "asked for all the time");
        }
        assert_eq!(members.0.lock().len(), REMEMBERED);
    }
}
