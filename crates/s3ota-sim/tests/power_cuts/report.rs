//! Runs every scenario on every board, and says what came of it.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use s3ota_sim::{Flash, Operation};

use crate::Scenario;
use crate::cuts::{Dice, Effort, moments, moments_again};
use crate::life::{Board, Harm, Life};
use crate::promises::{Known, Promises, Recovery};

/// What came of one scenario.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub name: &'static str,
    /// Cuts in the scenario itself, without and with app rollback in the bootloader.
    pub first: [usize; 2],
    /// Cuts in the recovery after one of those.
    pub second: usize,
    /// All cuts.
    pub cuts: usize,
    /// Contents of flash that differ.
    pub states: usize,
    /// Updates over TLS that were run to find out.
    pub updates: usize,
    /// Promises broken, by harm.
    pub harm: [usize; 3],
}

/// What came of all.
pub struct Report {
    pub rows: Vec<Row>,
    /// Promises broken, in words; the first few of each scenario.
    pub broken: Vec<String>,
}

/// A sample takes one board in so many for a scenario; the next scenario takes others.
const SAMPLED: u64 = 13;

/// How many broken promises of one scenario on one board are told.
const TOLD: usize = 3;

impl Report {
    pub fn of(scenarios: &'static [Scenario], boards: &[Board], effort: Effort) -> Self {
        let runs: Vec<_> = scenarios
            .iter()
            .enumerate()
            .flat_map(|(row, scenario)| boards.iter().map(move |board| (row, scenario, *board)))
            .filter(|(row, _, board)| {
                effort == Effort::Full || (*row as u64 + place(board)).is_multiple_of(SAMPLED)
            })
            .collect();
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
                    while let Some((row, scenario, board)) =
                        runs.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let mut run = Run::new(
                            scenario,
                            effort,
                            Dice::new(*row as u64 * 1000 + place(board)),
                        );
                        run.go(*board);
                        let mut report = report.lock().unwrap();
                        report.rows[*row].add(&run.row);
                        report.broken.extend(run.told);
                    }
                });
            }
        });
        report.into_inner().unwrap()
    }
}

/// A number for a board.
fn place(board: &Board) -> u64 {
    Board::all()
        .iter()
        .position(|other| other == board)
        .unwrap_or(0) as u64
}

impl Row {
    fn add(&mut self, other: &Self) {
        for (sum, part) in self.first.iter_mut().zip(other.first) {
            *sum += part;
        }
        for (sum, part) in self.harm.iter_mut().zip(other.harm) {
            *sum += part;
        }
        self.second += other.second;
        self.cuts += other.cuts;
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
        let mut flash = Flash::in_memory(life.flash());
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
        for (index, operation) in record.iter().enumerate() {
            let delicate = board.is_delicate(operation.range().start);
            for cut in moments(operation, &before, delicate, self.effort, &mut self.dice) {
                let mut after = before.clone();
                cut.apply(operation, &mut after);
                self.row.first[usize::from(board.bootloader.app_rollback)] += 1;
                self.row.cuts += 1;
                let (verdict, is_new) = promises.keep(&after, &known);
                match verdict {
                    Err((harm, what)) => {
                        let at =
                            format!("{index} of {}: {}, {cut:?}", record.len(), show(operation));
                        self.tell(board, &at, harm, &what, is_new);
                    }
                    Ok(()) if is_new && self.is_chosen() => {
                        let at =
                            format!("{index} of {}: {}, {cut:?}", record.len(), show(operation));
                        self.again(&promises, board, &after, &known, &at);
                    }
                    Ok(()) => {}
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
            Effort::Sample => 60,
            Effort::Full => 4,
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
                let delicate = board.is_delicate(operation.range().start);
                for cut in moments_again(operation, &before, delicate, self.effort, &mut self.dice)
                {
                    let mut after = before.clone();
                    cut.apply(operation, &mut after);
                    self.row.second += 1;
                    self.row.cuts += 1;
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
pub fn print(report: &Report) {
    let mut table = String::new();
    let mut line = |cells: [String; 9]| {
        let [name, rest @ ..] = cells;
        let rest: String = rest.iter().map(|cell| format!(" {cell:>9} |")).collect();
        let _ = writeln!(table, "| {name:<40} |{rest}");
    };
    line(
        [
            "power fails in",
            "cuts",
            "rollback",
            "again",
            "states",
            "updates",
            "bricked",
            "torn",
            "stuck",
        ]
        .map(String::from),
    );
    line(["---"; 9].map(String::from));
    let mut sum = Row {
        name: "all",
        ..Row::default()
    };
    for row in &report.rows {
        sum.add(row);
    }
    for row in report.rows.iter().chain([&sum]) {
        let numbers = [
            row.first[0],
            row.first[1],
            row.second,
            row.states,
            row.updates,
            row.harm[0],
            row.harm[1],
            row.harm[2],
        ];
        let [a, b, c, d, e, f, g, h] = numbers.map(|number| number.to_string());
        line([row.name.to_owned(), a, b, c, d, e, f, g, h]);
    }
    println!("{table}\n{} cuts", sum.cuts);
    for broken in &report.broken {
        println!("BROKEN {broken}");
    }
    let target = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("power_cuts.md");
    if let Err(error) = std::fs::write(&target, &table) {
        println!("{}: {error}", target.display());
    }
}
