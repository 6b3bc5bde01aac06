//! How far a full run has come, so that one that was stopped goes on.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

use crate::report::Row;

/// A file with a line for each life in which no promise was broken. Each program has its own.
pub struct Progress {
    file: Mutex<File>,
    done: HashMap<u64, Row>,
}

impl Progress {
    /// Beside what cargo builds.
    pub fn open() -> Self {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        let program = u64::from_be_bytes(*Sha256::digest(program).first_chunk().unwrap());
        let name = format!("power_cuts-{program:016x}.progress");
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let kept = fs::read_to_string(&path).unwrap_or_default();
        let done: HashMap<_, _> = kept.lines().filter_map(parse).collect();
        eprintln!("{} lives are in {}", done.len(), path.display());
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        Self {
            file: Mutex::new(file),
            done,
        }
    }

    /// What came of this life, if it is there.
    pub fn done(&self, life: u64) -> Option<Row> {
        self.done.get(&life).cloned()
    }

    /// Keeps a life.
    pub fn keep(&self, life: u64, row: &Row) {
        let [plain, rollback, launched] = row.first;
        let numbers = [
            plain,
            rollback,
            launched,
            row.flaky,
            row.second,
            row.states,
            row.updates,
            row.run,
        ];
        let numbers = numbers.map(|number| number.to_string()).join(" ");
        let mut file = self.file.lock().unwrap();
        writeln!(file, "{life} {numbers}.").unwrap();
    }
}

/// A line, if it is whole.
fn parse(line: &str) -> Option<(u64, Row)> {
    let numbers = line.strip_suffix('.')?.split(' ');
    let numbers: Vec<usize> = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[
        life,
        plain,
        rollback,
        launched,
        flaky,
        second,
        states,
        updates,
        run,
    ] = &numbers[..]
    else {
        return None;
    };
    let row = Row {
        first: [plain, rollback, launched],
        flaky,
        second,
        states,
        updates,
        run,
        ..Row::default()
    };
    Some((life as u64, row))
}
