//! Whatever a crash or a failed call leaves, the groups are as the last acknowledged operation left them, or as the one
//! that was under way would have left them; and nothing is acknowledged once something failed.
#![cfg(feature = "raft")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::field_reassign_with_default
)]

mod common;
mod crash;
#[path = "crash/raft.rs"]
mod crash_raft;
mod raft_support;

use crash::minimise::report;
use crash::run::run;
use crash::sweep::Form;
use crash_raft::Groups;

#[test]
fn groups_are_whole_after_a_crash_or_a_failure_at_every_call() {
    let groups = Groups::new();
    let form = Form { steps: 30, ..Form::QUICK };
    let (tally, finding) = run(&groups, &form, 1, |states| states >= 20_000);
    assert!(finding.is_none(), "{}", report(&groups, &finding.unwrap()));
    println!("{tally:?}");
}
