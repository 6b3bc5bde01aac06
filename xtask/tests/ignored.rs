//! Tests that need other people's tools are ignored, with how to get the tool, and all are in programs called `judges`, where
//! nothing else is: `cargo test --test judges -- --ignored` runs each of them, and none of the long proofs.

use std::path::{Path, PathBuf};

/// The Rust sources below a folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let (dirs, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter();
    let rust = files.filter(|path| path.extension().is_some_and(|it| it == "rs"));
    rust.chain(dirs.iter().flat_map(|dir| sources(dir)))
        .collect()
}

/// The tests of a source: the line of each, and why it is ignored, if it is.
fn tests(source: &str) -> impl Iterator<Item = (usize, Option<&str>)> {
    let mut lines = source.lines().map(str::trim).enumerate().peekable();
    std::iter::from_fn(move || {
        let (at, _) = lines.find(|(_, it)| *it == "#[test]" || it.starts_with("#[tokio::test"))?;
        let mut reason = None;
        while let Some((_, attribute)) = lines.next_if(|(_, line)| line.starts_with(['#', '$'])) {
            if attribute.starts_with("#[ignore") {
                reason = Some(attribute);
            }
        }
        Some((at + 1, reason))
    })
}

/// Whether a reason is `needs TOOL: HOW TO GET IT`.
fn names_a_tool(reason: &str) -> bool {
    let needs = reason.strip_prefix("#[ignore = \"needs ");
    needs.is_some_and(|needs| needs.contains(": "))
}

#[test]
fn a_test_is_in_judges_if_and_only_if_it_needs_a_tool() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut judges = 0;
    for file in ["crates", "fleet"]
        .iter()
        .flat_map(|dir| sources(&root.join(dir)))
    {
        let program = file.strip_prefix(&root).unwrap();
        let is_judge = program.iter().any(|it| it == "judges" || it == "judges.rs");
        for (line, reason) in tests(&std::fs::read_to_string(&file).unwrap()) {
            let at = format!("{}:{line}", program.display());
            assert_eq!(
                reason.is_some_and(names_a_tool),
                is_judge,
                "{at}: {reason:?}"
            );
            judges += usize::from(is_judge);
        }
    }
    assert!(judges >= 30, "only {judges} judges");
}

#[test]
fn a_reason_is_found_among_the_attributes() {
    let source = "#[test]\n#[ignore = \"needs x: y\"]\n$(#[$attribute])*\nfn a() {}\n    #[tokio::test]\nasync fn b() {}\n";
    let tests: Vec<_> = tests(source).collect();
    assert_eq!(tests, [(1, Some("#[ignore = \"needs x: y\"]")), (5, None)]);
    assert!(names_a_tool("#[ignore = \"needs x: y\"]"));
    assert!(!names_a_tool("#[ignore = \"takes minutes\"]"));
}
