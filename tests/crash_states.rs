//! W1 to W6: whatever a crash or a failed call leaves, the log holds what was acknowledged, whole batches, and nothing
//! else; what it then shows is on the device; and nothing is acknowledged once something failed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // outside #[test] functions too

mod common;
mod crash;

use common::{Oracle, Wrong, open, options};
use crash::core::Core;
use crash::minimise::{minimise, report};
use crash::run::run;
use crash::sweep::{Form, sweep_seed};
use crash::{End, Found, Kind, Subject};
use seawall::io::sim::{Call, CrashStyle, Fault, FaultPlan, Rng, SimDisk, SyncFailure, Trigger};

#[test]
fn w1_to_w6_a_crash_or_a_failure_at_every_call() {
    let core = Core::new();
    let (tally, finding) = run(&core, &Form::QUICK, 1, |states| states >= 20_000);
    assert!(finding.is_none(), "{}", report(&core, &finding.unwrap()));
    assert!(tally.states >= 20_000 && tally.clean(), "{tally:?}");
    println!("{tally:?}");
}
