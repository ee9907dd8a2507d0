//! `seawall repair`.

mod after;
mod drop_groups;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seawall::SegmentId;
use seawall::error::Corruption;
use seawall::io::{Disk, RealDisk};
use seawall::repair::{Choice, Layer, Loss, NewSuperblock, Plan, Repaired, UNDO_DIR_PREFIX, Undone};
use serde_json::{Value, json};

use self::after::After;
use crate::account;
use crate::failure::Failure;
use crate::verify::problem;
use crate::{Health, style};

/// Repair a damaged log by giving something up. Without --yes it only shows what would be lost.
///
/// Restoring the directory from a replica or a backup loses less: repair only what cannot be restored.
///
/// For a log of groups (Raft's or others'), first check what --drop-groups would drop: it keeps all groups that need
/// nothing damaged complete. It works if a footer or the name of a Raft snapshot identifies the affected groups, and
/// says so if not; then only --cut remains, which loses everything after the damage, for all groups.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["cut", "drop_groups", "rebuild_footers", "rebuild_superblock", "undo"]))]
pub(crate) struct Args {
    /// The log's directory
    dir: PathBuf,
    /// Give up everything from the first damage on
    #[arg(long)]
    cut: bool,
    /// Drop the groups that need an unreadable entry or snapshot. All others stay, with everything they have
    #[arg(long)]
    drop_groups: bool,
    /// Remove damaged footers; the next open reads those segments in full and writes new ones. No record is lost
    #[arg(long)]
    rebuild_footers: bool,
    /// Rebuild the superblock from the segments, if it is gone or both of its slots are damaged. No existing record
    /// is lost; segments that the log had released but not yet removed come back
    #[arg(long)]
    rebuild_superblock: bool,
    /// With --rebuild-superblock: the owner of the log (for a Raft log: its node id); the segments do not record it
    #[arg(long, conflicts_with_all = ["cut", "drop_groups", "rebuild_footers", "undo"])]
    owner: Option<u64>,
    /// With --rebuild-superblock: the number of the first segment of the log, if the segments do not determine it.
    /// All older ones are given up
    #[arg(long, conflicts_with_all = ["cut", "drop_groups", "rebuild_footers", "undo"])]
    oldest: Option<u64>,
    /// Restore every file to its state before the last repair. What was written to the log since is lost
    #[arg(long)]
    undo: bool,
    /// Only show what would be done (the default)
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Apply the repair
    #[arg(long, visible_alias = "apply")]
    yes: bool,
    /// Where the copies go or, with --undo, where they are; by default DIR/repair-<n>
    #[arg(long)]
    undo_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    let disk = open(&args.dir)?;
    if args.undo {
        return undo(args, &disk, as_json);
    }
    if args.drop_groups {
        return drop_groups::run(args, &disk, as_json);
    }
    let mut plan = Plan::of(&disk, choice(args))?;
    let groups = After::of(&args.dir, &plan);
    if let Some(Layer { directory, ending }) = account::files_of_raft(&args.dir) {
        plan = plan.with_directory(directory, ending);
    }
    let done = match args.yes {
        true => Some(plan.apply(undo_dir(args)?.as_ref()).map_err(|e| interrupted(e.into(), args))?),
        false => None,
    };
    if as_json {
        println!("{:#}", document(&plan, groups.as_ref(), done.as_ref()));
    } else {
        print_plan(&plan, args);
        if let Some(groups) = &groups {
            groups.print(plan.loss().is_some());
        }
        print_end(args, &plan, done.as_ref());
    }
    Ok(health(done.as_ref(), plan.problems()))
}

fn choice(args: &Args) -> Choice {
    match (args.cut, args.rebuild_superblock) {
        (true, _) => Choice::Cut,
        (_, true) => Choice::RebuildSuperblock { owner: args.owner, oldest: args.oldest.map(SegmentId::new) },
        _ => Choice::RebuildFooters,
    }
}

/// Good if something was done or there was nothing to do.
fn health(done: Option<&Repaired>, problems: &[Corruption]) -> Health {
    if done.is_some_and(|d| d.undo_dir.is_some()) || problems.is_empty() {
        Health::Good
    } else {
        Health::Damaged
    }
}

fn open(dir: &Path) -> Result<Arc<dyn Disk>, Failure> {
    let disk = RealDisk::open(dir)
        .map_err(|e| Failure::Undone(format!("cannot open the directory {}: {e}", dir.display())))?;
    Ok(Arc::new(disk))
}

fn undo_dir(args: &Args) -> Result<Option<Arc<dyn Disk>>, Failure> {
    let Some(path) = &args.undo_dir else { return Ok(None) };
    let made = RealDisk::open_or_create(path);
    Ok(Some(Arc::new(made.map_err(|e| Failure::Undone(format!("cannot create {}: {e}", path.display())))?)))
}

/// Adds what to do after a failure halfway through.
fn interrupted(e: Failure, args: &Args) -> Failure {
    let complete =
        args.undo_dir.clone().or_else(|| last_undo_dir(&args.dir)).filter(|a| a.join("manifest").is_file());
    match (e, complete) {
        (Failure::Undone(why), Some(undo_dir)) => Failure::Undone(format!(
            "{why}\nIf the repair was interrupted: `seawall repair {} --undo --yes --undo-dir {}` restores the earlier state",
            args.dir.display(),
            undo_dir.display()
        )),
        (other, _) => other,
    }
}

/// The last undo directory that was not used yet.
fn last_undo_dir(dir: &Path) -> Option<PathBuf> {
    let numbers = std::fs::read_dir(dir).ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let number: u32 = name.strip_prefix(UNDO_DIR_PREFIX)?.parse().ok()?;
        dir.join(&name).join("manifest").is_file().then_some((number, name))
    });
    numbers.max().map(|(_, name)| dir.join(name))
}

fn undo(args: &Args, disk: &Arc<dyn Disk>, as_json: bool) -> Result<Health, Failure> {
    let Some(path) = args.undo_dir.clone().or_else(|| last_undo_dir(&args.dir)) else {
        let why = format!(
            "{}: there is no {UNDO_DIR_PREFIX}<n> with copies to restore; use --undo-dir for another directory",
            args.dir.display()
        );
        return Err(Failure::Undone(why));
    };
    let undo_dir = open(&path)?;
    let done = match args.yes {
        true => seawall::repair::undo(disk, &undo_dir)?,
        false => Undone::default(),
    };
    if as_json {
        println!(
            "{:#}",
            json!({ "done": args.yes, "undo_dir": path.display().to_string(), "restored": done.restored, "removed": done.removed })
        );
    } else if args.yes {
        println!("restored from {}: {}", path.display(), done.restored.join(", "));
        println!("removed newer files: {}", list(&done.removed));
    } else {
        println!("would restore the files in {}; what was written since is lost", path.display());
        println!("nothing was changed; add --yes to apply");
    }
    Ok(Health::Good)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn print_problems(problems: &[Corruption]) {
    for problem in problems {
        println!("{}", style::wrong(&format!("damaged: {problem}")));
    }
    if problems.is_empty() {
        println!("the log is whole: there is nothing to repair");
    }
}

fn print_plan(plan: &Plan, args: &Args) {
    print_problems(plan.problems());
    if args.cut && plan.loss().is_some() && plan.opens_as_it_is() {
        println!(
            "{}",
            style::wrong(
                "an open accepts this log as it is, and only reads of the damage fail: a cut gives up more than that"
            )
        );
    }
    for name in plan.footers_to_rebuild() {
        println!("footer to be rewritten: {name}");
    }
    if let Some(superblock) = plan.superblock() {
        print_superblock(plan, &superblock);
    }
    if let Some(loss) = plan.loss() {
        print_loss(plan, loss);
    }
}

fn print_superblock(plan: &Plan, new: &NewSuperblock) {
    let number = |id: Option<SegmentId>| id.map_or("none".to_owned(), |id| id.to_string());
    println!("{} for log {}", style::heading("a new superblock"), new.uuid);
    println!("  segments {} to {}, durable up to LSN {}", new.oldest, number(new.newest), new.durable);
    match new.owner {
        Some(owner) => println!("  owner {owner}"),
        None => {
            println!("  no owner: if the log had one (for a Raft log: its node id), give it with --owner")
        }
    }
    if let Some(before) = new.before {
        println!(
            "  segment {before} and older are given up: the log had released them, or they are lost; nothing left \
             tells which"
        );
    } else {
        println!("  it has no predecessor; segments that the log had released but not yet removed come back");
    }
    for problem in plan.problems_left() {
        println!("{}", style::wrong(&format!("also damaged: {problem}")));
    }
}

fn print_loss(plan: &Plan, loss: &Loss) {
    println!(
        "{}: LSN {} to {}, with {} records ({} bytes) that can still be read",
        style::heading("given up"),
        loss.lsns.start,
        loss.lsns.end,
        loss.records,
        loss.bytes
    );
    for s in &loss.streams {
        println!("  stream (group) {}: sequence numbers (indexes) {} to {}", s.stream, s.first, s.last);
    }
    for c in &loss.damage {
        println!(
            "  unreadable: {} from offset {} on, LSN {} to {}",
            c.file.display(),
            c.offset,
            c.lsns.start,
            c.lsns.end
        );
    }
    for name in &loss.unreadable {
        println!("  unreadable: all of {name}");
    }
    println!("files: {}", plan.files_to_remove().join(", "));
    println!("the rest ends at LSN {}", plan.remaining().end_lsn());
}

fn print_end(args: &Args, plan: &Plan, done: Option<&Repaired>) {
    match done {
        Some(done) if done.undo_dir.is_some() => print_done(args, done),
        _ if plan.is_empty() && !plan.problems().is_empty() => {
            println!("this choice repairs none of it; nothing was changed");
        }
        _ if plan.is_empty() => {}
        _ => println!("nothing was changed; add --yes to apply"),
    }
}

/// The undo directory, and how to restore from it.
fn print_done(args: &Args, done: &Repaired) {
    let Some(undo_dir) = done.undo_dir.as_ref().map(|a| a.display()) else { return };
    println!("done; {} files were copied to {undo_dir} first", done.copied.len());
    println!("`seawall repair {} --undo --yes --undo-dir {undo_dir}` restores them", args.dir.display());
}

fn document(plan: &Plan, groups: Option<&After>, done: Option<&Repaired>) -> Value {
    json!({
        "done": done.is_some_and(|d| d.undo_dir.is_some()),
        "problems": plan.problems().iter().map(problem).collect::<Vec<_>>(),
        "opens_as_it_is": plan.opens_as_it_is(),
        "end_lsn": plan.remaining().end_lsn().get(),
        "footers": plan.footers_to_rebuild(),
        "files": plan.files_to_remove(),
        "superblock": plan.superblock().map(|new| json!({
            "uuid": new.uuid.to_string(),
            "oldest": new.oldest.get(),
            "before": new.before.map(SegmentId::get),
            "newest": new.newest.map(SegmentId::get),
            "durable_lsn": new.durable.get(),
            "owner": new.owner,
            "problems_left": plan.problems_left().iter().map(problem).collect::<Vec<_>>(),
        })),
        "loss": plan.loss().map(|l| json!({
            "first_lsn": l.lsns.start.get(),
            "end_lsn": l.lsns.end.get(),
            "records": l.records,
            "bytes": l.bytes,
            "streams": l.streams.iter().map(|s| json!({ "stream": s.stream, "first": s.first, "last": s.last })).collect::<Vec<_>>(),
            "unreadable": l.damage.iter().map(problem).collect::<Vec<_>>(),
            "unreadable_files": l.unreadable,
        })),
        "groups": groups.map(|groups| groups.json(plan.loss().is_some())),
        "dropped": [],
        "undo_dir": done.and_then(|d| d.undo_dir.as_ref()).map(|undo_dir| undo_dir.display().to_string()),
        "copied": done.map(|d| d.copied.clone()),
        "written": done.and_then(|d| d.written.clone()),
    })
}
