//! The public API of the crate is listed in `docs/api.txt`, so a change is visible in review and never accidental.
//!
//! The listing is made from the sources: every `pub` item, without bodies, private fields and documentation. The lint
//! `unreachable_pub` rejects `pub` items that cannot be reached, so everything `pub` is public. Items that need a
//! feature are listed with their `cfg`.
//!
//! To renew it: `SEAWALL_API=write cargo test --test public_api`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::{Attribute, Fields, File, ImplItem, Item, ItemImpl, TraitItem, Type, Visibility, parse_quote};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The library's sources, by path, parsed.
fn sources() -> Vec<(String, File)> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
            match entry.is_dir() {
                true => walk(&entry, into),
                false => into.push(entry),
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join("src"), &mut paths);
    paths.sort();
    let parsed = |path: &PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        (name, syn::parse_file(&std::fs::read_to_string(path).unwrap()).unwrap())
    };
    paths.iter().map(parsed).collect()
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The attributes that matter to users of the item.
fn keep_attributes(attributes: &mut Vec<Attribute>) {
    let said = ["cfg", "derive", "non_exhaustive", "must_use", "deprecated", "repr", "from"];
    attributes.retain(|a| said.iter().any(|name| a.path().is_ident(name)));
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|a| a.path().is_ident("cfg") && a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("test")))
}

fn keep_fields(fields: &mut Fields) {
    match fields {
        Fields::Named(named) => {
            named.named = named.named.iter().filter(|f| is_public(&f.vis)).cloned().collect();
            named.named.iter_mut().for_each(|f| keep_attributes(&mut f.attrs));
        }
        // The type of a private field is not listed.
        Fields::Unnamed(unnamed) => {
            for field in &mut unnamed.unnamed {
                keep_attributes(&mut field.attrs);
                if !is_public(&field.vis) {
                    field.vis = Visibility::Inherited;
                    field.ty = parse_quote!(_);
                }
            }
        }
        Fields::Unit => {}
    }
}

/// The name of the type that an `impl` is for.
fn self_name(item: &ItemImpl) -> Option<String> {
    match &*item.self_ty {
        Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
        _ => None,
    }
}

fn keep_impl(mut item: ItemImpl, public: &BTreeSet<String>) -> Option<Item> {
    let of_public = self_name(&item).is_some_and(|name| public.contains(&name));
    // `impl From<Error> for raft::Error`: for a foreign type, but public all the same.
    let foreign = matches!(&*item.self_ty, Type::Path(p) if p.path.leading_colon.is_some() || p.path.segments.len() > 1);
    let listed = of_public || (foreign && item.trait_.is_some());
    if !listed {
        return None;
    }
    keep_attributes(&mut item.attrs);
    let of_trait = item.trait_.is_some();
    item.items.retain_mut(|inner| match inner {
        ImplItem::Fn(f) if is_public(&f.vis) => {
            keep_attributes(&mut f.attrs);
            f.block = parse_quote!({});
            true
        }
        ImplItem::Const(c) if is_public(&c.vis) => {
            keep_attributes(&mut c.attrs);
            true
        }
        ImplItem::Type(_) => of_trait,
        _ => false,
    });
    (of_trait || !item.items.is_empty()).then_some(Item::Impl(item))
}

/// The item as others see it, if it is public.
fn keep(item: Item, public: &BTreeSet<String>) -> Option<Item> {
    Some(match item {
        Item::Fn(mut f) if is_public(&f.vis) => {
            keep_attributes(&mut f.attrs);
            f.block = parse_quote!({});
            Item::Fn(f)
        }
        Item::Struct(mut s) if is_public(&s.vis) => {
            keep_attributes(&mut s.attrs);
            keep_fields(&mut s.fields);
            Item::Struct(s)
        }
        Item::Enum(mut e) if is_public(&e.vis) => {
            keep_attributes(&mut e.attrs);
            for variant in &mut e.variants {
                keep_attributes(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|f| keep_attributes(&mut f.attrs));
            }
            Item::Enum(e)
        }
        Item::Trait(mut t) if is_public(&t.vis) => {
            keep_attributes(&mut t.attrs);
            for inner in &mut t.items {
                if let TraitItem::Fn(f) = inner {
                    keep_attributes(&mut f.attrs);
                    f.default = f.default.is_some().then(|| parse_quote!({}));
                }
            }
            Item::Trait(t)
        }
        Item::Const(mut c) if is_public(&c.vis) => {
            keep_attributes(&mut c.attrs);
            Item::Const(c)
        }
        Item::Type(mut t) if is_public(&t.vis) => {
            keep_attributes(&mut t.attrs);
            Item::Type(t)
        }
        Item::Use(mut u) if is_public(&u.vis) => {
            keep_attributes(&mut u.attrs);
            Item::Use(u)
        }
        Item::Mod(mut m) if is_public(&m.vis) => {
            keep_attributes(&mut m.attrs);
            m.content = None;
            Item::Mod(m)
        }
        Item::Impl(i) => keep_impl(i, public)?,
        _ => return None,
    })
}

fn type_name(item: &Item) -> Option<String> {
    let (visibility, name) = match item {
        Item::Struct(s) => (&s.vis, &s.ident),
        Item::Enum(e) => (&e.vis, &e.ident),
        _ => return None,
    };
    is_public(visibility).then(|| name.to_string())
}

fn listing() -> String {
    let sources = sources();
    let public: BTreeSet<String> = sources.iter().flat_map(|(_, f)| &f.items).filter_map(type_name).collect();
    let mut text =
        "# The public API of the crate. Renewed by `SEAWALL_API=write cargo test --test public_api`.\n\
                    # Private fields are left out; `_` stands for one in a tuple.\n"
            .to_owned();
    for (name, file) in sources {
        let cfg_test = |i: &Item| matches!(i, Item::Mod(m) if is_test(&m.attrs));
        let items: Vec<Item> =
            file.items.into_iter().filter(|i| !cfg_test(i)).filter_map(|i| keep(i, &public)).collect();
        if !items.is_empty() {
            let shown = prettyplease::unparse(&File { shebang: None, attrs: Vec::new(), items });
            text.push_str(&format!("\n## {name}\n\n{shown}"));
        }
    }
    text
}

#[test]
fn the_public_api_is_the_one_that_was_agreed_on() {
    let path = root().join("docs/api.txt");
    let found = listing();
    if std::env::var("SEAWALL_API").is_ok_and(|v| v == "write") {
        std::fs::write(&path, &found).unwrap();
    }
    let agreed = std::fs::read_to_string(&path).unwrap_or_default();
    if found == agreed {
        return;
    }
    let lines = |text: &str| -> BTreeSet<String> { text.lines().map(str::to_owned).collect() };
    let (now, then) = (lines(&found), lines(&agreed));
    let gone = then.difference(&now).map(|l| format!("- {l}"));
    let new = now.difference(&then).map(|l| format!("+ {l}"));
    panic!(
        "the public API of the crate changed:\n{}\nIf that is meant: SEAWALL_API=write cargo test --test public_api, and say \
         so in the changelog; what goes or changes breaks programs.",
        gone.chain(new).collect::<Vec<_>>().join("\n")
    );
}

/// The listing contains what a program relies on, and nothing private.
#[test]
fn the_listing_tells_public_from_private() {
    let text = listing();
    for there in [
        "pub fn open(&self, dir: impl AsRef<Path>) -> Result<Wal>",
        "pub enum Error {",
        "pub trait Disk",
        "pub struct Lsn(_)",
    ] {
        assert!(text.contains(there), "{there}");
    }
    for hidden in ["pub(crate)", "fn open_with(", "struct Inner", "///", "mod tests"] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}
