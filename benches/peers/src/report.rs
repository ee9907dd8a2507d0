//! Reports the measurements: a table for people, JSON for programs, a chart per workload.

use std::fmt::Write as _;
use std::path::Path;

use plotters::prelude::*;
use serde_json::{Value, json};

use crate::measure::Row;

const OURS: &str = "seawall";

/// One row per setting and subject: the median, its range, and our ratio to it, round by round.
pub fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let _ = writeln!(out, "\n({}) {}, {}", row.workload, row.setting, row.unit);
        for name in &row.order {
            let series = &row.subjects[name];
            let _ = write!(out, "  {name:<24}{:>12}", number(series.median()));
            let _ = write!(out, "   {:>10} - {:<10}", number(series.min()), number(series.max()));
            if let (Some(ours), true) = (row.subjects.get(OURS), *name != OURS) {
                let ratio = ours.over(series);
                let _ = write!(
                    out,
                    "seawall {} x ({} - {})",
                    number(ratio.median()),
                    number(ratio.min()),
                    number(ratio.max())
                );
            }
            out.push('\n');
        }
    }
    out
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub fn to_json(rows: &[Row], rounds: usize) -> Value {
    let row = |row: &Row| {
        let subjects: serde_json::Map<String, Value> =
            row.subjects.iter().map(|(name, series)| ((*name).to_owned(), json!(series.0))).collect();
        json!({
            "workload": row.workload, "setting": row.setting, "unit": row.unit,
            "more_is_better": row.more_is_better, "rounds": subjects,
        })
    };
    json!({ "rounds": rounds, "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

/// One chart per workload: a group of bars per setting, a bar per subject, as shares of the setting's largest median.
pub fn plots(rows: &[Row], dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(dir)?;
    let mut workloads: Vec<&str> = rows.iter().map(|r| r.workload).collect();
    workloads.dedup();
    for workload in workloads {
        let of: Vec<&Row> = rows.iter().filter(|r| r.workload == workload).collect();
        plot(&of, &dir.join(format!("{workload}.svg")))?;
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_precision_loss)]
fn plot(rows: &[&Row], file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().flat_map(|r| &r.order) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let (left, bar, gap, width) = (330, 16, 14, 1100);
    let height = 60 + rows.iter().map(|r| r.order.len() as i32 * bar + gap).sum::<i32>();
    let root = SVGBackend::new(file, (width, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |size| ("sans-serif", size).into_font();
    for (n, name) in names.iter().enumerate() {
        let x = left + n as i32 * 125;
        root.draw(&Rectangle::new([(x, 14), (x + 12, 26)], colour(n).filled()))?;
        root.draw(&Text::new((*name).to_owned(), (x + 17, 14), text(12)))?;
    }
    let mut y = 44;
    for row in rows {
        root.draw(&Text::new(format!("{} ({})", row.setting, row.unit), (8, y), text(12)))?;
        let largest = row.subjects.values().map(crate::measure::Series::median).fold(0.0, f64::max);
        for name in &row.order {
            let value = row.subjects[name].median();
            let length = ((width as i32 - left - 110) as f64 * value / largest) as i32;
            let at = names.iter().position(|n| n == name).unwrap_or(0);
            root.draw(&Rectangle::new(
                [(left, y), (left + length.max(1), y + bar - 3)],
                colour(at).filled(),
            ))?;
            root.draw(&Text::new(number(value), (left + length + 5, y), text(12)))?;
            y += bar;
        }
        y += gap;
    }
    root.present()?;
    Ok(())
}

fn colour(n: usize) -> RGBColor {
    const COLOURS: [RGBColor; 7] = [
        RGBColor(120, 120, 120),
        RGBColor(0, 102, 178),
        RGBColor(214, 96, 43),
        RGBColor(240, 170, 110),
        RGBColor(70, 150, 90),
        RGBColor(150, 100, 170),
        RGBColor(180, 150, 50),
    ];
    COLOURS[n % COLOURS.len()]
}
