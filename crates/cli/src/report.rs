//! `seawall report`.

// Writing to a string cannot fail.
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use seawall::Verdict;
use serde_json::json;

use crate::Health;
use crate::failure::Failure;
use crate::picture::Picture;
use crate::verify::{self, Found};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log's directory
    dir: PathBuf,
    /// The file to write; it is self-contained
    #[arg(long)]
    html: PathBuf,
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    let found = verify::watched(&args.dir, as_json)?;
    let map = match Picture::look(&args.dir) {
        Ok(picture) => picture.svg(),
        // The chain of segments is broken: only the output of verify is available.
        Err(Failure::Damaged(why)) => format!("<p>No map: {}</p>", escape(&why)),
        Err(e) => return Err(e),
    };
    std::fs::write(&args.html, page(&args.dir, &found, &map))
        .map_err(|e| Failure::Undone(format!("cannot write {}: {e}", args.html.display())))?;
    if as_json {
        println!(
            "{:#}",
            json!({ "file": args.html.display().to_string(), "damaged": found.verdict == Verdict::Damaged })
        );
    } else {
        println!("{}", args.html.display());
    }
    Ok(found.health())
}

const STYLE: &str = "body{font:14px sans-serif;max-width:1060px;margin:2em auto;color:#222}\
    svg{max-width:100%;height:auto;border:1px solid #ddd}table{border-collapse:collapse}\
    td,th{padding:.25em .8em;text-align:right;border-bottom:1px solid #eee}\
    .good{color:#2a7d4f}.bad{color:#d62828}li{margin:.4em 0}";

fn page(dir: &Path, found: &Found, map: &str) -> String {
    let report = &found.log;
    let name = escape(&dir.display().to_string());
    let verdict = match found.verdict {
        Verdict::Whole => "<p class=\"good\">The log is whole.</p>",
        Verdict::Cuts => {
            "<p>The log opens, and an open will cut off the unproven tail. Nothing was changed.</p>"
        }
        Verdict::Damaged => "<p class=\"bad\">The log is damaged. Nothing was changed.</p>",
    };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title><style>{STYLE}</style>\n\
         <h1>{name}</h1>\n{verdict}\n<p>Log {}, owner {}, LSN {} to {}.</p>\n<h2>Map</h2>\n{map}\n",
        report.uuid.map_or("unknown".to_owned(), |u| u.to_string()),
        report.owner.map_or("none".to_owned(), |o| o.to_string()),
        report.first_lsn,
        report.end_lsn
    );
    page.push_str("<h2>Sizes</h2>\n<table><tr><th>segment<th>first LSN<th>end LSN<th>bytes<th>blocks<th>records<th>footer</tr>\n");
    for s in &report.segments {
        let bytes = s.end_lsn.distance_from(s.first_lsn).unwrap_or(0);
        writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{bytes}<td>{}<td>{}<td>{}</tr>",
            s.id,
            s.first_lsn,
            s.end_lsn,
            s.blocks,
            s.records,
            if s.footer { "yes" } else { "no" }
        )
        .unwrap_or_default();
    }
    page.push_str("</table>\n<h2>What the next open would find</h2>\n<ul>\n");
    for problem in &report.problems {
        writeln!(
            page,
            "<li class=\"bad\">It would refuse, or a read would: {}",
            escape(&problem.to_string())
        )
        .unwrap_or_default();
    }
    let of_groups = found.groups.as_ref().map_or(&[][..], |of| &of.problems);
    for problem in of_groups {
        writeln!(page, "<li class=\"bad\">It would refuse: {}", escape(problem)).unwrap_or_default();
    }
    for cut in &report.torn {
        writeln!(page, "<li>It would {}", escape(&cut.to_string())).unwrap_or_default();
    }
    if found.verdict == Verdict::Whole {
        page.push_str("<li>Nothing to cut, nothing to refuse.\n");
    }
    page.push_str("</ul>\n</html>\n");
    page
}

/// File names are untrusted.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
