//! Runs every scenario on every board, and says what came of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use s3ota::TrialMode;
use s3ota_sim::{Bootloader, Operation};

use crate::Scenario;
use crate::contents::{Contents, SECTOR};
use crate::cuts::{Cut, Dice, Effort, flaky_moments, moments, moments_again};
use crate::life::{Board, Harm, Life, broken};
use crate::progress::Progress;
use crate::promises::{Known, Promises, Recovery};
use crate::recall::Recall;

/// What came of one scenario.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub name: &'static str,
    /// Cuts in the scenario itself: without and with app rollback in the bootloader, and where the old firmware launches the trial.
    pub first: [usize; 3],
    /// Of these, cuts that left bits which read as the one or the other.
    pub flaky: usize,
    /// Cuts in the recovery after one of those.
    pub second: usize,
    /// Contents of flash that differ, not counting the flaky ones.
    pub states: usize,
    /// Updates that were made to find out.
    pub updates: usize,
    /// Of these, updates over TLS that were run: the others read what one before has read.
    pub run: usize,
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

/// A scenario on a board: a life.
struct Job {
    row: usize,
    scenario: &'static Scenario,
    board: Board,
    /// Of all boards.
    place: usize,
    /// Of all lives.
    number: u64,
    seed: u64,
}

/// A kind of bootloader, and who boots an image on trial.
const WAYS: [(bool, TrialMode); 4] = [
    (false, TrialMode::Switch),
    (true, TrialMode::Switch),
    (false, TrialMode::Launch),
    (true, TrialMode::Launch),
];

/// Where cuts on this board are counted.
fn column(board: &Board) -> usize {
    match board.mode {
        TrialMode::Launch => 2,
        _ => usize::from(board.bootloader.app_rollback),
    }
}

/// All that is tried; of a sample, one board of each kind for a scenario, another one for the next.
fn jobs(scenarios: &'static [Scenario], effort: Effort) -> Vec<Job> {
    let mut jobs = Vec::new();
    let only = std::env::var("S3OTA_POWER_CUTS").unwrap_or_default();
    for (row, scenario) in scenarios.iter().enumerate() {
        if !scenario.name.contains(&only) {
            continue;
        }
        for (way, (app_rollback, mode)) in WAYS.into_iter().enumerate() {
            let boards = Board::all(Bootloader { app_rollback }, mode);
            let mut boards: Vec<_> = boards.into_iter().enumerate().collect();
            boards.retain(|(_, board)| scenario.is_for(board));
            if effort == Effort::Sample && !boards.is_empty() {
                // Whoever launches does not ask which bootloader there is: of these, one for a scenario.
                if mode == TrialMode::Launch && app_rollback != row.is_multiple_of(2) {
                    continue;
                }
                boards = vec![boards[(row + boards.len() / 4 * way) % boards.len()]];
            }
            for (place, mut board) in boards {
                board.launcher = scenario.launcher;
                let number = jobs.len() as u64;
                // Under both bootloaders the cuts are the same, and so is much of what comes after them.
                let seed = (row * 100 + place) * 2 + usize::from(mode == TrialMode::Launch);
                jobs.push(Job {
                    row,
                    scenario,
                    board,
                    place,
                    number,
                    seed: seed as u64,
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
        let mut report = Self {
            rows: rows.collect(),
            broken: Vec::new(),
        };
        // What a run that was stopped has tried already.
        let progress = (effort == Effort::Full).then(Progress::open);
        let mut open = jobs.iter().collect::<Vec<_>>();
        if let Some(progress) = &progress {
            open.retain(|job| match progress.done(job.number) {
                Some(row) => {
                    report.rows[job.row].add(&row);
                    false
                }
                None => true,
            });
        }
        let (all, before) = (jobs.len(), jobs.len() - open.len());
        let groups = groups(open);
        let report = Mutex::new(report);
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(before));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let recall = Recall::default();
                        for job in group {
                            let began = Instant::now();
                            let mut run = Run::new(job.scenario, effort, Dice::new(job.seed));
                            run.go(job.board, &recall);
                            if let Some(progress) = &progress {
                                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                                let (name, row) = (job.scenario.name, &run.row);
                                let (cuts, states, ran) = (row.cuts(), row.states, row.run);
                                let took = began.elapsed().as_secs_f32();
                                eprintln!(
                                    "{done} of {all}: {name}: {cuts} cuts, {states} states, {ran} updates run, {took:.1} s"
                                );
                                if run.told.is_empty() {
                                    progress.keep(job.number, row);
                                }
                            }
                            let mut report = report.lock().unwrap();
                            report.rows[job.row].add(&run.row);
                            for broken in run.told {
                                eprintln!("BROKEN {broken}");
                                report.broken.push(broken);
                            }
                        }
                    }
                });
            }
        });
        report.into_inner().unwrap()
    }
}

/// Lives by their boards, whatever boots them: those in a group share what is known of the steps.
fn groups(jobs: Vec<&Job>) -> Vec<Vec<&Job>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for job in jobs {
        groups.entry(job.place).or_default().push(job);
    }
    groups.into_values().collect()
}

impl Row {
    /// All cuts.
    pub fn cuts(&self) -> usize {
        self.first.iter().sum::<usize>() + self.second
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
        self.run += other.run;
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

    fn go(&mut self, board: Board, recall: &Recall) {
        let life = Life::new(board);
        let scenario = self.scenario;
        let mut flash = life.chip(life.flash());
        let ran = life.run(&mut flash, scenario.before);
        let base = flash.bytes().to_vec();
        flash.record();
        let ran = ran.and_then(|_| life.run(&mut flash, scenario.then));
        let record = flash.take_record();
        let ran = match ran {
            Ok(_) if scenario.resumes && record.iter().any(|it| board.begins_slot(it)) => {
                broken(Harm::Stuck, "it did not resume")
            }
            ran => ran.map(drop),
        };
        if let Err(stopped) = ran {
            self.row.harm[Harm::Stuck as usize] += 1;
            self.told.push(format!(
                "{} on {board:?}: without a power cut: {stopped:?}",
                scenario.name
            ));
            return;
        }
        let known = Known::of(scenario, board.old());
        let promises = Promises::new(&life, recall, scenario.next);
        let mut before = Torn::new(base);
        let first = column(&board);
        for (index, operation) in record.iter().enumerate() {
            let at = format!("{index} of {}: {}", record.len(), show(operation));
            for cut in moments(
                operation,
                &before.bytes,
                &board,
                self.effort,
                &mut self.dice,
            ) {
                let after = before.after(operation, cut);
                self.row.first[first] += 1;
                let (verdict, is_new) = promises.keep(&after, &known);
                match verdict {
                    Err((harm, what)) => {
                        self.tell(board, &format!("{at}, {cut:?}"), harm, &what, is_new);
                    }
                    Ok(()) if is_new && self.is_chosen() => {
                        let at = format!("{at}, {cut:?}");
                        self.again(&promises, board, &after, &known, &at);
                    }
                    Ok(()) => {}
                }
            }
            for tear in flaky_moments(operation, &board, self.effort, &mut self.dice) {
                self.row.first[first] += 1;
                self.row.flaky += 1;
                let verdict = promises.keep_flaky(&before.contents, operation, tear, &known);
                if let Err((harm, what)) = verdict {
                    self.tell(board, &format!("{at}, flaky, {tear:?}"), harm, &what, true);
                }
            }
            before.apply(operation);
        }
        let (verdict, _) = promises.keep(&before.contents, &known);
        if let Err((harm, what)) = verdict {
            self.tell(board, "at the end", harm, &what, true);
        }
        let count = recall.take_count();
        self.row.states = promises.states();
        self.row.updates = count.updates;
        self.row.run = count.run;
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
        from: &Contents,
        known: &Known,
        first: &str,
    ) {
        for recovery in [Recovery::Attended, Recovery::Unattended] {
            let Ok(record) = promises.recover(from, known, recovery) else {
                continue;
            };
            let known = known.after(recovery, self.scenario.next);
            let mut before = Torn::of(from);
            for operation in &record {
                for cut in moments_again(
                    operation,
                    &before.bytes,
                    &board,
                    self.effort,
                    &mut self.dice,
                ) {
                    let after = before.after(operation, cut);
                    self.row.second += 1;
                    if let (Err((harm, what)), is_new) = promises.keep(&after, &known) {
                        let at =
                            format!("{first}; then, {recovery:?}: {}, {cut:?}", show(operation));
                        self.tell(board, &at, harm, &what, is_new);
                    }
                }
                before.apply(operation);
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

/// Flash before an operation, which is torn in many ways.
struct Torn {
    bytes: Vec<u8>,
    contents: Contents,
}

impl Torn {
    fn new(bytes: Vec<u8>) -> Self {
        let contents = Contents::new(&bytes);
        Self { bytes, contents }
    }

    fn of(contents: &Contents) -> Self {
        Self {
            bytes: contents.bytes(),
            contents: contents.clone(),
        }
    }

    /// What a cut leaves.
    fn after(&mut self, operation: &Operation, cut: Cut) -> Contents {
        let sectors = sectors(operation);
        let place = sectors.start as usize..sectors.end as usize;
        let held = self.bytes[place.clone()].to_vec();
        cut.apply(operation, &mut self.bytes);
        let after = self.contents.with(sectors, &self.bytes);
        self.bytes[place].copy_from_slice(&held);
        after
    }

    fn apply(&mut self, operation: &Operation) {
        operation.apply(&mut self.bytes);
        self.contents = self.contents.with(sectors(operation), &self.bytes);
    }
}

/// The sectors that an operation is in.
fn sectors(operation: &Operation) -> std::ops::Range<u32> {
    let (range, sector) = (operation.range(), SECTOR as u32);
    range.start - range.start % sector..range.end.next_multiple_of(sector)
}

fn show(operation: &Operation) -> String {
    match operation {
        Operation::Erase { from, to } => format!("erase {from:#x}..{to:#x}"),
        Operation::Program { at, bytes } => format!("program {} bytes at {at:#x}", bytes.len()),
    }
}

/// Prints the table, and keeps it beside what cargo builds.
///
/// Cuts in the scenario itself, where the bootloader has no app rollback, where it has, and where the old firmware launches the
/// trial, under both; how many of these left flaky bits;
/// cuts in the recovery after one of them; contents of flash that differed and were judged, the updates it took, and those of them
/// that were run because they read what none before had read. Then what came of it; `older` is that something older than the confirmed release runs.
pub fn print(report: &Report) {
    let mut table = String::new();
    let mut line = |name: &str, cells: [String; 12]| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>8} |")).collect();
        let _ = writeln!(table, "| {name:<45} |{cells}");
    };
    let heads = [
        "cuts", "rollback", "launch", "flaky", "again", "states", "updates", "run", "bricked",
        "torn", "stuck", "older",
    ];
    line("power fails in", heads.map(String::from));
    line("---", ["---:"; 12].map(String::from));
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
            row.first[2],
            row.flaky,
            row.second,
            row.states,
            row.updates,
            row.run,
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
