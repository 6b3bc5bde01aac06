//! `cargo xtask mutations`: every attack in the table succeeds once its defence is removed.
//!
//! A copy of the sources is changed in one place after the other, each time so that one defence is missing, and the tests
//! that try it must fail. The list is `mutations/table.rs`; what came of it is written to MUTATIONS.md beside the tests.

mod table;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use self::table::MUTATIONS;
use crate::{Result, paths};

/// Remove the defences one by one, and check that the attacks' tests notice
///
/// This takes about half a minute for each on two cores.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Try only those whose description contains this text, or one of several texts separated by `|`
    #[arg(long)]
    only: Option<String>,
}

/// The removal of one defence.
struct Mutation {
    /// The defence that is removed.
    without: &'static str,
    /// The file it is in.
    file: &'static str,
    /// The original text, which appears once.
    old: &'static str,
    /// Its replacement.
    new: &'static str,
    /// The tests that must then fail.
    tests: &'static [&'static str],
}

/// Where the tests are.
const ATTACKS: &str = "crates/s3ota-sim/tests/attacks";
/// How long the tests may take before they count as failed: without some defences they never end.
const LIMIT: Duration = Duration::from_secs(120);

/// Tries them all.
pub fn run(args: &Args) -> Result<ExitCode> {
    let source = copy()?;
    let only = args.only.as_deref().unwrap_or_default();
    let chosen: Vec<_> = MUTATIONS
        .iter()
        .filter(|mutation| only.split('|').any(|text| mutation.without.contains(text)))
        .collect();
    let all = names(&paths::root())?;
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    if let Some(test) = tests_that_fail(&source, &all)?.first() {
        return Err(format!("{test} fails although nothing was removed"));
    }
    let mut escaped = 0;
    for (n, mutation) in chosen.iter().enumerate() {
        let file = source.join(mutation.file);
        let text = read(&file)?;
        write(&file, &mutation.apply(&text)?)?;
        let failed = tests_that_fail(&source, mutation.tests);
        write(&file, &text)?;
        let (caught, verdict) = match failed {
            Ok(failed) if failed.len() == mutation.tests.len() => {
                (true, format!("caught by {}", failed.join(", ")))
            }
            Ok(failed) => {
                let mut missed = mutation.tests.to_vec();
                missed.retain(|test| !failed.contains(test));
                (false, format!("NOT caught by {}", missed.join(", ")))
            }
            Err(problem) => (false, problem),
        };
        println!(
            "{:>2}/{} without {}: {verdict}",
            n + 1,
            chosen.len(),
            mutation.without
        );
        escaped += usize::from(!caught);
    }
    if escaped > 0 {
        return Err(format!("{escaped} defences can be removed unnoticed"));
    }
    if chosen.len() == MUTATIONS.len() {
        let path = paths::root().join(ATTACKS).join("MUTATIONS.md");
        write(&path, &report())?;
        println!("{} says so", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

impl Mutation {
    /// The text of its file without the defence.
    fn apply(&self, text: &str) -> Result<String> {
        match text.matches(self.old).count() {
            1 => Ok(text.replace(self.old, self.new)),
            n => Err(format!(
                "without {}: {n} times in {}, not once: {:?}",
                self.without, self.file, self.old
            )),
        }
    }
}

/// A copy of the workspace, without build output: it has its own, because cargo would confuse the same package in two
/// workspaces.
fn copy() -> Result<PathBuf> {
    let copy = paths::target()?.join("mutations");
    paths::copy_parts(
        &[
            "Cargo.toml",
            "Cargo.lock",
            "crates",
            "fleet",
            "testing",
            "xtask",
        ],
        &copy,
    )?;
    Ok(copy)
}

/// Builds the tests of a workspace, runs some of them, and returns those that fail or never end.
fn tests_that_fail<'t>(source: &Path, tests: &[&'t str]) -> Result<Vec<&'t str>> {
    let log = source.join("tests.log");
    let output = fs::File::create(&log).map_err(|error| paths::about(&log, &error))?;
    let mut running = Command::new(build(source)?)
        .args(tests)
        .args(["--exact", "--format=pretty"])
        .current_dir(source)
        .env("RUST_BACKTRACE", "0")
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("the tests: {error}"))?;
    let began = Instant::now();
    while running.try_wait().is_ok_and(|ended| ended.is_none()) && began.elapsed() < LIMIT {
        sleep(Duration::from_millis(100));
    }
    let _ = running.kill();
    let _ = running.wait();
    let log = read(&log)?;
    let passed: Vec<_> = log
        .lines()
        .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... ok"))
        .collect();
    let mut failed = tests.to_vec();
    failed.retain(|name| !passed.contains(name));
    Ok(failed)
}

/// Builds the tests and says where they are.
fn build(source: &Path) -> Result<String> {
    let build = Command::new("cargo")
        .args(["test", "--package", "s3ota-sim", "--test", "attacks"])
        .args(["--no-run", "--message-format", "json", "--target-dir"])
        .arg(source.join("target"))
        .current_dir(source)
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let messages = String::from_utf8_lossy(&build.stdout);
    let tests = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let tests = message["target"]["name"] == "attacks";
        let path = message["executable"].as_str().filter(|_| tests)?;
        Some(path.to_owned())
    });
    tests.filter(|_| build.status.success()).ok_or_else(|| {
        let errors = String::from_utf8_lossy(&build.stderr);
        format!("it does not compile:\n{errors}{messages}")
    })
}

/// The names of all tests, with their modules.
fn names(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in paths::files_below(&root.join(ATTACKS))? {
        let Some(module) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let text = read(&path)?;
        let tests = text.split("#[tokio::test").skip(1);
        let name = |test: &str| {
            let name = test.split_once("async fn ")?.1.split_once('(')?.0;
            Some(format!("{module}::{name}"))
        };
        names.extend(tests.filter_map(name));
    }
    Ok(names)
}

/// What was tried.
fn report() -> String {
    let mut text = String::from(
        "# What the attacks' tests notice\n\n\
         Each line is a defence that was taken away in a copy of the sources, and tests that failed then. Made by\n\
         `cargo xtask mutations` from [`table.rs`](../../../../xtask/src/mutations/table.rs), when all of them had failed.\n\n\
         | without | in | these fail |\n|---|---|---|\n",
    );
    for Mutation {
        without,
        file,
        tests,
        ..
    } in MUTATIONS
    {
        let tests: Vec<_> = tests.iter().map(|test| format!("`{test}`")).collect();
        let file = file.strip_prefix("crates/").unwrap_or(file);
        let _ = writeln!(text, "| {without} | `{file}` | {} |", tests.join(", "));
    }
    text
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| paths::about(path, &error))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| paths::about(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_still_applies() {
        let apply = |mutation: &Mutation| {
            let text = read(&paths::root().join(mutation.file))?;
            mutation.apply(&text)
        };
        let problems: Vec<_> = MUTATIONS
            .iter()
            .filter_map(|mutation| apply(mutation).err())
            .collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    #[test]
    fn every_attack_is_the_judge_of_a_defence() {
        let names = names(&paths::root()).unwrap();
        let judges: Vec<_> = MUTATIONS
            .iter()
            .flat_map(|mutation| mutation.tests)
            .collect();
        for judge in &judges {
            assert!(names.iter().any(|name| name == **judge), "no test {judge}");
        }
        for name in names {
            assert!(
                judges.iter().any(|judge| **judge == name),
                "nothing is tried with {name}"
            );
        }
    }

    #[test]
    fn the_report_is_of_this_table() {
        let written = read(&paths::root().join(ATTACKS).join("MUTATIONS.md")).unwrap();
        assert_eq!(written, report(), "run cargo xtask mutations");
    }

    #[test]
    fn security_md_names_every_test_and_no_other() {
        let text = read(&paths::root().join("docs/security.md")).unwrap();
        // The table of this task's tests ends with its mention.
        let text = text.split("cargo xtask mutations").next().unwrap();
        let names = names(&paths::root()).unwrap();
        let is_module = |code: &str| {
            names
                .iter()
                .any(|name| name.split("::").next() == Some(code))
        };
        let mut named: Vec<_> = text
            .split('`')
            .filter(|code| {
                code.split_once("::")
                    .is_some_and(|(module, _)| is_module(module))
            })
            .collect();
        let mut names: Vec<_> = names.iter().map(String::as_str).collect();
        named.sort_unstable();
        names.sort_unstable();
        assert_eq!(named, names);
    }
}
