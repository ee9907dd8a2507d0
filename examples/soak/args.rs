//! The command line.

use std::path::PathBuf;

use crate::soak_support::Fallible;

pub(crate) const USAGE: &str = "\
usage: soak [--minutes N] [--groups N] [--seed S] [--svg FILE] [--csv FILE]
  --minutes N   how long the load goes on (default 5; 0.5 is half a minute)
  --groups N    how many Raft groups share the log (default 1000)
  --seed S      what the load does (default 1)
  --svg FILE    draws what was measured
  --csv FILE    writes down what was measured, a line a second";

pub(crate) struct Args {
    pub(crate) seconds: f64,
    pub(crate) groups: u64,
    pub(crate) seed: u64,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) csv: Option<PathBuf>,
}

/// Parses the command line; `None` if it asks for help.
pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Fallible<Option<Args>> {
    let mut args = Args { seconds: 300.0, groups: 1000, seed: 1, svg: None, csv: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word}: a value is missing\n{USAGE}"));
        match word.as_str() {
            "--minutes" => args.seconds = value()?.parse::<f64>()? * 60.0,
            "--groups" => args.groups = value()?.parse()?,
            "--seed" => args.seed = value()?.parse()?,
            "--svg" => args.svg = Some(value()?.into()),
            "--csv" => args.csv = Some(value()?.into()),
            "--help" | "-h" => return Ok(None),
            _ => return Err(format!("unknown argument {word}\n{USAGE}").into()),
        }
    }
    if !args.seconds.is_finite() || args.seconds < 10.0 || args.groups < 20 {
        return Err("at least ten seconds and 20 groups are required".into());
    }
    Ok(Some(args))
}
