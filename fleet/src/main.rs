//! The program `s3ota-fleet`, which `s3ota fleet` runs.

mod args;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use datafusion::arrow::array::RecordBatch;
use s3ota_fleet::answers::{Status, Verdict};
use s3ota_fleet::ask::{Observer, Wish};
#[cfg(feature = "athena")]
use s3ota_fleet::athena::Athena;
use s3ota_fleet::error::{Error, Result};
use s3ota_fleet::page::page;
use s3ota_fleet::progress::Progress;
use s3ota_fleet::sources::bucket::{Access, Bucket};
use s3ota_fleet::sources::time;
use s3ota_fleet::view::{Logs, Read};
use s3ota_fleet::{export, schema, table, terminal};
use serde::Serialize;

use self::args::{Args, Command, Source};

/// A release fails more often than `--fail-above` says.
const ABOVE: u8 = 3;

/// Logs that end this long before the clock are worth a word.
const OLD: u64 = 24 * 3600;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(usage) => {
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    let json = args.json;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(run(args)),
        Err(error) => Err(Error::new("fleet.runtime", format!("no threads: {error}"))),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            if json {
                let event = serde_json::json!({
                    "event": "error", "code": error.code, "message": error.message, "hint": error.hint,
                });
                terminal::print_json(&event.to_string());
            } else {
                terminal::tell("error", &error.message, error.hint.as_deref());
            }
            ExitCode::from(1)
        }
    }
}

/// What is printed, and how.
struct Output {
    json: bool,
    width: Option<usize>,
}

impl Output {
    fn answer(&self, answer: &impl Serialize, lines: impl FnOnce() -> Vec<String>) {
        if self.json {
            terminal::print_json(&serde_json::to_string(answer).unwrap_or_default());
        } else {
            terminal::print(&lines());
        }
    }
}

async fn run(args: Args) -> Result<u8> {
    let out = Output {
        json: args.json,
        width: terminal::width(),
    };
    match args.command {
        Command::Status {
            source,
            all,
            html,
            save,
        } => {
            let asked = |wish: &mut Wish| {
                if all {
                    wish.named = 10_000_000
                }
            };
            observe(&source, &out, asked, async |observer, _| {
                let status = observer.status().await?;
                save.write(async || export::devices(&observer.devices().await?.0))
                    .await?;
                if let Some(path) = &html {
                    let page = page(
                        &observer.report(status.clone()).await?,
                        &source.all().join(", "),
                    );
                    std::fs::write(path, page).map_err(|error| Error::file(path, error))?;
                }
                out.answer(&status, || table::status(&status, out.width));
                Ok(())
            })
            .await?;
        }
        Command::Device { id, source } => {
            let device = async |observer: &Observer, _| observer.device(&id).await;
            let device = observe(&source, &out, |_| (), device).await?;
            out.answer(&device, || table::device(&device, out.width));
        }
        Command::Rollout {
            version,
            source,
            fail_above,
            save,
        } => {
            let (version, source) = args::version_and_source(version, source);
            let asked = |wish: &mut Wish| wish.fail_above = fail_above.unwrap_or(wish.fail_above);
            let rollout = async |observer: &Observer, _| observer.rollout(version.as_deref()).await;
            let rollout = observe(&source, &out, asked, rollout).await?;
            save.write(async || export::rollout(&rollout)).await?;
            out.answer(&rollout, || table::rollout(&rollout, out.width));
            if fail_above.is_some() && rollout.verdict == Verdict::Failing {
                return Ok(ABOVE);
            }
        }
        Command::Mix { source, save } => {
            let mix = async |observer: &Observer, _| observer.mix().await;
            let mix = observe(&source, &out, |_| (), mix).await?;
            save.write(async || export::mix(&mix)).await?;
            out.answer(&mix, || table::mix(&mix, out.width));
        }
        Command::Errors { source, save } => {
            let errors = async |observer: &Observer, _| observer.errors().await;
            let errors = observe(&source, &out, |_| (), errors).await?;
            save.write(async || export::errors(&errors)).await?;
            out.answer(&errors, || table::errors(&errors, out.width));
        }
        Command::Watch { source, every } => watch(&source, &out, every.into()).await?,
        Command::Schema {
            location,
            account,
            region,
            bucket,
            questions,
        } => {
            let partitions = schema::Partitions {
                location,
                account,
                region,
                bucket,
            };
            let sql = schema::sql(&partitions, questions);
            match out.json {
                true => terminal::print_json(&serde_json::json!({ "sql": sql }).to_string()),
                false => terminal::print(&[sql]),
            }
        }
    }
    Ok(0)
}

/// Reads what is new, tells what is odd about it, and lets someone ask.
async fn observe<T>(
    source: &Source,
    out: &Output,
    ask: impl Fn(&mut Wish),
    answer: impl AsyncFnOnce(&Observer, Read) -> Result<T>,
) -> Result<T> {
    let access = source.s3.access();
    let mut wish = Wish {
        silent_after: source.silent_after.0,
        channel: source.channel.clone(),
        ..Wish::default()
    };
    if let Some(bucket) = &source.bucket {
        let channel = source.channel.as_deref().unwrap_or("stable");
        let bucket = Bucket::connect(&access, bucket.parse()?).await?;
        wish.published = Some(bucket.published(channel).await?);
    }
    ask(&mut wish);
    let (observer, read) = observer(source, access, wish, out).await?;
    for problem in &read.problems {
        terminal::tell("warning", problem, None);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_secs());
    let late = now.saturating_sub(observer.at().into());
    if source.at.is_none() && late > OLD {
        let newest = time::written(observer.at());
        let message = format!(
            "the logs end at {newest}, {} hours ago: what is below is as of then",
            late / 3600
        );
        terminal::tell(
            "warning",
            &message,
            Some(
                "S3 delivers logs some hours late; `s3ota doctor` says whether the bucket still writes them",
            ),
        );
    }
    let answered = answer(&observer, read).await;
    observer.close().await;
    answered
}

async fn observer(
    source: &Source,
    access: Access,
    wish: Wish,
    out: &Output,
) -> Result<(Observer, Read)> {
    let at = source.at.map(|it| it.0);
    #[cfg(feature = "athena")]
    if let Some(options) = source.athena.options() {
        let [location]: [String; 1] = source.all().try_into().map_err(|_| {
            Error::new("logs.source", "Athena reads one place with logs")
                .hint("name it: s3://my-logs/my-bucket/")
        })?;
        let athena = Athena::over(&access, &location.parse()?, options, at).await?;
        return Ok((Observer::new(athena, at, wish).await?, Read::default()));
    }
    let mut logs = Logs::of(&source.all(), access)?;
    logs.cache.clone_from(&source.cache);
    logs.everything = source.rescan;
    let progress = Progress::new(!out.json);
    logs.observe(at, wish, &progress).await
}

/// Shows the status again whenever logs have arrived, until Ctrl-C.
async fn watch(source: &Source, out: &Output, every: Duration) -> Result<()> {
    #[cfg(feature = "athena")]
    if source.athena.athena.is_some() {
        return Err(Error::new("cli.usage", "watch does not ask Athena: it would read, and you would pay for, all logs each time")
            .hint("without --athena only what is new is read; or ask `status --athena` when you want to know"));
    }
    let mut shown = None;
    loop {
        let status = async |observer: &Observer, read| Ok((observer.status().await?, read));
        let (status, read): (Status, Read) = observe(source, out, |_| (), status).await?;
        if shown.as_ref() != Some(&status) || read.tally.sightings > 0 {
            if !out.json && shown.is_some() {
                terminal::print(&[String::new()]);
            }
            out.answer(&status, || table::status(&status, out.width));
            shown = Some(status);
        }
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            () = tokio::time::sleep(every) => {}
        }
    }
}

impl args::Save {
    /// Writes a table where it is wanted.
    async fn write(&self, rows: impl AsyncFnOnce() -> Result<RecordBatch>) -> Result<()> {
        if self.csv.is_none() && self.parquet.is_none() {
            return Ok(());
        }
        let rows = rows().await?;
        let to = |path: &Option<std::path::PathBuf>, how: fn(&Path, &RecordBatch) -> Result<()>| {
            match path {
                Some(path) => how(path, &rows),
                None => Ok(()),
            }
        };
        to(&self.csv, export::csv)?;
        to(&self.parquet, export::parquet)
    }
}
