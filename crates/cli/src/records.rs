//! Selection and display of records, for `dump` and `tail`.

use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use seawall::{Error, Label, Lsn, RecordHead, SegmentReader};
use serde_json::json;

#[derive(clap::Args)]
pub(crate) struct Choice {
    /// Only records of this stream (a Raft group)
    #[arg(long, visible_alias = "stream")]
    group: Option<u64>,
    /// Only records with these sequence numbers (Raft indexes): one, or FIRST..LAST, both included
    #[arg(long, value_parser = range)]
    index: Option<RangeInclusive<u64>>,
    /// Show whole payloads in hexadecimal, not only their beginnings as text
    #[arg(long)]
    hex: bool,
}

fn range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let number = |s: &str| s.parse::<u64>().map_err(|e| format!("{s:?}: {e}"));
    match text.split_once("..") {
        Some((first, "")) => Ok(number(first)?..=u64::MAX),
        Some(("", last)) => Ok(0..=number(last)?),
        Some((first, last)) => Ok(number(first)?..=number(last)?),
        None => Ok(number(text)?..=number(text)?),
    }
}

impl Choice {
    pub(crate) fn takes(&self, head: &RecordHead) -> bool {
        let of = |f: fn(&seawall::Label) -> u64| head.label.as_ref().map(f);
        self.group.is_none_or(|g| of(|l| l.stream) == Some(g))
            && self.index.as_ref().is_none_or(|i| of(|l| l.sequence).is_some_and(|s| i.contains(&s)))
    }

    /// Formats one line, without a line break.
    pub(crate) fn line(&self, record: &Shown, as_json: bool) -> String {
        let payload = record.payload.as_slice();
        let (lsn, label) = (record.lsn, record.label);
        if as_json {
            let label = label.map(
                |l| json!({ "kind": l.kind, "stream": l.stream, "sequence": l.sequence, "extra": l.extra }),
            );
            let encoded_by = record.encoded_by.map(NonZeroU16::get);
            let line = json!({
                "lsn": lsn.get(), "label": label, "encoded_by": encoded_by, "payload": hex(payload),
            });
            return line.to_string();
        }
        let shown = if self.hex { payload } else { payload.get(..32).unwrap_or(payload) };
        let label = label.map_or(String::new(), |l| {
            format!(" kind {} stream {} [{}] {}", l.kind, l.stream, l.sequence, l.extra)
        });
        let text = if self.hex { hex(shown) } else { shown.escape_ascii().to_string() };
        let more = if shown.len() < payload.len() { "..." } else { "" };
        let encoded = record.encoded_by.map_or(String::new(), |id| format!(" encoded by codec {id}"));
        format!("{lsn:>14}{label} {} bytes{encoded}: {text}{more}", payload.len())
    }
}

/// A record with its payload or, if that cannot be decoded, the stored bytes.
pub(crate) struct Shown {
    lsn: Lsn,
    label: Option<Label>,
    /// The codec that is not available here, or that failed.
    encoded_by: Option<NonZeroU16>,
    payload: Vec<u8>,
}

impl Shown {
    pub(crate) fn read(segment: &SegmentReader, lsn: Lsn) -> seawall::Result<Self> {
        match segment.read(lsn) {
            Ok(record) => {
                let (label, payload) = (record.label(), record.payload().to_vec());
                Ok(Shown { lsn, label, encoded_by: None, payload })
            }
            Err(Error::UnknownCodec { .. } | Error::Undecodable { .. }) => {
                let record = segment.read_stored(lsn)?;
                let (label, payload) = (record.label(), record.bytes().to_vec());
                Ok(Shown { lsn, label, encoded_by: record.codec(), payload })
            }
            Err(e) => Err(e),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
