//! MATRIX.md says what the tests say: each case is in it with its verdict, and each test it names exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The lines `name: case => verdict;` in the macros of a file, with what the verdict is made of.
fn cases(source: &str) -> BTreeMap<String, Vec<String>> {
    let mut cases = BTreeMap::new();
    let mut is_in_table = false;
    for line in source.lines().map(str::trim) {
        if line.contains("! {") {
            is_in_table = !line.starts_with("macro_rules");
        }
        if line == "}" {
            is_in_table = false;
        }
        let Some((name, case)) = line.split_once(": ").filter(|_| is_in_table) else {
            continue;
        };
        if !name
            .chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
        {
            continue;
        }
        let verdict = match case.rsplit_once("=>") {
            Some((_, verdict)) if !verdict.contains("TAKEN") => verdict,
            _ => "taken",
        };
        let words = verdict.split(|c: char| !c.is_alphanumeric());
        cases.insert(name.to_string(), words.map(str::to_string).collect());
    }
    cases
}

/// The rows that begin with a test's name: the name and the verdict.
fn rows(matrix: &str) -> BTreeMap<String, String> {
    let rows = matrix.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once('`')?;
        let (_, verdict) = rest.split_once("| ")?;
        let verdict = verdict.trim_end_matches(" |");
        Some((name.to_string(), verdict.to_string()))
    });
    rows.collect()
}

#[test]
fn the_matrix_says_what_the_tests_say() {
    let matrix = read("MATRIX.md");
    let rows = rows(&matrix);
    let docs = read("README.md").replace('\n', " ");
    let promises = read("../../docs/promises.md");
    const CHAINS: [&str; 3] = [
        "tests/chains/cases.rs",
        "tests/chains/main.rs",
        "tests/judges.rs",
    ];
    for (files, what) in [
        (&CHAINS[..], "certificate chains"),
        (&["tests/misbehaviour.rs"], "misbehaving servers"),
        (&["src/wycheproof_tests.rs"], "sets of vectors"),
    ] {
        let sources: String = files.iter().map(|file| read(file)).collect();
        let cases = cases(&sources);
        let count = format!("{} {what}", cases.len());
        assert!(matrix.contains(&count), "there are {count}");
        assert!(docs.contains(&count), "there are {count}");
        assert!(
            what == "sets of vectors" || promises.contains(&count),
            "there are {count}"
        );
        for (name, words) in cases {
            let row = rows.get(&name);
            let row = row.unwrap_or_else(|| panic!("{name} is not in MATRIX.md"));
            let verdict = row.strip_prefix("refused: ").unwrap_or(row);
            // The cases at every point have several reasons, on a line of their own.
            let is_said = words.iter().any(|word| word == verdict);
            assert!(is_said || row == "refused", "{name}: {row}, {words:?}");
        }
    }
}

#[test]
fn every_test_in_the_matrix_exists() {
    let sources: String = [
        "src/connection.rs",
        "src/der.rs",
        "src/protection.rs",
        "src/record_filter.rs",
        "src/roots.rs",
        "src/rsa.rs",
        "src/server_hello.rs",
        "src/server_name.rs",
        "src/transcript.rs",
        "src/verifier.rs",
        "src/wycheproof_tests.rs",
        "tests/chains/cases.rs",
        "tests/chains/main.rs",
        "tests/handshake.rs",
        "tests/misbehaviour.rs",
        "tests/judges.rs",
        "tests/stream.rs",
    ]
    .map(read)
    .concat()
        + &read("../../fuzz/tests/mutated_handshakes.rs");
    let exists = |name: &str| {
        sources.contains(&format!("fn {name}()")) || sources.contains(&format!("  {name}: "))
    };
    let matrix = read("MATRIX.md");
    let mut count = 0;
    for line in matrix.lines().filter(|line| line.starts_with("| ")) {
        // Every other part stands between backticks. What has capitals, dots or brackets is no test.
        for name in line.split('`').skip(1).step_by(2) {
            if name.contains('_')
                && name
                    .chars()
                    .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
            {
                assert!(exists(name), "there is no test {name}");
                count += 1;
            }
        }
    }
    assert!(count > 250, "{count}");
}
