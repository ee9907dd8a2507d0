//! Draws a log: one strip per segment, divided into cells that take the colour of what they mostly hold.
//!
//! ```text
//!  segment 4  |live      |dead       |live|relocated|dead|  62 % live
//!              above: the bytes; below: the group that has most in each cell
//! ```

use std::collections::BTreeMap;
// Writing to a string cannot fail.
use std::fmt::Write as _;
use std::path::Path;

use seawall::{Error, LogView, SegmentReader};

use crate::account::{self, Fate, Groups, fate, size};
use crate::failure::Failure;
use crate::view;

/// The kind of a byte, in order of precedence within a cell: damage is never hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Damaged,
    Torn,
    Live,
    Relocated,
    Dead,
}

const KINDS: [(Kind, &str, &str); 5] = [
    (Kind::Live, "live", "#2a9d8f"),
    (Kind::Relocated, "relocated (live, rewritten)", "#457b9d"),
    (Kind::Dead, "dead (no group needs it), headers, padding", "#d5d8dc"),
    (Kind::Torn, "torn (the next open would cut it)", "#f4a261"),
    (Kind::Damaged, "damaged", "#d62828"),
];

/// Colours of the groups with the most bytes; the rest is grey.
const GROUPS: [&str; 8] =
    ["#6a3d9a", "#e377c2", "#8c8c13", "#17becf", "#7f3b08", "#1b2a6b", "#b2df8a", "#ffe08a"];
const OTHERS: &str = "#9aa0a6";

const CELLS: usize = 200;
const CELL: usize = 4;
const LEFT: usize = 110;
const TOP: usize = 58;
const ROW: usize = 44;

/// The contents of a cell, in bytes.
#[derive(Clone, Debug, Default)]
struct Cell {
    kinds: BTreeMap<Kind, u64>,
    streams: BTreeMap<u64, u64>,
}

struct Strip {
    id: u64,
    first: u64,
    end: u64,
    cells: Vec<Cell>,
    /// By kind, over all cells.
    total: BTreeMap<Kind, u64>,
    damage: Vec<(u64, u64)>,
}

/// The data of the drawing.
pub(crate) struct Picture {
    strips: Vec<Strip>,
    raft: bool,
    /// Damaged ranges of LSNs.
    damage: Vec<(u64, u64)>,
    title: String,
}

impl Strip {
    /// Marks the bytes from `lo` to `hi`.
    fn paint(&mut self, lo: u64, hi: u64, kind: Kind, stream: Option<u64>) {
        let (lo, hi) = (lo.max(self.first), hi.min(self.end));
        *self.total.entry(kind).or_default() += hi.saturating_sub(lo);
        let width = (self.end - self.first).div_ceil(CELLS as u64).max(1);
        let mut at = lo;
        while at < hi {
            let n = (at - self.first) / width;
            let until = (self.first + (n + 1) * width).min(hi);
            if let Some(cell) = usize::try_from(n).ok().and_then(|n| self.cells.get_mut(n)) {
                *cell.kinds.entry(kind).or_default() += until - at;
                if let Some(stream) = stream {
                    *cell.streams.entry(stream).or_default() += until - at;
                }
            }
            at = until;
        }
    }

    /// Everything not covered by a record is dead: headers and padding.
    fn fill_rest(&mut self) {
        let width = (self.end - self.first).div_ceil(CELLS as u64).max(1);
        for (n, cell) in self.cells.iter_mut().enumerate() {
            let start = self.first + n as u64 * width;
            let room = (start + width).min(self.end).saturating_sub(start);
            let rest = room.saturating_sub(cell.kinds.values().sum());
            if rest > 0 {
                *cell.kinds.entry(Kind::Dead).or_default() += rest;
                *self.total.entry(Kind::Dead).or_default() += rest;
            }
        }
    }

    fn percent(&self, kinds: &[Kind]) -> u64 {
        let bytes: u64 = kinds.iter().filter_map(|k| self.total.get(k)).sum();
        bytes * 100 / (self.end - self.first).max(1)
    }
}

impl Cell {
    fn colour(&self) -> Option<&'static str> {
        let torn_or_damaged = self.kinds.keys().next().filter(|k| **k <= Kind::Torn).copied();
        let most = self.kinds.iter().max_by_key(|(_, bytes)| **bytes).map(|(k, _)| *k);
        let kind = torn_or_damaged.or(most)?;
        KINDS.iter().find(|(k, ..)| *k == kind).map(|(.., colour)| *colour)
    }

    fn stream(&self) -> Option<u64> {
        self.streams.iter().max_by_key(|(_, bytes)| **bytes).map(|(stream, _)| *stream)
    }
}

impl Picture {
    /// Reads the whole log in `dir`, skipping damage, also beside a writer.
    pub(crate) fn look(dir: &Path) -> Result<Picture, Failure> {
        view::read(dir, |log| Picture::of(dir, log), Picture::is_damaged)
    }

    /// Whether anything is damaged that is proven to have been durable.
    pub(crate) fn is_damaged(&self) -> bool {
        !self.damage.is_empty()
    }

    fn of(dir: &Path, log: &LogView) -> Result<Picture, Failure> {
        let (groups, wrong) = account::groups(account::kind(dir, log), log)?;
        // In a damaged log it is unknown what is live.
        let groups = groups.filter(|_| log.damage().is_none() && wrong.is_empty());
        let bar = crate::style::bar(log.segments().len() as u64, "segments");
        let mut picture = Picture {
            strips: Vec::new(),
            raft: groups.is_some(),
            damage: log.damage().iter().map(|c| (c.lsns.start.get(), c.lsns.end.get())).collect(),
            title: format!("{} to LSN {}", log.uuid(), log.end_lsn()),
        };
        for segment in log.segments() {
            let strip = strip(log, segment, groups.as_ref())?;
            picture.damage.extend(&strip.damage);
            picture.strips.push(strip);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(picture)
    }

    /// The streams with the most bytes, and their colours.
    fn legend(&self) -> Vec<(u64, &'static str)> {
        let mut bytes: BTreeMap<u64, u64> = BTreeMap::new();
        for (stream, n) in self.strips.iter().flat_map(|s| &s.cells).flat_map(|c| &c.streams) {
            *bytes.entry(*stream).or_default() += n;
        }
        let mut most: Vec<_> = bytes.into_iter().collect();
        most.sort_unstable_by_key(|(stream, n)| (std::cmp::Reverse(*n), *stream));
        most.into_iter().map(|(stream, _)| stream).zip(GROUPS).collect()
    }

    /// Renders the drawing.
    pub(crate) fn svg(&self) -> String {
        let legend = self.legend();
        let height = TOP + self.strips.len() * ROW + 62 + legend.len().div_ceil(4) * 20;
        let width = LEFT + CELLS * CELL + 120;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"12\" y=\"24\" font-size=\"16\" font-weight=\"bold\">Seawall log</text>\n\
             <text x=\"12\" y=\"42\" fill=\"#666\">{}</text>\n",
            self.title
        );
        for (n, strip) in self.strips.iter().enumerate() {
            let share = self.raft.then(|| strip.percent(&[Kind::Live, Kind::Relocated]));
            row(&mut svg, strip, TOP + n * ROW, &legend, share);
        }
        let below = TOP + self.strips.len() * ROW + 14;
        let mut x = 12;
        for (_, name, colour) in KINDS {
            swatch(&mut svg, x, below, colour, name);
            x += 40 + name.len() * 6;
        }
        for (n, (stream, colour)) in legend.iter().enumerate() {
            let (x, y) = (12 + n % 4 * 190, below + 24 + n / 4 * 20);
            swatch(&mut svg, x, y, colour, &format!("group {stream}"));
        }
        if !self.raft {
            let y = below + 32 + legend.len().div_ceil(4) * 20;
            writeln!(
                svg,
                "<text x=\"12\" y=\"{y}\" fill=\"#666\">Which records are dead is unknown here: everything intact is drawn as live.</text>"
            ).unwrap_or_default();
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn swatch(svg: &mut String, x: usize, y: usize, colour: &str, name: &str) {
    let (text_x, text_y) = (x + 17, y + 10);
    writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{colour}\"/>\
         <text x=\"{text_x}\" y=\"{text_y}\">{name}</text>"
    )
    .unwrap_or_default();
}

fn row(svg: &mut String, strip: &Strip, y: usize, legend: &[(u64, &'static str)], live: Option<u64>) {
    let live = live.map_or(String::new(), |share| format!("{share} % live"));
    writeln!(
        svg,
        "<g><title>segment {}: LSN {} to {}</title>\n<text x=\"12\" y=\"{}\">segment {}</text>\n\
         <text x=\"{}\" y=\"{}\" fill=\"#666\">{live}</text>",
        strip.id,
        strip.first,
        strip.end,
        y + 16,
        strip.id,
        LEFT + CELLS * CELL + 12,
        y + 16
    )
    .unwrap_or_default();
    runs(svg, strip.cells.iter().map(Cell::colour), y, 22);
    let colour_of = |stream: u64| legend.iter().find(|(s, _)| *s == stream).map_or(OTHERS, |(_, c)| c);
    runs(svg, strip.cells.iter().map(|c| c.stream().map(colour_of)), y + 24, 8);
    svg.push_str("</g>\n");
}

/// Adjacent cells of the same colour become one rectangle.
fn runs(svg: &mut String, colours: impl Iterator<Item = Option<&'static str>>, y: usize, height: usize) {
    let mut run: Option<(&'static str, usize, usize)> = None;
    for (n, colour) in colours.chain([None]).enumerate() {
        if let Some((same, _, end)) = run.as_mut()
            && colour == Some(*same)
        {
            *end = n + 1;
            continue;
        }
        if let Some((colour, start, end)) = run.take() {
            let (x, width) = (LEFT + start * CELL, (end - start) * CELL);
            writeln!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\"/>"
            )
            .unwrap_or_default();
        }
        run = colour.map(|colour| (colour, n, n + 1));
    }
}

fn strip(log: &LogView, segment: &SegmentReader, groups: Option<&Groups>) -> Result<Strip, Failure> {
    let id = segment.id().get();
    let first = segment.first_lsn().get();
    // What would be cut lies after its end.
    let torn: Vec<_> = log
        .would_cut()
        .iter()
        .filter(|c| c.file.file_name().is_some_and(|f| f == segment.file_name()))
        .collect();
    let cut_end = torn.iter().map(|c| c.lsns.end.get()).max().unwrap_or(0);
    let end = segment.end_lsn().get().max(cut_end);
    let mut strip = Strip {
        id,
        first,
        end,
        cells: vec![Cell::default(); CELLS],
        total: BTreeMap::new(),
        damage: Vec::new(),
    };
    for cut in torn {
        strip.paint(cut.lsns.start.get(), cut.lsns.end.get(), Kind::Torn, None);
    }
    for head in segment.salvage() {
        match head.and_then(|head| segment.read(head.lsn).map(|_| head)) {
            Ok(head) => {
                let kind = match fate(groups, &head) {
                    Fate::Live => Kind::Live,
                    Fate::Relocated => Kind::Relocated,
                    Fate::Dead => Kind::Dead,
                };
                let lsn = head.lsn.get();
                strip.paint(lsn, lsn + size(&head), kind, head.label.map(|l| l.stream));
            }
            Err(Error::Corruption(c)) => {
                let (lo, hi) = (c.lsns.start.get(), c.lsns.end.get());
                strip.damage.push((lo, hi));
                strip.paint(lo, hi, Kind::Damaged, None);
            }
            Err(e) => return Err(e.into()),
        }
    }
    strip.fill_rest();
    Ok(strip)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colours of groups differ from those of kinds, and from each other.
    #[test]
    fn no_two_colours_look_alike() {
        let parts = |c: &str| [1, 3, 5].map(|i| i32::from_str_radix(&c[i..i + 2], 16).unwrap());
        let apart = |a: &str, b: &str| -> i32 {
            parts(a).iter().zip(parts(b)).map(|(x, y)| (x - y) * (x - y)).sum::<i32>().isqrt()
        };
        let others = KINDS.map(|(.., colour)| colour).into_iter().chain([OTHERS]);
        let all: Vec<&str> = GROUPS.into_iter().chain(others).collect();
        for (n, a) in GROUPS.iter().enumerate() {
            for b in &all[n + 1..] {
                assert!(apart(a, b) >= 60, "{a} {b}: {}", apart(a, b));
            }
        }
    }
}
