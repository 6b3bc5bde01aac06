//! `s3ota simulate`: a fleet in virtual time, with the logs that S3 would write, and what follows for planning.

mod bucket;
mod real;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use s3ota_manifest::Timestamp;
use s3ota_simulate::{
    Interval, Load, LogFolder, PRICES_AS_OF, PRICES_FROM, Return, Run, Scenario, Traffic, Written,
    intervals, simulate,
};
use serde_json::{Value, json};

use super::parse_limit;
use crate::clock::{self, parse_duration};
use crate::error::CliError;
use crate::output::table::{Column, Table};
use crate::output::{self, Output};
use crate::s3::S3Args;

/// Play a fleet of virtual devices: its access logs, its load, its cost
///
/// Thousands of devices check for updates over a month, in seconds. Which release a device takes, its place in a rollout, how its trial
/// ends, what it remembers of failures, and how long it waits: that is decided by the library that runs on the chip. Network, flash
/// and application are modelled.
///
/// The publisher releases 1.1.0 in three stages; 1.2.0, which crashes on every eighth device and is yanked; 1.2.1, which supersedes it; and
/// 1.3.0, which a quarter of the devices may take at the end. Some devices have weak links, are off at night or for weeks, fall silent for
/// ever, send no id or a hash of it, or are stuck with worn flash. For eight hours somebody has locked the images away. Scanners come
/// by.
///
/// DIR/logs then holds what S3 would have written, in its format and layout, and DIR/truth.json what a perfect observer would answer
/// to each question of `s3ota fleet`. Two runs with the same seed and the same end are the same to the byte.
///
/// With --bucket the releases are published for real, step by step, in a prefix of that bucket that has nothing in it, of AWS or any
/// other service; what the devices decide, they decide on the manifests that it serves.
///
/// With --real nothing is modelled: so many virtual devices, each with the whole library, come back from a power failure and download a
/// release over TLS from a development server, in this process and in real time.
///
/// Assumed are, with reasons and sources in docs/simulate.md:
///
/// Devices: 6% sold on the way, 3% silent for ever, 5% off for weeks, 8% off at night, 1% send no id, 3% a hash of it, 0.4% have worn flash,
/// 30% app rollback in the bootloader.
///
/// Links: 25 to 90 KB/s, a break in 3 hours, 0.2% of connections fail. Weak ones (6%): 3 to 12 KB/s, a break in 25 s, 8% fail.
///
/// Starts: 3 to 9 seconds until the network is up, then the agent's own 10 to 20 until its first check.
///
/// Images: a delta from each of the three releases before is 5.8% of the image, a compressed image 55.5%.
///
/// S3: prices of us-east-1. Logs are 15 to 65 minutes late, one line in 400 up to 30 hours, and a few come twice.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota simulate
  s3ota simulate --devices 100000 --days 30 --output fleet
  s3ota simulate --devices 50000 --every 1h --power-failure 60% --plan
  s3ota simulate --bucket s3://my-bucket/try --devices 1000
  s3ota simulate --real --devices 1000")]
pub struct SimulateArgs {
    /// How many devices
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub devices: u32,

    /// For how many days
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,

    /// How often a device checks for an update
    #[arg(long, value_name = "TIME", default_value = "6h", value_parser = parse_every)]
    pub every: Duration,

    /// Which of all possible courses
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Where logs and truth.json go: a new folder, or one without them
    #[arg(long, value_name = "DIR", default_value = "s3ota-fleet")]
    pub output: PathBuf,

    /// Write nothing, only plan
    #[arg(long)]
    pub plan: bool,

    /// How many of the devices a power failure hits, two thirds of the way
    #[arg(long, value_name = "PERCENT", default_value = "20%", value_parser = parse_percent)]
    pub power_failure: f64,

    /// The size of an image in bytes. By default 900000, with --real 100000
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1000..=1_900_000))]
    pub image_size: Option<u32>,

    /// When it ends, in RFC 3339. By default last midnight in UTC
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub end: Option<Timestamp>,

    /// Publish the releases in this bucket, and let the devices decide on what it serves
    #[arg(long, value_name = "s3://BUCKET/PREFIX", conflicts_with_all = ["real", "plan"])]
    pub bucket: Option<String>,

    /// With --bucket: where devices would reach it, if not at the endpoint
    #[arg(long, value_name = "URL", requires = "bucket")]
    pub public_url: Option<String>,

    /// Let virtual devices really download from a development server
    #[arg(long, conflicts_with_all = ["days", "every", "seed", "output", "plan", "power_failure", "end"])]
    pub real: bool,

    /// With --real: the pause from power-on to the first check, and up to as much at random
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "real", value_parser = parse_duration)]
    pub first: Duration,

    /// With --real: how many devices are awake at once. Each needs two open files
    #[arg(long, value_name = "N", default_value_t = 100, requires = "real", value_parser = parse_limit)]
    pub at_once: usize,

    #[command(flatten)]
    pub s3: S3Args,
}

/// How many rows a curve has at most.
const ROWS: usize = 20;

/// How wide a bar is.
const BAR: usize = 30;

fn parse_every(text: &str) -> Result<Duration, String> {
    let every = parse_duration(text)?;
    match every.as_secs() {
        60..=2_592_000 => Ok(every),
        _ => Err("a device checks once a minute at most, and once in 30 days at least".to_owned()),
    }
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    let number = number.ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "write a percentage from 0% to 100%".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| format!("{error}: write it like 2026-11-29T00:00:00Z"))
}

/// Plays the fleet.
pub async fn run(args: SimulateArgs, out: &Output) -> Result<(), CliError> {
    if args.real {
        return real::run(&args, out).await;
    }
    model(&args, out).await
}

/// Plays the model.
async fn model(args: &SimulateArgs, out: &Output) -> Result<(), CliError> {
    let end = match args.end {
        Some(end) => end.unix_seconds(),
        None => clock::now() / 86_400 * 86_400,
    };
    let scenario = Scenario::usual(
        args.devices,
        args.days,
        args.every,
        args.image_size.unwrap_or(900_000),
        args.seed,
        end,
    );
    let mut scenario = match args.power_failure {
        0.0 => scenario,
        percent => scenario.with_power_failure(percent / 100.0),
    };
    let impossible = |error: s3ota_simulate::SimulateError| {
        CliError::new("simulate.scenario", error.to_string())
    };
    let logs = match args.plan {
        true => None,
        false => Some(new_logs(&args.output)?),
    };
    if let Some(bucket) = &args.bucket {
        let published = bucket::publish_all(bucket, args, &mut scenario, out).await;
        if let (Err(_), Some(logs)) = (&published, &logs) {
            // It is empty, and would be in the way of another attempt.
            let _ = fs::remove_dir(logs);
        }
        published?;
    }
    let mut log = logs.map(|logs| LogFolder::new(&logs, &scenario.bucket, args.seed));
    let mut progress = out.progress_in_percent("simulating");
    let run = simulate(&scenario, log.as_mut(), &mut |done| {
        progress.set_share(done)
    });
    progress.finish();
    let mut run = run.map_err(impossible)?;
    let mut written = None;
    if let Some(log) = log {
        let folder = args.output.join("logs");
        let done = log
            .finish()
            .map_err(|error| CliError::file(&folder, &error))?;
        run.traffic.logs = done.bytes;
        written = Some(done);
        write_truth(&args.output.join("truth.json"), &run)?;
    }
    let mut every: Vec<_> = [1, 6, 24]
        .map(|hours| Duration::from_secs(hours * 3600))
        .into();
    every.push(args.every);
    every.sort_unstable();
    every.dedup();
    let plan = intervals(&scenario, &every).map_err(impossible)?;
    tell(&scenario, &run, &plan, out);
    let files = written.map(|written| tell_files(&args.output, &written, out));
    out.event(
        "simulated",
        json!({
            "devices": scenario.devices, "seconds": scenario.seconds, "every": scenario.every.as_secs(), "seed": scenario.seed,
            "from": at(scenario.start), "to": at(scenario.start + scenario.seconds),
            "files": files, "status": run.truth.status, "traffic": run.traffic, "requests": run.traffic.requests(),
            "load": run.load, "spread": run.spread,
            "month": run.traffic.bill(scenario.seconds), "prices_from": PRICES_FROM, "prices_as_of": PRICES_AS_OF,
            "intervals": plan,
        }),
    );
    Ok(())
}

/// The folder for new logs.
fn new_logs(dir: &Path) -> Result<PathBuf, CliError> {
    let (logs, truth) = (dir.join("logs"), dir.join("truth.json"));
    if let Some(old) = [&logs, &truth].into_iter().find(|it| it.exists()) {
        let message = format!(
            "{} is there already, and would be mixed up with this",
            old.display()
        );
        let hint = "name another folder with --output, or remove the old one";
        return Err(CliError::new("simulate.exists", message).hint(hint));
    }
    fs::create_dir_all(&logs).map_err(|error| CliError::file(&logs, &error))?;
    Ok(logs)
}

fn write_truth(path: &Path, run: &Run) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::file(path, &error);
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    serde_json::to_writer_pretty(&mut file, &run.truth).map_err(|error| failed(error.into()))?;
    file.flush().map_err(failed)
}

fn at(seconds: u64) -> String {
    Timestamp::from_unix_seconds(seconds)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// The report for people.
fn tell(scenario: &Scenario, run: &Run, plan: &[Interval], out: &Output) {
    let status = &run.truth.status;
    out.heading("The fleet");
    let fact = |name, value: String| out.say(output::fact(name, 9, value));
    fact(
        "time",
        format!(
            "{} to {}, a check every {}",
            at(scenario.start),
            at(scenario.start + scenario.seconds),
            clock::span(scenario.every.as_secs())
        ),
    );
    fact(
        "devices",
        format!(
            "{} of {} seen with an id, {} silent, {} failing, {} requests without an id",
            status.devices, scenario.devices, status.silent, status.failing, status.without_id
        ),
    );
    let versions: Vec<_> = (status.versions.iter())
        .map(|(version, devices)| format!("{version}: {devices}"))
        .collect();
    fact("versions", versions.join(", "));
    tell_spread(run, out);
    tell_load(&run.load, out);
    tell_cost(scenario, &run.traffic, out);
    tell_intervals(plan, out);
}

/// A time that was reached, for people.
fn reached(time: Option<u64>) -> String {
    time.map_or_else(|| "not in this time".to_owned(), clock::span)
}

fn tell_spread(run: &Run, out: &Output) {
    if run.spread.is_empty() {
        return;
    }
    out.heading("How long a release took to reach the devices, once it was for all of them");
    let mut table = Table::new(&[
        Column::new("version"),
        Column::new("devices").rank(1),
        Column::new("half"),
        Column::new("90 %"),
        Column::new("99 %"),
    ]);
    for spread in &run.spread {
        let [half, most, nearly_all] = spread.reached;
        table.row([
            spread.version.clone(),
            spread.devices.to_string(),
            reached(half),
            reached(most),
            reached(nearly_all),
        ]);
    }
    out.table(&table);
}

fn tell_load(load: &Load, out: &Output) {
    out.heading("Requests a second");
    let fact = |name, value: String| out.say(output::fact(name, 14, value));
    fact("on average", format!("{:.2}", load.average));
    let busiest = &load.busiest;
    fact(
        "busiest second",
        format!("{}, at {}", busiest.requests, at(busiest.at)),
    );
    fact(
        "S3 serves",
        format!("{} a second of one prefix before it slows down", load.limit),
    );
    if let Some(back) = &load.power_failure {
        let [half, most, nearly_all] = back.asked;
        out.heading(format_args!(
            "The power is back for {} at once",
            output::count(back.devices, "device")
        ));
        let fact = |name, value: String| out.say(output::fact(name, 14, value));
        fact(
            "busiest second",
            format!("{}, after {} s", back.peak, back.peak_after),
        );
        fact(
            "have asked",
            format!("half after {half} s, 90 % after {most} s, 99 % after {nearly_all} s"),
        );
        out.table(&curve(back));
    }
}

/// Requests by second, as bars.
fn curve(back: &Return) -> Table {
    let used = back
        .curve
        .iter()
        .rposition(|count| *count * 100 >= back.peak.max(1));
    let used = used.map_or(0, |last| last + 1);
    let step = used.div_ceil(ROWS).max(1);
    let mut table = Table::new(&[
        Column::new("seconds"),
        Column::new("a second"),
        Column::new("curve").rank(0),
    ]);
    for (row, counts) in back.curve[..used].chunks(step).enumerate() {
        let most = counts.iter().max().copied().unwrap_or(0);
        let bar = "█".repeat(most as usize * BAR / back.peak.max(1) as usize);
        table.row([(row * step).to_string(), most.to_string(), bar]);
    }
    table
}

fn tell_cost(scenario: &Scenario, traffic: &Traffic, out: &Output) {
    let bill = traffic.bill(scenario.seconds);
    out.heading("What a month like this costs on S3");
    let mut table = Table::new(&[
        Column::new("of"),
        Column::new("in this time").text(),
        Column::new("dollars a month"),
    ]);
    let dollars = |cost: f64| format!("{cost:.2}");
    table.row([
        "requests".to_owned(),
        format!(
            "{}, of which {} were answered 304",
            traffic.requests(),
            traffic.not_modified
        ),
        dollars(bill.requests),
    ]);
    for (what, sent, cost) in [
        ("sent, by deltas", traffic.sent, bill.egress),
        (
            "  with compressed images",
            traffic.sent_if_compressed,
            bill.egress_if_compressed,
        ),
        (
            "  with whole images",
            traffic.sent_if_whole,
            bill.egress_if_whole,
        ),
    ] {
        table.row([what.to_owned(), output::bytes(sent), dollars(cost)]);
    }
    table.row([
        "storage".to_owned(),
        output::bytes(traffic.stored),
        dollars(bill.storage),
    ]);
    if traffic.logs > 0 {
        table.row([
            "logs".to_owned(),
            output::bytes(traffic.logs),
            dollars(bill.logs),
        ]);
    }
    table.row(["all".to_owned(), String::new(), dollars(bill.total)]);
    out.table(&table);
    out.prose(format_args!(
        "Prices of {PRICES_AS_OF}, us-east-1, from {PRICES_FROM}. The first 100 GB that are sent in a month are free."
    ));
}

fn tell_intervals(plan: &[Interval], out: &Output) {
    out.heading("How often should devices check?");
    let mut table = Table::new(&[
        Column::new("every"),
        Column::new("half have it"),
        Column::new("99 % have it"),
        Column::new("requests a month").rank(2),
        Column::new("dollars a month"),
        Column::new("with whole images").rank(1),
    ]);
    for it in plan {
        let whole = it.bill.total - it.bill.egress + it.bill.egress_if_whole;
        table.row([
            clock::span(it.every),
            reached(it.reached[0]),
            reached(it.reached[2]),
            it.requests.to_string(),
            format!("{:.2}", it.bill.total),
            format!("{whole:.2}"),
        ]);
    }
    out.table(&table);
    out.prose(
        "For devices that are always on, and one release a month: from its publication for all until they run it.",
    );
}

fn tell_files(dir: &Path, written: &Written, out: &Output) -> Value {
    let (logs, truth) = (dir.join("logs"), dir.join("truth.json"));
    out.heading("Files");
    let shown = |path: &Path| output::for_shell(&path.display().to_string());
    out.say(output::fact(
        "logs",
        9,
        format_args!(
            "{}: {} lines in {} objects, {}",
            shown(&logs),
            written.lines,
            written.objects,
            output::bytes(written.bytes)
        ),
    ));
    out.say(output::fact("truth", 9, shown(&truth)));
    out.say(format_args!("  → s3ota fleet status {}", shown(&logs)));
    json!({
        "logs": logs.display().to_string(), "truth": truth.display().to_string(),
        "lines": written.lines, "objects": written.objects, "bytes": written.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_a_sign_or_none() {
        assert_eq!(parse_percent("20%"), Ok(20.0));
        assert_eq!(parse_percent("0.5"), Ok(0.5));
        for wrong in ["", "%", "-1%", "101", "NaN", "a few"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_curve_has_few_rows_and_ends_with_its_last_requests() {
        let mut curve_of = vec![0; 600];
        curve_of[100..120].fill(7);
        let back = Return {
            peak: 7,
            curve: curve_of,
            ..Return::default()
        };
        let lines = curve(&back).lines(0);
        assert!(lines.len() <= ROWS + 1, "{lines:?}");
        assert!(
            lines.last().is_some_and(|last| last.contains('█')),
            "{lines:?}"
        );
    }
}
