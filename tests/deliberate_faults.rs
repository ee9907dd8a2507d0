//! The table of deliberate faults and the places in the code match: no fault without a row, no row without a fault.

// The same table as the example's; only its names are used here.
#![allow(dead_code)]

mod common;
#[path = "../examples/mutations/faults.rs"]
mod faults;

use std::collections::BTreeSet;
use std::path::Path;

use common::forgetful::Forgotten;
use faults::{FIELDS, IN_THE_CODE, ON_THE_DISK, Suite};

fn names(table: &[(&str, &str, Suite)]) -> BTreeSet<String> {
    let names: BTreeSet<String> = table.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names.len(), table.len(), "a name stands there twice");
    names
}

/// The sources of the library, in one.
fn sources(dir: &Path, into: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if !path.ends_with("mutation.rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// What is between the parenthesis that `text` begins behind and the one that closes it.
fn inside(text: &str) -> &str {
    let mut depth = 1;
    let end = text.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    &text[..end.unwrap()]
}

/// The names in `right, Name => wrong, Other => wrong`.
fn names_in(call: &str) -> BTreeSet<String> {
    let faults = call.split(" =>");
    let mut names: Vec<&str> =
        faults.filter_map(|before| before.rsplit(|c: char| !c.is_alphanumeric()).next()).collect();
    names.pop();
    assert!(!names.is_empty(), "{call}");
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn each_fault_in_the_code_has_a_row() {
    let mut code = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    let calls = code.split("or_fault!(").skip(1);
    let found: BTreeSet<String> = calls.flat_map(|rest| names_in(inside(rest))).collect();
    assert_eq!(found, names(IN_THE_CODE));
}

#[test]
fn each_fault_of_the_disk_has_a_row() {
    let found: BTreeSet<String> = Forgotten::ALL.iter().map(|forgotten| format!("{forgotten:?}")).collect();
    assert_eq!(found, names(ON_THE_DISK));
    assert!(found.is_disjoint(&names(IN_THE_CODE)));
}

/// A checksum leaves a field out only if its codec asks for that by this name.
#[test]
fn each_codec_with_fields_in_the_table_can_leave_them_out() {
    let mut code = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format"), &mut code);
    for (codec, ..) in FIELDS {
        assert!(code.contains(&format!("\"{codec}\"")), "{codec}");
    }
}

#[test]
fn the_document_has_the_row_of_each_fault() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/RELIABILITY.md");
    let text = std::fs::read_to_string(page).unwrap();
    for (name, what, suite) in ON_THE_DISK.iter().chain(IN_THE_CODE) {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{name}` | {what} |")));
        let program = format!("`{}`", suite.program);
        assert!(row.is_some_and(|row| row.contains(&program)), "{name}: {row:?}");
    }
}
