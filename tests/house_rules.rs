//! The documented structure, checked by reading the sources: imports go one way, `unsafe` is confined to two files,
//! and files and functions stay small enough to be read. The same rules apply to the tool.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Layers, lowest first. A module may import only from its own module or from a lower layer. The modules in one line
/// do not know each other.
const LAYERS: &[&[&str]] = &[
    &["counter", "lsn", "mutation", "size", "sync", "trace"],
    &["error"],
    &["cores", "report", "health"],
    &["observe", "codec"],
    &["format", "io", "options", "stats"],
    &["monitor"],
    &["segment"],
    &["commit", "recovery", "retention", "retry"],
    &["log"],
    &["wal", "reader", "backup", "verify", "view"],
    &["repair"],
    &["groups"],
    &["raft", "guide"],
];

/// Intended imports inside one layer: `options` knows the sizes of the format; the log and its iterators name each
/// other; a copy is made of the open log.
const SIDEWAYS: &[(&str, &str)] = &[("options", "format"), ("wal", "reader"), ("backup", "wal")];

/// Where the tool's sources are. The published package has only the library.
const TOOL: &str = "crates/cli/src";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_published_package() -> bool {
    !std::fs::read_to_string(root().join("Cargo.toml")).unwrap().contains("[workspace]")
}

fn sources_of_the_library() -> Vec<(PathBuf, String)> {
    let all = sources_in("src");
    assert!(all.len() > 20);
    all
}

fn sources_of_the_tool() -> Vec<(PathBuf, String)> {
    if is_published_package() {
        return Vec::new();
    }
    let all = sources_in(TOOL);
    assert!(all.len() > 20);
    all
}

fn sources() -> Vec<(PathBuf, String)> {
    [sources_of_the_library(), sources_of_the_tool()].concat()
}

fn sources_in(directory: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                into.push((path, text));
            }
        }
    }
    let mut all = Vec::new();
    walk(&root().join(directory), &mut all);
    all
}

fn module_of(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    below.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|l| l.contains(&module))
}

/// The code before the unit tests, which may import what they like.
fn library_part(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

#[test]
fn imports_go_one_way() {
    // An export of the crate root counts as an import from the module that defines it.
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let exported = |name: &str| -> Option<String> {
        let line = lib.lines().find(|l| {
            l.starts_with("pub use") && l.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == name)
        })?;
        Some(line.trim_start_matches("pub use ").split("::").next()?.to_owned())
    };
    let mut wrong = BTreeSet::new();
    let mut seen = 0;
    for (path, text) in sources_of_the_library() {
        let module = module_of(&path);
        if module == "lib" {
            continue;
        }
        let Some(own) = layer(&module) else { panic!("{module} has no layer") };
        let code: String = library_part(&text)
            .lines()
            .filter(|l| !l.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n");
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            let names: Vec<String> = match rest.strip_prefix('{') {
                Some(list) => list
                    .split('}')
                    .next()
                    .unwrap()
                    .split(',')
                    .map(|n| n.trim().split("::").next().unwrap().to_owned())
                    .filter(|n| !n.is_empty())
                    .collect(),
                None => {
                    vec![rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned()]
                }
            };
            for name in names {
                let target = if layer(&name).is_some() { Some(name.clone()) } else { exported(&name) };
                let Some(target) = target else { continue };
                seen += 1;
                let Some(theirs) = layer(&target) else { continue };
                let sideways = SIDEWAYS.contains(&(module.as_str(), target.as_str()));
                if target != module && theirs >= own && !sideways {
                    wrong.insert(format!("{} imports {target} ({name})", path.display()));
                }
            }
        }
    }
    assert!(seen > 100, "the test reads nothing: {seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Small helpers of the crate that belong to no layer and are not part of the log.
const SHARED: &[&str] = &["cores", "counter", "mutation", "size", "sync", "trace"];

/// The groups layer and the Raft layer use only what any program can use of the log below: exports of the root, or
/// items in public modules.
#[test]
fn the_layers_above_use_the_public_api_of_the_log_below() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let is_public = |module: &str| lib.contains(&format!("\npub mod {module};"));
    // A public item of the module's own file, or one that this exports.
    let exports = |module: &str, name: &str| {
        let files = [format!("src/{module}.rs"), format!("src/{module}/mod.rs")];
        let text: String =
            files.iter().filter_map(|f| std::fs::read_to_string(root().join(f)).ok()).collect();
        text.lines().any(|l| {
            let named = if l.starts_with("pub use ") { l.rsplit("::").next().unwrap() } else { l };
            l.starts_with("pub ")
                && named.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == name)
        })
    };
    let (mut wrong, mut seen) = (BTreeSet::new(), 0);
    for (path, text) in sources_of_the_library() {
        let own = module_of(&path);
        if own != "groups" && own != "raft" {
            continue;
        }
        for (at, _) in library_part(&text).match_indices("crate::") {
            let rest = &text[at + "crate::".len()..];
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let name: String = rest.chars().take_while(|c| word(*c)).collect();
            // A list in braces has names that the root exports; so has a path of one word.
            let is_module = rest[name.len()..].starts_with("::") && !name.is_empty();
            // The Raft layer uses more of `groups` than others can.
            let is_below = name != own && name != "groups" && !SHARED.contains(&name.as_str());
            if !is_module || !name.starts_with(char::is_lowercase) || !is_below {
                continue;
            }
            let inside = &rest[name.len() + 2..];
            let names: Vec<&str> = match inside.strip_prefix('{') {
                Some(list) => list.split('}').next().unwrap().split(',').map(str::trim).collect(),
                None => vec![inside],
            };
            for of in names {
                let of: String = of.chars().take_while(|c| word(*c)).collect();
                seen += 1;
                if !is_public(&name) || !exports(&name, &of) {
                    wrong.insert(format!("{} uses {name}::{of}", path.display()));
                }
            }
        }
    }
    assert!(seen > 50, "the test reads nothing: {seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_lives_in_the_mapping_and_in_what_tells_processes_apart() {
    for (path, text) in sources() {
        let has = text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains("unsafe "));
        let allowed = path.ends_with("io/mapping.rs") || path.ends_with("io/process.rs");
        assert!(!has || allowed, "{}", path.display());
    }
}

#[test]
fn files_and_functions_can_be_read() {
    for (path, text) in sources() {
        let code = library_part(&text);
        assert!(code.lines().count() <= 620, "{} is too long", path.display());
        let mut start: Option<(usize, usize)> = None;
        for (n, line) in code.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let opens = line.contains("fn ")
                && !line.trim_start().starts_with("//")
                && !line.trim_end().ends_with(';');
            if opens && start.is_none() {
                start = Some((n, indent));
            }
            if let Some((from, at)) = start
                && indent == at
                && line.trim_start().starts_with('}')
            {
                assert!(
                    n - from <= 70,
                    "{}:{} is a function of {} lines",
                    path.display(),
                    from + 1,
                    n - from
                );
                start = None;
            }
        }
    }
}

/// The library's lints are declared in the two roots, because different rules apply to tests, benchmarks and
/// examples.
#[test]
fn both_roots_refuse_what_may_panic() {
    let tool = format!("{TOOL}/main.rs");
    let roots = if is_published_package() { vec!["src/lib.rs"] } else { vec!["src/lib.rs", &tool] };
    for file in roots {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let attributes: String =
            text.lines().filter(|l| l.starts_with("#![deny") || l.starts_with("#![warn")).collect();
        for lint in ["unwrap_used", "expect_used", "panic", "indexing_slicing", "cast_possible_truncation"] {
            assert!(attributes.contains(&format!("clippy::{lint}")), "{file} does not refuse {lint}");
        }
    }
}

/// The tool uses the library like any program: it includes none of its sources by path.
#[test]
fn the_tool_uses_the_public_api_only() {
    for (path, text) in sources_of_the_tool() {
        let includes = text.contains("#[path") || text.contains("include!(");
        assert!(!includes, "{}", path.display());
    }
}

/// Examples are copied, so they propagate errors. The one whose instructions are counted does only its work.
#[test]
fn examples_hand_errors_on() {
    let mut seen = 0;
    for (path, text) in sources_in("examples") {
        seen += 1;
        let hands_on = !text.contains(".unwrap()") && !text.contains(".expect(");
        assert!(hands_on || path.ends_with("instructions.rs"), "{}", path.display());
    }
    assert!(seen > 10);
}
