//! Breaks one guarantee after the other, and shows that the tests detect it.
//!
//! `cargo run --example mutations` builds the tests with the switch of `src/mutation.rs`, checks that they pass
//! without a fault, then runs for each fault the test that should detect it, and prints the table. If a fault is not
//! detected, the exit status is 1. With a word after `--`, only faults whose name contains it are tried.

mod faults;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use faults::{FIELDS, Fault, IN_THE_CODE, ON_THE_DISK, Place, Suite};

/// What a fault's test did.
enum Seen {
    /// It failed; the first test that did.
    Failed(String),
    /// It was ended by a signal, or did not end in time.
    Died(&'static str),
    /// It passed: the fault was not detected.
    Passed,
}

/// The test programs of one build, by their source's name.
type Programs = BTreeMap<String, PathBuf>;

/// Builds the tests with the switch; those of the model checker are a separate build.
fn build(model: bool) -> Result<Programs, String> {
    let (flags, dir, extra): (_, _, &[&str]) = match model {
        false => ("--cfg mutation", "mutation", &[]),
        true => ("--cfg mutation --cfg shuttle", "mutation-model", &["--no-default-features", "--lib"]),
    };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let output = Command::new(env!("CARGO"))
        .args(["test", "--package", "seawall", "--no-run", "--target-dir"])
        .arg(target.join(dir))
        .args(extra)
        .env("RUSTFLAGS", flags)
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(text.into_owned());
    }
    let programs = text.lines().filter_map(|line| {
        let (source, path) = line.trim().strip_prefix("Executable ")?.split_once(" (")?;
        let source = source.rsplit('/').next()?.trim_end_matches(".rs");
        Some((source.to_owned(), PathBuf::from(path.trim_end_matches(')'))))
    });
    Ok(programs.collect())
}

/// Runs one test program with a fault, or without one.
fn run(program: &PathBuf, filters: &[&str], fault: Option<&str>) -> Result<Seen, String> {
    const LIMIT: Duration = Duration::from_secs(300);
    let log =
        std::env::temp_dir().join(format!("seawall-mutation-{}", fault.unwrap_or("none").replace(':', "-")));
    let file = std::fs::File::create(&log).map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args(filters).env("SEAWALL_SCHEDULES", "2000").stdout(file).stderr(Stdio::null());
    match fault {
        Some(name) => command.env("SEAWALL_MUTATION", name),
        None => command.env_remove("SEAWALL_MUTATION"),
    };
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            break status;
        }
        if start.elapsed() > LIMIT {
            child.kill().map_err(|e| e.to_string())?;
            child.wait().map_err(|e| e.to_string())?;
            return Ok(Seen::Died("it hangs"));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = std::fs::read_to_string(&log).map_err(|e| e.to_string())?;
    std::fs::remove_file(&log).map_err(|e| e.to_string())?;
    if text.contains("running 0 tests") {
        return Err(format!("{filters:?} matches no test of {}", program.display()));
    }
    let failed =
        text.lines().find_map(|l| l.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned));
    match (status.success(), failed) {
        (true, _) => Ok(Seen::Passed),
        (false, Some(test)) => Ok(Seen::Failed(test)),
        (false, None) => Ok(Seen::Died("it is aborted")),
    }
}

/// All faults: the named ones, and each field that a checksum could omit.
fn all() -> Vec<Fault> {
    let fields = FIELDS.iter().map(|(codec, range, field, suite)| Fault {
        name: format!("{codec}:{range}"),
        what: format!("the checksum of a {codec} forgets its {field}"),
        place: Place::Code,
        suite: *suite,
    });
    let named = |place: Place| {
        move |(name, what, suite): &(&str, &str, Suite)| Fault {
            name: (*name).to_owned(),
            what: (*what).to_owned(),
            place,
            suite: *suite,
        }
    };
    let on_the_disk = ON_THE_DISK.iter().map(named(Place::Disk));
    let in_the_code = IN_THE_CODE.iter().map(named(Place::Code));
    on_the_disk.chain(in_the_code).chain(fields).collect()
}

fn program<'a>(suite: &Suite, ordinary: &'a Programs, model: &'a Programs) -> Result<&'a PathBuf, String> {
    let found = match suite.program {
        "model" => model.get("lib"),
        name => ordinary.get(name),
    };
    found.ok_or_else(|| format!("there is no test program {}", suite.program))
}

fn try_all(faults: &[Fault]) -> Result<Vec<Seen>, String> {
    let (ordinary, model) = (build(false)?, build(true)?);
    let suites: std::collections::BTreeSet<&Suite> = faults.iter().map(|f| &f.suite).collect();
    for suite in suites {
        if !matches!(run(program(suite, &ordinary, &model)?, suite.filters, None)?, Seen::Passed) {
            return Err(format!("{suite:?} fails with no fault"));
        }
    }
    let todo = Mutex::new(faults.iter().enumerate().collect::<Vec<_>>());
    let done = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let Some((n, fault)) = todo.lock().map_err(|e| e.to_string())?.pop() else { return Ok(()) };
            let program = program(&fault.suite, &ordinary, &model)?;
            let seen = run(program, fault.suite.filters, Some(&fault.name))?;
            done.lock().map_err(|e| e.to_string())?.insert(n, seen);
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().unwrap_or_else(|_| Err("a worker panicked".to_owned())))
    })?;
    Ok(done.into_inner().map_err(|e| e.to_string())?.into_values().collect())
}

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let faults: Vec<Fault> = all().into_iter().filter(|f| f.name.contains(&word)).collect();
    let seen = match try_all(&faults) {
        Ok(seen) => seen,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    println!("| fault | | made | found by |\n|---|---|---|---|");
    let mut unnoticed = 0;
    for (fault, seen) in faults.iter().zip(&seen) {
        let found = match seen {
            Seen::Failed(test) => format!("`{}`: `{test}`", fault.suite.program),
            Seen::Died(how) => format!("`{}`: {how}", fault.suite.program),
            Seen::Passed => {
                unnoticed += 1;
                "**nothing**".to_owned()
            }
        };
        let place = match fault.place {
            Place::Disk => "by the disk",
            Place::Code => "in the code",
        };
        println!("| `{}` | {} | {place} | {found} |", fault.name, fault.what);
    }
    println!("\n{} faults, {unnoticed} unnoticed", faults.len());
    if unnoticed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
