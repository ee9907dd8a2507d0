//! `seawall import-raft-engine`: converts a Raft log of raft-engine to one of Seawall.
//!
//! ```text
//!   Source                Plan                           Target
//!   raft-engine's files,  every group read and checked:  INTO.importing: written, synced,
//!   which do not change   imported, or why it cannot be  read back, compared; then renamed
//! ```
//!
//! raft-engine stores a group's entries and, under keys chosen by the program, whatever the program wants. So the
//! user says where HardState, members and the term of the last compacted entry are (`choice`), they are decoded
//! strictly (`decode`), and inconsistencies are refused (`plan`).

mod catch_panic;
mod choice;
mod decode;
mod plan;
mod print;
mod read_only_files;
mod reason;
mod source;
mod survey;
mod target;

use std::path::Path;

pub(crate) use choice::Args;

use crate::Health;
use crate::failure::Failure;
use plan::Plan;
use source::Source;
use target::Target;

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    match &args.into {
        Some(into) if !args.dry_run => import(args, into, as_json),
        _ => look(args, as_json),
    }
}

fn open(args: &Args) -> Result<Source, Failure> {
    Source::open(&args.dir, args.spill_dir.as_deref(), args.accept_recovery)
}

fn look(args: &Args, as_json: bool) -> Result<Health, Failure> {
    let source = open(args)?;
    let rows = print::rows(&source)?;
    let plan = match args.hard_state_key {
        Some(_) => Some(Plan::of(&source, args)?),
        None => None,
    };
    if as_json {
        println!("{:#}", print::document(&rows, plan.as_ref(), &source, None));
    } else {
        print::lost(&source);
        print::listing(&rows, plan.as_ref());
    }
    let left = plan.map_or(0, |plan| plan.left.len());
    if left > 0 && !args.skip_unimportable {
        return Err(Failure::Undone(format!(
            "not all groups can be imported ({left} cannot); --skip-unimportable leaves them out"
        )));
    }
    Ok(Health::Good)
}

fn import(args: &Args, into: &Path, as_json: bool) -> Result<Health, Failure> {
    let target = Target::beside(into, &args.dir, args.node_id)?;
    let source = open(args)?;
    let plan = Plan::of(&source, args)?;
    check_complete(args, &plan)?;
    target.write(&source, &plan)?;
    target.compare(&source, &plan)?;
    target.name()?;
    if as_json {
        println!("{:#}", print::document(&print::rows(&source)?, Some(&plan), &source, Some(into)));
    } else {
        print::lost(&source);
        print::done(&plan, into);
    }
    Ok(Health::Good)
}

/// A node that lacks a group has forgotten what it promised in it: its owner must decide about that.
fn check_complete(args: &Args, plan: &Plan) -> Result<(), Failure> {
    if !plan.left.is_empty() && !args.skip_unimportable {
        let list: Vec<String> = plan.left.iter().map(|(id, why)| format!("\n  group {id}: {why}")).collect();
        return Err(Failure::Undone(format!(
            "nothing was imported because these groups cannot be (--skip-unimportable leaves them out):{}",
            list.concat()
        )));
    }
    if plan.groups.is_empty() {
        return Err(Failure::Undone(format!("{}: there is no group to import", args.dir.display())));
    }
    Ok(())
}
