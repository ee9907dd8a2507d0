//! What the user must specify about a log whose keys and formats only its program knows.

use std::path::PathBuf;
use std::str::FromStr;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The directory of the raft-engine log
    pub(super) dir: PathBuf,
    /// The directory of the new log: missing or empty
    #[arg(required_unless_present = "dry_run")]
    pub(super) into: Option<PathBuf>,
    /// raft-engine's second directory for when DIR is full, if the program sets its `spill_dir`. Omitting it is not
    /// detected: the newest entries may be there
    #[arg(long, value_name = "DIR")]
    pub(super) spill_dir: Option<PathBuf>,
    /// The key of each group's HardState
    #[arg(long, value_name = "KEY", required_unless_present = "dry_run")]
    pub(super) hard_state_key: Option<Key>,
    /// The format of the value under that key
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = HardStateFormat::Eraftpb)]
    pub(super) hard_state_format: HardStateFormat,
    /// The key of the record about the entry before the first one, in groups whose earlier log was compacted
    #[arg(long, value_name = "KEY")]
    pub(super) truncated_state_key: Option<Key>,
    /// The format of the value under that key
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = TruncatedStateFormat::SnapshotMetadata)]
    pub(super) truncated_state_format: TruncatedStateFormat,
    /// The key of each group's members, as an eraftpb.ConfState
    #[arg(long, value_name = "KEY")]
    pub(super) conf_state_key: Option<Key>,
    /// The voters of groups without such a key; for one group, or for all
    #[arg(long, value_name = "[GROUP=]ID,...", value_parser = ids)]
    pub(super) voters: Vec<Given<Vec<u64>>>,
    /// The learners in addition to those voters
    #[arg(long, value_name = "[GROUP=]ID,...", value_parser = ids, requires = "voters")]
    pub(super) learners: Vec<Given<Vec<u64>>>,
    /// The last entry whose membership change is included in the given members: needed where the log does not
    /// determine it
    #[arg(long, value_name = "[GROUP=]INDEX", value_parser = index)]
    pub(super) conf_state_index: Vec<Given<u64>>,
    /// The raft node that the new directory will belong to
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) node_id: Option<u64>,
    /// Import without the groups that cannot be imported
    #[arg(long)]
    pub(super) skip_unimportable: bool,
    /// Import what the program's next open would see, if raft-engine would drop a damaged end or files
    #[arg(long)]
    pub(super) accept_recovery: bool,
    /// Only list the groups, and what would happen to them
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Format of the value under the HardState's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HardStateFormat {
    /// eraftpb.HardState
    Eraftpb,
    /// A message with an eraftpb.HardState as field 1 and the last index as field 2, as in TiKV
    RaftLocalState,
}

/// Format of the value under the truncated state's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TruncatedStateFormat {
    /// eraftpb.SnapshotMetadata; its members are used if the group has no others
    SnapshotMetadata,
    /// A message with the index as field 1 and the term as field 2, as in TiKV
    RaftTruncatedState,
}

/// The bytes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key(pub(super) Vec<u8>);

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(digits) = text.strip_prefix("0x") else { return Ok(Key(text.as_bytes().to_vec())) };
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok().filter(|p| p.len() == 2 && !p.starts_with('+'))?;
            u8::from_str_radix(pair, 16).ok()
        };
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        bytes
            .filter(|b| !b.is_empty())
            .map(Key)
            .ok_or_else(|| format!("{text}: must have two hexadecimal digits per byte"))
    }
}

/// A value for one group or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given<T> {
    pub(super) group: Option<u64>,
    pub(super) value: T,
}

/// The value for this group: its own takes precedence over one for all.
pub(super) fn given<T>(all: &[Given<T>], group: u64) -> Option<&T> {
    let own = all.iter().find(|g| g.group == Some(group));
    own.or_else(|| all.iter().find(|g| g.group.is_none())).map(|g| &g.value)
}

fn ids(text: &str) -> Result<Given<Vec<u64>>, String> {
    of_group(text, |list| {
        let ids: Vec<u64> = list.split(',').map(number).collect::<Result<_, _>>()?;
        if ids.contains(&0) { Err("0 is not a valid node id".to_owned()) } else { Ok(ids) }
    })
}

fn index(text: &str) -> Result<Given<u64>, String> {
    of_group(text, number)
}

fn of_group<T>(text: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<Given<T>, String> {
    match text.split_once('=') {
        Some((group, rest)) => Ok(Given { group: Some(number(group)?), value: value(rest)? }),
        None => Ok(Given { group: None, value: value(text)? }),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|e| format!("{text:?}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text_or_hexadecimal() {
        assert_eq!("hs".parse(), Ok(Key(b"hs".to_vec())));
        assert_eq!("0x01fF".parse(), Ok(Key(vec![1, 255])));
        for wrong in ["0x", "0x1", "0x0g", "0x+1", "0xäx"] {
            wrong.parse::<Key>().unwrap_err();
        }
    }

    #[test]
    fn a_groups_own_value_goes_before_one_for_all() {
        let all = [ids("1,2,3").unwrap(), ids("7=4,5").unwrap()];
        assert_eq!(given(&all, 7), Some(&vec![4, 5]));
        assert_eq!(given(&all, 8), Some(&vec![1, 2, 3]));
        assert_eq!(given(&all[1..], 8), None);
        assert_eq!(index("7=12").unwrap(), Given { group: Some(7), value: 12 });
        for wrong in ["", "1,0", "1,", "x=1", "7="] {
            ids(wrong).unwrap_err();
        }
    }
}
