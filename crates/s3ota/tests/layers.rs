//! The crate is built in layers: a module uses those below it and knows nothing of those above.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// From the bottom to the top. What stands later may use what stands before.
const LAYERS: [&str; 17] = [
    "apart", "bytes", "error", "device", "poll", "config", "flash", "outcome", "hooks", "net",
    "install", "boot", "check", "updater", "agent", "simulate", "fuzzing",
];

/// Every module and the modules of this crate that it names.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut texts = BTreeMap::new();
    read(&source, "", &mut texts);
    let modules: BTreeSet<String> = texts.keys().cloned().collect();
    let uses = texts.iter().map(|(module, text)| {
        let named = paths(module, text).into_iter().map(|path| {
            longest_module(&path, &modules)
                .unwrap_or_else(|| panic!("{module} names {path}: name the module it is in"))
        });
        (
            module.clone(),
            named.filter(|named| named != module).collect(),
        )
    });
    uses.collect()
}

/// The sources of `folder`, by module. The crate's root names everything and is left out.
fn read(folder: &Path, prefix: &str, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let module = match (prefix, name) {
            ("", "lib") => continue,
            ("", _) => name.to_owned(),
            (_, "mod") => prefix.to_owned(),
            _ => format!("{prefix}::{name}"),
        };
        if path.is_dir() {
            read(&path, &module, texts);
        } else {
            texts.insert(module, fs::read_to_string(&path).unwrap());
        }
    }
}

/// The paths that begin with `crate::` or `super::`, outside of comments and tests.
fn paths(module: &str, text: &str) -> Vec<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for (start, base) in [("crate::", ""), ("super::", parent)] {
        for (at, _) in code.match_indices(start) {
            let (before, rest) = (&code[..at], &code[at + start.len()..]);
            if before.ends_with(is_word) {
                continue;
            }
            let path = rest.split(|c| !is_word(c)).next().unwrap_or_default();
            let path = path.trim_end_matches(':');
            found.push(match (base, path) {
                ("", path) => path.to_owned(),
                (base, "") => base.to_owned(),
                (base, path) => format!("{base}::{path}"),
            });
        }
    }
    found
}

fn longest_module(path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut path = path;
    loop {
        if modules.contains(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    }
}

fn layer(module: &str) -> usize {
    let top = module.split("::").next().unwrap_or_default();
    LAYERS
        .iter()
        .position(|layer| *layer == top)
        .unwrap_or_else(|| panic!("{module} is in none of the layers"))
}

#[test]
fn no_arrow_points_up() {
    let mut arrows = 0;
    for (module, named) in uses() {
        for other in named {
            assert!(
                layer(&other) <= layer(&module),
                "{module} uses {other}, which lies above it"
            );
            arrows += 1;
        }
    }
    // The test reads what it should.
    assert!(arrows > 60, "{arrows}");
}

#[test]
fn files_form_no_cycle() {
    let mut uses = uses();
    // A folder and its files are one.
    for (module, named) in &mut uses {
        named.retain(|other| !other.starts_with(&**module) && !module.starts_with(&**other));
    }
    // What uses nothing that is left is taken away, until nothing is left or a cycle.
    while !uses.is_empty() {
        let leaves: BTreeSet<String> = uses
            .iter()
            .filter(|(_, named)| named.iter().all(|other| !uses.contains_key(other)))
            .map(|(module, _)| module.clone())
            .collect();
        assert!(!leaves.is_empty(), "a cycle among {uses:#?}");
        uses.retain(|module, _| !leaves.contains(module));
    }
}
