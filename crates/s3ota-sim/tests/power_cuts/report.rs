//! Runs every scenario on every board, and says what came of it.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use s3ota_sim::{Bootloader, Operation};

use crate::Scenario;
use crate::cuts::{Dice, Effort, flaky_moments, moments, moments_again};
use crate::life::{Board, Harm, Life};
use crate::promises::{Known, Promises, Recovery};

/// What came of one scenario.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub name: &'static str,
    /// Cuts in the scenario itself, without and with app rollback in the bootloader.
    pub first: [usize; 2],
    /// Of these, cuts that left bits which read as the one or the other.
    pub flaky: usize,
    /// Cuts in the recovery after one of those.
    pub second: usize,
    /// Contents of flash that differ, not counting the flaky ones.
    pub states: usize,
    /// Updates over TLS that were run to find out.
    pub updates: usize,
    /// Promises broken, by harm.
    pub harm: [usize; 4],
}

/// What came of all.
pub struct Report {
    pub rows: Vec<Row>,
    /// Promises broken, in words; the first few of each scenario.
    pub broken: Vec<String>,
}

/// How many broken promises of one scenario on one board are told.
const TOLD: usize = 3;

/// A scenario on a board.
struct Job {
    row: usize,
    scenario: &'static Scenario,
    board: Board,
    seed: u64,
}

/// All that is tried; of a sample, one board of each kind of bootloader for a scenario, another one for the next.
fn jobs(scenarios: &'static [Scenario], effort: Effort) -> Vec<Job> {
    let mut jobs = Vec::new();
    let only = std::env::var("S3OTA_POWER_CUTS").unwrap_or_default();
    for (row, scenario) in scenarios.iter().enumerate() {
        if !scenario.name.contains(&only) {
            continue;
        }
        for app_rollback in [false, true] {
            let mut boards = Board::all(Bootloader { app_rollback });
            boards.retain(|board| scenario.from.is_none_or(|from| from == board.running));
            if effort == Effort::Sample {
                let other = boards.len() / 2 * usize::from(app_rollback);
                boards = vec![boards[(row + other) % boards.len()]];
            }
            for board in boards {
                let seed = jobs.len() as u64;
                jobs.push(Job {
                    row,
                    scenario,
                    board,
                    seed,
                });
            }
        }
    }
    jobs
}

impl Report {
    pub fn of(scenarios: &'static [Scenario], effort: Effort) -> Self {
        let jobs = jobs(scenarios, effort);
        let rows = scenarios.iter().map(|scenario| Row {
            name: scenario.name,
            ..Row::default()
        });
        let report = Mutex::new(Self {
            rows: rows.collect(),
            broken: Vec::new(),
        });
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(job) = jobs.get(number) else { break };
                        let mut run = Run::new(job.scenario, effort, Dice::new(job.seed));
                        run.go(job.board);
                        if effort == Effort::Full {
                            let (done, all) = (number + 1, jobs.len());
                            let (name, cuts) = (job.scenario.name, run.row.cuts());
                            eprintln!("{done} of {all}: {name}: {cuts} cuts");
                        }
                        let mut report = report.lock().unwrap();
                        report.rows[job.row].add(&run.row);
                        report.broken.extend(run.told);
                    }
                });
            }
        });
        report.into_inner().unwrap()
    }
}

impl Row {
    /// All cuts.
    pub fn cuts(&self) -> usize {
        self.first[0] + self.first[1] + self.second
    }

    fn add(&mut self, other: &Self) {
        for (sum, part) in self.first.iter_mut().zip(other.first) {
            *sum += part;
        }
        for (sum, part) in self.harm.iter_mut().zip(other.harm) {
            *sum += part;
        }
        self.flaky += other.flaky;
        self.second += other.second;
        self.states += other.states;
        self.updates += other.updates;
    }
}

/// One scenario on one board.
struct Run {
    scenario: &'static Scenario,
    effort: Effort,
    dice: Dice,
    row: Row,
    told: Vec<String>,
}

impl Run {
    fn new(scenario: &'static Scenario, effort: Effort, dice: Dice) -> Self {
        Self {
            scenario,
            effort,
            dice,
            row: Row::default(),
            told: Vec::new(),
        }
    }

    fn go(&mut self, board: Board) {
        let life = Life::new(board);
        let scenario = self.scenario;
        let mut flash = life.chip(&life.flash());
        let ran = life.run(&mut flash, scenario.before);
        let base = flash.bytes().to_vec();
        flash.record();
        let ran = ran.and_then(|_| life.run(&mut flash, scenario.then));
        let record = flash.take_record();
        if let Err(stopped) = ran {
            self.row.harm[Harm::Stuck as usize] += 1;
            self.told.push(format!(
                "{} on {board:?}: without a power cut: {stopped:?}",
                scenario.name
            ));
            return;
        }
        let known = Known::of(scenario, board.old());
        let promises = Promises::new(&life, scenario.next);
        let mut before = base;
        let first = usize::from(board.bootloader.app_rollback);
        for (index, operation) in record.iter().enumerate() {
            let at = format!("{index} of {}: {}", record.len(), show(operation));
            for cut in moments(operation, &before, &board, self.effort, &mut self.dice) {
                let mut after = before.clone();
                cut.apply(operation, &mut after);
                self.row.first[first] += 1;
                let (verdict, is_new) = promises.keep(&after, &known);
                let at = format!("{at}, {cut:?}");
                match verdict {
                    Err((harm, what)) => self.tell(board, &at, harm, &what, is_new),
                    Ok(()) if is_new && self.is_chosen() => {
                        self.again(&promises, board, &after, &known, &at);
                    }
                    Ok(()) => {}
                }
            }
            for tear in flaky_moments(operation, &board, self.effort, &mut self.dice) {
                self.row.first[first] += 1;
                self.row.flaky += 1;
                if let Err((harm, what)) = promises.keep_flaky(&before, operation, tear, &known) {
                    self.tell(board, &format!("{at}, flaky, {tear:?}"), harm, &what, true);
                }
            }
            operation.apply(&mut before);
        }
        let (verdict, _) = promises.keep(&before, &known);
        if let Err((harm, what)) = verdict {
            self.tell(board, "at the end", harm, &what, true);
        }
        self.row.states = promises.states();
        self.row.updates = *life.updates.borrow();
    }

    /// Whether power fails again in the recovery from this state.
    fn is_chosen(&mut self) -> bool {
        let one_in = match self.effort {
            Effort::Sample => 200,
            Effort::Full => 300,
        };
        self.dice.below(one_in) == 0
    }

    /// Power fails again in the recovery.
    fn again(
        &mut self,
        promises: &Promises<'_>,
        board: Board,
        from: &[u8],
        known: &Known,
        first: &str,
    ) {
        for recovery in [Recovery::Attended, Recovery::Unattended] {
            let Ok(record) = promises.recover(from, known, recovery) else {
                continue;
            };
            let known = known.after(recovery, self.scenario.next);
            let mut before = from.to_vec();
            for operation in &record {
                for cut in moments_again(operation, &before, &board, self.effort, &mut self.dice) {
                    let mut after = before.clone();
                    cut.apply(operation, &mut after);
                    self.row.second += 1;
                    if let (Err((harm, what)), is_new) = promises.keep(&after, &known) {
                        let at =
                            format!("{first}; then, {recovery:?}: {}, {cut:?}", show(operation));
                        self.tell(board, &at, harm, &what, is_new);
                    }
                }
                operation.apply(&mut before);
            }
        }
    }

    fn tell(&mut self, board: Board, at: &str, harm: Harm, what: &str, is_new: bool) {
        self.row.harm[harm as usize] += 1;
        if is_new && self.told.len() < TOLD {
            self.told.push(format!(
                "{} on {board:?}: {at}: {harm:?}: {what}",
                self.scenario.name
            ));
        }
    }
}

fn show(operation: &Operation) -> String {
    match operation {
        Operation::Erase { from, to } => format!("erase {from:#x}..{to:#x}"),
        Operation::Program { at, bytes } => format!("program {} bytes at {at:#x}", bytes.len()),
    }
}

/// Prints the table, and keeps it beside what cargo builds.
///
/// Cuts in the scenario itself, where the bootloader has no app rollback and where it has; how many of both left flaky bits;
/// cuts in the recovery after one of them; contents of flash that differed and were judged, and the updates it took. Then what
/// came of it; `older` is that something older than the confirmed release runs.
pub fn print(report: &Report) {
    let mut table = String::new();
    let mut line = |name: &str, cells: [String; 10]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>8} |")).collect();
        let _ = writeln!(table, "| {name:<45} |{cells}");
    };
    let heads = [
        "cuts", "rollback", "flaky", "again", "states", "updates", "bricked", "torn", "stuck",
        "older",
    ];
    line("power fails in", heads.map(String::from));
    line("---", ["---:"; 10].map(String::from));
    let mut sum = Row {
        name: "all",
        ..Row::default()
    };
    for row in &report.rows {
        sum.add(row);
    }
    for row in report.rows.iter().chain([&sum]) {
        let [bricked, torn, stuck, older] = row.harm;
        let numbers = [
            row.first[0],
            row.first[1],
            row.flaky,
            row.second,
            row.states,
            row.updates,
            bricked,
            torn,
            stuck,
            older,
        ];
        line(row.name, numbers.map(|number| number.to_string()));
    }
    println!("{table}\n{} cuts", sum.cuts());
    for broken in &report.broken {
        println!("BROKEN {broken}");
    }
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("power_cuts.md");
    if let Err(error) = std::fs::write(&target, &table) {
        println!("{}: {error}", target.display());
    }
}
