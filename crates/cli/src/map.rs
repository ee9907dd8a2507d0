//! `seawall map`.

use std::path::PathBuf;

use serde_json::json;

use crate::Health;
use crate::failure::Failure;
use crate::picture::Picture;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The log's directory
    dir: PathBuf,
    /// The file to write
    #[arg(long)]
    svg: PathBuf,
}

pub(crate) fn run(args: &Args, as_json: bool) -> Result<Health, Failure> {
    let picture = Picture::look(&args.dir)?;
    std::fs::write(&args.svg, picture.svg())
        .map_err(|e| Failure::Undone(format!("cannot write {}: {e}", args.svg.display())))?;
    if as_json {
        println!("{:#}", json!({ "file": args.svg.display().to_string(), "damaged": picture.is_damaged() }));
    } else {
        println!("{}", args.svg.display());
    }
    Ok(if picture.is_damaged() { Health::Damaged } else { Health::Good })
}
