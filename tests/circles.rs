//! No two files of a folder import each other, directly or indirectly: what two files share is a separate file below
//! both. Checked by reading the sources.
//!
//! A folder's own file (`mod.rs`, or `folder.rs` beside it) counts as one of its files, and a subfolder counts as one
//! file. A name that a file only re-exports (`pub use`) leads to the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Circles that still exist, by folder: the files of each. Only `raft` and the tool may be listed.
const KNOWN: &[(&str, &[&str])] = &[];

type Module = Vec<String>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Colons,
    Other(char),
}

/// The code's tokens, without comments, strings and characters.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut i, mut out) = (0, Vec::new());
    while i < chars.len() {
        match (at(i), at(i + 1)) {
            ('/', '/') => i += chars[i..].iter().take_while(|c| **c != '\n').count(),
            ('/', '*') => {
                i += 2;
                while i < chars.len() && (at(i), at(i + 1)) != ('*', '/') {
                    i += 1;
                }
                i += 2;
            }
            ('"', _) => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            // A character, not a lifetime.
            ('\'', '\\') => i += 2 + chars[i + 3..].iter().take_while(|c| **c != '\'').count() + 2,
            ('\'', _) if at(i + 2) == '\'' => i += 3,
            (':', ':') => {
                out.push(Token::Colons);
                i += 2;
            }
            (c, _) if word(c) => {
                let text: String = chars[i..].iter().take_while(|c| word(**c)).collect();
                i += text.chars().count();
                out.push(Token::Word(text));
            }
            (c, _) => {
                if !c.is_whitespace() {
                    out.push(Token::Other(c));
                }
                i += 1;
            }
        }
    }
    out
}

/// A path that appears in a file.
#[derive(Clone, Debug)]
struct Written {
    path: Vec<String>,
    /// The name that it has in this file, if it is imported.
    name: Option<String>,
    /// It is re-exported.
    passed_on: bool,
    /// The number of modules inside the file around it.
    inside: usize,
}

#[derive(Debug, Default)]
struct Source {
    written: Vec<Written>,
    /// The words outside of imports.
    words: BTreeSet<String>,
    /// Modules that only tests have.
    tests: BTreeSet<String>,
}

fn read(text: &str) -> Source {
    let mut source = Source::default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for pair in lines.windows(2) {
        if let Some(name) = pair[1].strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';'))
            && pair[0].starts_with("#[cfg(")
            && pair[0].contains("test")
        {
            source.tests.insert(name.to_owned());
        }
    }
    let library = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let all = tokens(library);
    let is = |i: usize, what: &str| matches!(all.get(i), Some(Token::Word(word)) if word == what);
    let other = |i: usize, c: char| all.get(i) == Some(&Token::Other(c));
    let (mut i, mut depth, mut inline) = (0, 0usize, Vec::new());
    while i < all.len() {
        if other(i, '{') {
            depth += 1;
        } else if other(i, '}') {
            depth -= 1;
            inline.pop_if(|opened: &mut usize| *opened > depth);
        } else if is(i, "mod") && other(i + 2, '{') {
            inline.push(depth + 1);
        } else if is(i, "use") {
            let passed_on = i > 0 && (is(i - 1, "pub") || other(i - 1, ')'));
            let mut found = Vec::new();
            i = tree(&all, i + 1, &[], &mut found);
            source.written.extend(found.into_iter().map(|(path, name)| Written {
                path,
                name: Some(name),
                passed_on,
                inside: inline.len(),
            }));
            continue;
        } else if let Token::Word(word) = &all[i] {
            let declares = i > 0 && (is(i - 1, "mod") || other(i - 1, '.'));
            if !declares {
                source.words.insert(word.clone());
            }
            if all.get(i + 1) == Some(&Token::Colons) && (i == 0 || all[i - 1] != Token::Colons) {
                let mut path = vec![word.clone()];
                while let (Some(Token::Colons), Some(Token::Word(next))) =
                    (all.get(i + 2 * path.len() - 1), all.get(i + 2 * path.len()))
                {
                    path.push(next.clone());
                }
                source.written.push(Written { path, name: None, passed_on: false, inside: inline.len() });
            }
        }
        i += 1;
    }
    source
}

/// Reads what an import names, starting at `i`, with its names here. Returns where it ends.
fn tree(all: &[Token], mut i: usize, before: &[String], found: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = before.to_vec();
    loop {
        match &all[i] {
            Token::Word(word) if word == "as" => {
                let Token::Word(name) = &all[i + 1] else { panic!("a name behind `as`") };
                found.last_mut().unwrap().1.clone_from(name);
                i += 2;
            }
            Token::Word(word) => {
                path.push(word.clone());
                i += 1;
                if all[i] != Token::Colons {
                    let own = if word == "self" && path.len() > 1 {
                        path[path.len() - 2].clone()
                    } else {
                        word.clone()
                    };
                    found.push((path.clone(), own));
                }
            }
            Token::Colons => i += 1,
            Token::Other('{') => {
                i += 1;
                while all[i] != Token::Other('}') {
                    i = tree(all, i, &path, found);
                    if all[i] == Token::Other(',') {
                        i += 1;
                    }
                }
                i += 1;
            }
            Token::Other('*') => {
                found.push((path.clone(), "*".to_owned()));
                i += 1;
            }
            _ => return i,
        }
    }
}

/// The files of one crate, by module.
struct Crate(BTreeMap<Module, Source>);

impl Crate {
    fn of(root: &Path, skip: &str) -> Self {
        fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
            for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() { walk(&path, into) } else { into.push(path) }
            }
        }
        let (mut paths, mut all) = (Vec::new(), BTreeMap::new());
        if root.is_dir() {
            walk(root, &mut paths);
        }
        for path in paths {
            let below = path.strip_prefix(root).unwrap().with_extension("");
            let mut module: Module = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            module.pop_if(|last| last == "mod");
            if module == ["lib"] || module == ["main"] {
                module.clear();
            }
            if module.first().is_none_or(|first| first != skip) {
                all.insert(module, read(&std::fs::read_to_string(&path).unwrap()));
            }
        }
        let tests: Vec<Module> = all
            .iter()
            .flat_map(|(module, source)| {
                source.tests.iter().map(|test| [module.clone(), vec![test.clone()]].concat())
            })
            .collect();
        all.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Crate(all)
    }

    /// The file that defines what this path names, written in `module`.
    fn resolve(&self, module: &Module, written: &Written, deep: usize) -> Option<Module> {
        assert!(deep < 20, "{module:?} {written:?}");
        let (mut here, mut inside, mut rest) = (module.clone(), written.inside, &written.path[..]);
        match rest[0].as_str() {
            "crate" => {
                here.clear();
                rest = &rest[1..];
            }
            "self" if inside > 0 => return None,
            "self" => rest = &rest[1..],
            "super" => {
                while let ["super", ..] = rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    match inside {
                        0 => drop(here.pop()),
                        _ => inside -= 1,
                    }
                    rest = &rest[1..];
                }
            }
            first => {
                let child = [here.clone(), vec![first.to_owned()]].concat();
                if inside > 0 || !self.0.contains_key(&child) {
                    return None;
                }
            }
        }
        while let Some(next) = rest.first() {
            let child = [here.clone(), vec![next.clone()]].concat();
            if !self.0.contains_key(&child) {
                break;
            }
            (here, rest) = (child, &rest[1..]);
        }
        let source = self.0.get(&here)?;
        if let Some(item) = rest.first()
            && let Some(imported) =
                source.written.iter().find(|w| w.inside == 0 && w.name.as_ref() == Some(item))
        {
            let through = Written { path: [&imported.path, &rest[1..]].concat(), ..imported.clone() };
            return self.resolve(&here, &through, deep + 1).or(Some(here));
        }
        Some(here)
    }

    /// Which file imports which, and by what path.
    fn imports(&self) -> BTreeMap<(Module, Module), String> {
        let mut all = BTreeMap::new();
        for (module, source) in &self.0 {
            for written in &source.written {
                let only_passed_on = written.passed_on
                    && written.name.as_ref().is_some_and(|name| !source.words.contains(name));
                let Some(target) = self.resolve(module, written, 0) else { continue };
                if !only_passed_on && target != *module {
                    all.entry((module.clone(), target)).or_insert(written.path.join("::"));
                }
            }
        }
        all
    }
}

/// The circles in each folder: its name, and the files of each circle.
fn circles(sources: &Crate) -> Vec<(String, BTreeSet<String>, Vec<String>)> {
    let imports = sources.imports();
    let folders: BTreeSet<Module> =
        sources.0.keys().filter(|m| !m.is_empty()).map(|m| m[..m.len() - 1].to_vec()).collect();
    let mut found = Vec::new();
    for folder in folders {
        let file_in = |module: &Module| -> Option<String> {
            let rest = module.strip_prefix(&folder[..])?;
            Some(rest.first().map_or("mod", String::as_str).to_owned())
        };
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut said = BTreeMap::new();
        for ((from, to), path) in &imports {
            if let (Some(a), Some(b)) = (file_in(from), file_in(to))
                && a != b
            {
                said.entry((a.clone(), b.clone())).or_insert(format!("{a} imports {path} of {b}"));
                edges.entry(a).or_default().insert(b);
            }
        }
        let reach = |from: &String| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(file) = next.pop() {
                for to in edges.get(&file).into_iter().flatten() {
                    if seen.insert(to.clone()) {
                        next.push(to.clone());
                    }
                }
            }
            seen
        };
        let reached: BTreeMap<&String, BTreeSet<String>> = edges.keys().map(|f| (f, reach(f))).collect();
        let circle_of = |file: &String| -> BTreeSet<String> {
            let back = |other: &&String| reached.get(*other).is_some_and(|seen| seen.contains(file));
            reached[file].iter().filter(back).cloned().collect()
        };
        let all: BTreeSet<BTreeSet<String>> =
            edges.keys().map(circle_of).filter(|circle| circle.len() > 1).collect();
        for circle in all {
            let inside = |a: &String, b: &String| circle.contains(a) && circle.contains(b);
            let words =
                said.iter().filter(|((a, b), _)| inside(a, b)).map(|(_, text)| text.clone()).collect();
            found.push((folder.join("/"), circle, words));
        }
    }
    found
}

#[test]
fn no_two_files_of_a_folder_import_each_other() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert!(Crate::of(&src, "bin").imports().len() > 500, "the test reads nothing");
    let mut found = circles(&Crate::of(&src, "bin"));
    let tool = circles(&Crate::of(&src.join("bin/seawall"), ""));
    let in_src = |folder: &str| format!("bin/seawall/{folder}").trim_end_matches('/').to_owned();
    found.extend(tool.into_iter().map(|(folder, circle, words)| (in_src(&folder), circle, words)));
    let known = |folder: &str, circle: &BTreeSet<String>| {
        KNOWN
            .iter()
            .any(|(f, files)| *f == folder && circle.iter().all(|file| files.contains(&file.as_str())))
    };
    assert!(KNOWN.iter().all(|(folder, _)| folder.starts_with("raft") || folder.starts_with("bin/seawall")));
    found.retain(|(folder, circle, _)| !known(folder, circle));
    assert!(found.is_empty(), "{found:#?}");
}

/// The control: circles in sample files are found, and none where there is none.
#[test]
fn a_circle_is_found_and_nothing_else() {
    let found = |files: &[(&str, &str)]| -> Vec<(String, Vec<String>)> {
        let module =
            |name: &str| name.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let sources = Crate(files.iter().map(|(name, text)| (module(name), read(text))).collect());
        circles(&sources).into_iter().map(|(f, circle, _)| (f, circle.into_iter().collect())).collect()
    };
    let circle = |folder: &str, files: &[&str]| {
        vec![(folder.to_owned(), files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>())]
    };
    let facade = ("a", "mod x;\nmod y;\npub(crate) use x::X;\npub(crate) use y::Y;");
    // Both ways, one of them through the folder's own file, the other in the middle of the code.
    let x = ("a/x", "use super::Y;\nstruct X;");
    let y = ("a/y", "struct Y;\nfn f() { super::x::g() }");
    assert_eq!(found(&[("", "mod a;"), facade, x, y]), circle("a", &["x", "y"]));
    // One way only.
    assert_eq!(found(&[("", "mod a;"), facade, x, ("a/y", "// super::x\nstruct Y(&'static str);")]), []);
    // With a folder's own file that does more than pass on.
    let own = ("a", "mod x;\nuse x::X;\npub(crate) struct Own(X);");
    assert_eq!(
        found(&[("", "mod a;"), own, ("a/x", "use super::{Own, Other};")]),
        circle("a", &["mod", "x"])
    );
    // Three files of the crate's top, one of them a folder.
    let top = [("", "mod a; mod b; mod c;"), ("a/x", "use crate::b::{self, B as C};"), ("a", "mod x;")];
    let back = ("c", "use crate::a::x::X;");
    let all = |b| found(&[top[0], top[1], top[2], ("b", b), back]);
    assert_eq!(all("use crate::c;"), circle("", &["a", "b", "c"]));
    assert_eq!(all("#[cfg(test)]\nmod tests { use crate::c; }"), []);
    // A module inside a file is that file.
    let inner = ("b", "mod inner { use super::Other; use crate::a; }\nstruct Other;");
    assert_eq!(
        found(&[("", "mod a; mod b;"), ("a", "use crate::b::Other;"), inner]),
        circle("", &["a", "b"])
    );
}
