//! Shared by the tests of error messages: the variants of an error, and which of them occurred.
#![allow(dead_code)] // each test file uses a part of it

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::path::Path;

/// The variants of an enum, as its source names them.
pub fn variants(source: &str, name: &str) -> Vec<String> {
    let body = source.split(&format!("pub enum {name} {{\n")).nth(1).unwrap().split("\n}\n").next().unwrap();
    let heads = body
        .lines()
        .filter(|l| l.starts_with("    ") && l[4..].starts_with(|c: char| c.is_ascii_uppercase()));
    heads.map(|l| word(l.trim())).collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// An error that occurred, and its expected text.
pub struct Met {
    variant: String,
    said: String,
    expected: String,
}

/// An error that names no file.
pub fn met<E: Debug + Display>(e: E, expected: impl Into<String>) -> Met {
    Met { variant: word(&format!("{e:?}")), said: e.to_string(), expected: expected.into() }
}

/// An error about a file in this directory, which is DIR in the expected text.
pub fn met_in<E: Debug + Display>(dir: &Path, e: E, expected: impl Into<String>) -> Met {
    let mut met = met(e, expected);
    met.said = met.said.replace(dir.to_str().unwrap(), "DIR");
    met
}

/// Every error has the expected text, and every variant occurred except those with a stated reason.
pub fn check(source: &str, name: &str, all: &[Met], unreached: &[(&str, &str)]) {
    let differ = all.iter().filter(|met| met.said != met.expected);
    let differ: Vec<String> = differ
        .map(|met| format!("{name}::{} says\n  {}\nand not\n  {}\n", met.variant, met.said, met.expected))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    let met: BTreeSet<&str> = all.iter().map(|met| met.variant.as_str()).collect();
    let excused: BTreeSet<&str> = unreached.iter().map(|(variant, _)| *variant).collect();
    let there = variants(source, name);
    let missed: Vec<&String> =
        there.iter().filter(|v| !met.contains(v.as_str()) && !excused.contains(v.as_str())).collect();
    assert!(missed.is_empty(), "no situation leads to {name}::{missed:?}");
    assert!(met.is_disjoint(&excused), "reached after all: {:?}", met.intersection(&excused));
    assert!(excused.iter().all(|variant| there.iter().any(|v| v == variant)), "{excused:?}");
}
