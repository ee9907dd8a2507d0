//! (f) Opening a log of many entries, after a clean close and after its process died; and the heap used afterwards.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::Plan;
use super::groups::fill;
use crate::heap;
use crate::measure::Row;
use crate::subject::GroupSubject;
use crate::subjects::GROUP_STORES;

/// The argument that makes a child process fill a store and end without closing it.
pub const FILL: &str = "--fill";

/// The child's part: `--fill SUBJECT DIR GROUPS ENTRIES clean|dies`.
pub fn fill_and_end(args: &[String]) {
    let [subject, dir, groups, entries, end] = args else { panic!("{args:?}") };
    let subject = GROUP_STORES.iter().find(|s| s.name == subject).expect("a subject");
    let groups: u64 = groups.parse().expect("a number");
    let store = (subject.open)(Path::new(dir), groups);
    fill(&*store, groups, entries.parse().expect("a number"));
    match end.as_str() {
        "clean" => store.close(),
        _ => std::process::abort(),
    }
}

#[allow(clippy::cast_precision_loss)]
pub fn open(plan: &Plan) -> Vec<Row> {
    let entries: u64 = if plan.quick { 400_000 } else { 4_000_000 };
    let mut rows = Vec::new();
    for groups in [100u64, 10_000] {
        for end in ["clean", "dies"] {
            let what = format!(
                "{} M entries, {groups} groups, {}",
                entries as f64 / 1e6,
                if end == "dies" { "killed" } else { "closed" }
            );
            let mut time = Row::new("f", what.clone(), "ms", false);
            let mut heap = Row::new("f", format!("{what}: heap an entry"), "B", false);
            let filled: Vec<_> =
                GROUP_STORES.iter().map(|s| (s, filled(plan, s, groups, entries / groups, end))).collect();
            for _ in 0..plan.rounds {
                for (subject, from) in &filled {
                    let place = plan.place();
                    copy(from.path(), place.path());
                    let before = heap::in_use();
                    let start = Instant::now();
                    let store = (subject.open)(place.path(), groups);
                    time.add(subject.name, start.elapsed().as_secs_f64() * 1000.0);
                    heap.add(subject.name, heap::in_use().saturating_sub(before) as f64 / entries as f64);
                    assert!(store.read(groups, 1, 2) > 0);
                    store.close();
                }
            }
            rows.extend([time, heap]);
        }
    }
    rows
}

fn filled(plan: &Plan, subject: &GroupSubject, groups: u64, entries: u64, end: &str) -> tempfile::TempDir {
    let place = plan.place();
    let args = [
        subject.name,
        place.path().to_str().expect("a path"),
        &groups.to_string(),
        &entries.to_string(),
        end,
    ];
    let program = std::env::current_exe().expect("this program");
    let status = Command::new(program).arg(FILL).args(args).stderr(std::process::Stdio::null()).status();
    assert_eq!(status.expect("a child").success(), end == "clean");
    place
}

fn copy(from: &Path, to: &Path) {
    let from = format!("{}/.", from.display());
    let copied = Command::new("cp").args(["-r", "--reflink=auto", &from]).arg(to).status();
    assert!(copied.expect("cp").success());
}
