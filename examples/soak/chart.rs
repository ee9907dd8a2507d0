//! Charts of the measurements over a common time axis, in one self-contained SVG.

use crate::SEGMENT;
use crate::sample::Sample;

const WIDTH: f64 = 940.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 240.0;
const TOP: f64 = 70.0;
const GAP: f64 = 50.0;
const MIB: f64 = 1_048_576.0;

struct Line {
    name: &'static str,
    color: &'static str,
    dashed: bool,
    of: fn(&Sample) -> f64,
}

struct Chart {
    title: &'static str,
    unit: &'static str,
    lines: &'static [Line],
}

const fn line(name: &'static str, color: &'static str, dashed: bool, of: fn(&Sample) -> f64) -> Line {
    Line { name, color, dashed, of }
}

const BLUE: &str = "#1f5fa8";
const GREEN: &str = "#2c8a4b";
const RED: &str = "#c0392b";
const GREY: &str = "#777777";

#[allow(clippy::cast_precision_loss)] // for people
const CHARTS: [Chart; 5] = [
    Chart {
        title: "Disk",
        unit: "MiB",
        lines: &[
            line("whole directory", GREY, false, |s| s.directory as f64 / MIB),
            line("bound: 2 x live + 3 segments", RED, true, |s| s.bound() as f64 / MIB),
            line("segments", BLUE, false, |s| s.segments as f64 / MIB),
            line("live", GREEN, false, |s| s.live as f64 / MIB),
        ],
    },
    Chart {
        title: "Memory",
        unit: "MiB",
        lines: &[
            line("resident, mapped files too", GREY, false, |s| s.resident as f64 / MIB),
            line("allocated heap", BLUE, false, |s| s.heap as f64 / MIB),
        ],
    },
    Chart {
        title: "Open file descriptors",
        unit: "number",
        lines: &[line("descriptors", BLUE, false, |s| s.descriptors as f64)],
    },
    Chart { title: "Threads", unit: "number", lines: &[line("threads", BLUE, false, |s| s.threads as f64)] },
    Chart {
        title: "Operations, each durable or a read",
        unit: "per second",
        lines: &[line("operations", BLUE, false, |s| s.operations)],
    },
];

/// Draws the samples; `what` describes them.
pub(crate) fn draw(what: &str, samples: &[Sample]) -> String {
    let height = TOP + CHARTS.len() as f64 * (HEIGHT + GAP) + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"18\" font-weight=\"bold\">Soak of one Raft log</text>\n\
         <text x=\"{LEFT}\" y=\"48\">{what}; segments of {} MiB</text>\n",
        SEGMENT >> 20
    );
    let end = samples.last().map_or(1.0, |s| s.seconds.max(1.0));
    for (n, chart) in CHARTS.iter().enumerate() {
        out += &chart.draw(samples, end, TOP + n as f64 * (HEIGHT + GAP) + 24.0);
    }
    out += "</svg>\n";
    out
}

impl Chart {
    /// The chart with its upper edge at `top`.
    fn draw(&self, samples: &[Sample], end: f64, top: f64) -> String {
        let all = self.lines.iter().flat_map(|line| samples.iter().map(line.of));
        let step = tick(all.fold(1.0, f64::max) / 4.0);
        let most = samples.iter().flat_map(|s| self.lines.iter().map(|l| (l.of)(s))).fold(step, f64::max);
        let most = (most / step).ceil() * step;
        let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| top + HEIGHT * (1.0 - value / most);
        let mut out = format!(
            "<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}, {}</text>\n",
            top - 8.0,
            self.title,
            self.unit
        );
        let mut put = |piece: String| out += &piece;
        for value in (0..).map(|n| f64::from(n) * step).take_while(|value| *value <= most * 1.001) {
            let (y, right) = (y(value), WIDTH - RIGHT);
            put(format!("<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\n"));
            put(format!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>\n",
                LEFT - 8.0,
                y + 4.0
            ));
        }
        let every = tick(end / 6.0);
        for seconds in (0..).map(|n| f64::from(n) * every).take_while(|t| *t <= end * 1.001) {
            let (x, under) = (x(seconds), top + HEIGHT + 16.0);
            put(format!("<text x=\"{x:.1}\" y=\"{under:.1}\" text-anchor=\"middle\">{seconds} s</text>\n"));
        }
        for (n, line) in self.lines.iter().enumerate() {
            let mut path = String::new();
            for (n, s) in samples.iter().enumerate() {
                let letter = if n == 0 { 'M' } else { 'L' };
                path += &format!("{letter}{:.1} {:.1}", x(s.seconds), y((line.of)(s)));
            }
            let dashes = if line.dashed { " stroke-dasharray=\"5 3\"" } else { "" };
            let stroke = format!("fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"{dashes}", line.color);
            put(format!("<path d=\"{path}\" {stroke}/>\n"));
            let (at, from) = (top + 12.0 + 18.0 * n as f64, WIDTH - RIGHT + 12.0);
            put(format!("<path d=\"M{from} {at}h18\" {stroke}/>\n"));
            put(format!("<text x=\"{}\" y=\"{}\">{}</text>\n", from + 24.0, at + 4.0, line.name));
        }
        out
    }
}

/// A round number near this one.
fn tick(rough: f64) -> f64 {
    let power = 10f64.powf(rough.max(1e-9).log10().floor());
    let round = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
    round.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power).max(1.0)
}
