//! Runs the targets in this process on a stable toolchain: over the seeds, then over blind mutations of them.
//!
//! ```text
//! smoke [TARGET] [--seconds N] [--seed N]   N seconds in all, 60 if nothing is said
//! smoke TARGET FILE                         one input, for instance one that was saved
//! smoke --write-seeds DIR                   the seeds as a corpus, with a dictionary, for libFuzzer
//! ```
//!
//! An input on which a promise is broken is saved under `artifacts/`, and the command to run it again is printed.

use std::error::Error;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use s3ota_fuzz::mutate::{Random, mutate};
use s3ota_fuzz::{TARGETS, Target};

/// Longer inputs find nothing that shorter ones do not, save for a whole firmware.
const LONGEST: usize = 16 * 1024;
/// One input takes milliseconds. One that takes this long hangs.
const HANG: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match Command::parse(std::env::args().skip(1)).and_then(Command::run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("smoke: {error}");
            ExitCode::from(2)
        }
    }
}

enum Command {
    Fuzz {
        targets: Vec<Target>,
        seconds: u64,
        seed: u64,
    },
    Replay {
        target: Target,
        file: PathBuf,
    },
    WriteSeeds(PathBuf),
}

impl Command {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut targets = TARGETS.to_vec();
        let mut seconds = 60;
        let mut seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let mut named = None;
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--seconds" => seconds = value()?.parse()?,
                "--seed" => seed = value()?.parse()?,
                "--write-seeds" => return Ok(Self::WriteSeeds(value()?.into())),
                file if named.is_some() => {
                    return Ok(Self::Replay {
                        target: named.ok_or("no target")?,
                        file: file.into(),
                    });
                }
                name => {
                    let target = TARGETS.into_iter().find(|target| target.name == name);
                    let names = TARGETS.map(|target| target.name).join(", ");
                    let target = target.ok_or(format!("no target {name}: there are {names}"))?;
                    named = Some(target);
                    targets = vec![target];
                }
            }
        }
        Ok(Self::Fuzz {
            targets,
            seconds,
            seed,
        })
    }

    fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        match self {
            Self::Replay { target, file } => {
                (target.run)(&fs::read(file)?);
                println!("{}: no promise is broken", target.name);
            }
            Self::WriteSeeds(folder) => write_seeds(&folder)?,
            Self::Fuzz {
                targets,
                seconds,
                seed,
            } => {
                println!("seed {seed}");
                let share = Duration::from_secs(seconds) / targets.len() as u32;
                let mut found = 0;
                for target in targets {
                    found += u32::from(!fuzz(target, seed, share)?);
                }
                if found > 0 {
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs one target until its time is over or a promise is broken. Whether none is.
fn fuzz(target: Target, seed: u64, time: Duration) -> Result<bool, Box<dyn Error>> {
    let mut random = Random::new(seed);
    let seeds = (target.seeds)();
    let watch = Watch::new(target);
    let start = Instant::now();
    let mut executions = 0u64;
    let mut input = Vec::new();
    loop {
        // Each seed as it is, then mutations.
        match usize::try_from(executions).ok().and_then(|n| seeds.get(n)) {
            Some(seed) => input.clone_from(seed),
            None if start.elapsed() >= time => break,
            None => {
                input.clone_from(&seeds[random.below(seeds.len())]);
                let other = &seeds[random.below(seeds.len())];
                mutate(&mut input, other, target.tokens, LONGEST, &mut random);
            }
        }
        watch.begins(&input);
        if panic::catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let (file, command) = save(target, &input)?;
            println!(
                "{}: a promise is broken after {executions} executions by {}",
                target.name,
                file.display()
            );
            println!("run it again: {command}");
            return Ok(false);
        }
        executions += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:10} {executions:>9} executions in {seconds:.1} s, {} seeds",
        target.name,
        seeds.len()
    );
    Ok(true)
}

/// Ends the process if one input takes too long.
struct Watch {
    input: Arc<Mutex<Vec<u8>>>,
    begun: mpsc::SyncSender<()>,
}

impl Watch {
    fn new(target: Target) -> Self {
        let (begun, beginnings) = mpsc::sync_channel(1);
        let input = Arc::new(Mutex::new(Vec::new()));
        let watched = Arc::clone(&input);
        thread::spawn(move || {
            loop {
                match beginnings.recv_timeout(HANG) {
                    Ok(()) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        let input = watched
                            .lock()
                            .map(|input| input.clone())
                            .unwrap_or_default();
                        println!("{}: an input takes more than {HANG:?}", target.name);
                        if let Ok((_, command)) = save(target, &input) {
                            println!("run it again: {command}");
                        }
                        std::process::exit(1);
                    }
                }
            }
        });
        Self { input, begun }
    }

    fn begins(&self, input: &[u8]) {
        if let Ok(mut kept) = self.input.lock() {
            kept.clear();
            kept.extend(input);
        }
        // A beginning that waits to be seen says the same.
        let _ = self.begun.try_send(());
    }
}

fn save(target: Target, input: &[u8]) -> Result<(PathBuf, String), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("artifacts")
        .join(target.name);
    fs::create_dir_all(&folder)?;
    // FNV-1a: a name for the input.
    let name = input.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let file = folder.join(format!("smoke-{name:016x}"));
    fs::write(&file, input)?;
    let command = format!(
        "cargo run --release --manifest-path fuzz/Cargo.toml --bin smoke -- {} {}",
        target.name,
        file.display()
    );
    Ok((file, command))
}

fn write_seeds(folder: &Path) -> Result<(), Box<dyn Error>> {
    for target in TARGETS {
        let corpus = folder.join(target.name);
        fs::create_dir_all(&corpus)?;
        let seeds = (target.seeds)();
        for (index, seed) in seeds.iter().enumerate() {
            fs::write(corpus.join(format!("seed-{index:02}")), seed)?;
        }
        let tokens = target.tokens.iter().map(|token| {
            let bytes: String = token.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            format!("\"{bytes}\"\n")
        });
        fs::write(
            folder.join(format!("{}.dict", target.name)),
            tokens.collect::<String>(),
        )?;
    }
    Ok(())
}
