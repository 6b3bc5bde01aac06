//! `s3ota bucket init`: prepares a bucket for devices.
//!
//! It reads all settings first, then shows its plan, and changes something only after that. Settings that others have made in
//! the same bucket stay.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::bucket::setup::{LogReader, Plan, Wish};
use crate::error::CliError;
use crate::output::Output;
use crate::output::terminal;
use crate::s3::{Location, S3Args, Store};

#[derive(Debug, Subcommand)]
pub enum BucketCommand {
    Init(BucketInitArgs),
}

/// Prepare a bucket for devices, or check an existing one
///
/// Creates the bucket if needed, opens this prefix to readers with a statement in the bucket policy (with --private, closes
/// it), has unfinished uploads removed, and checks CORS, versioning and rules that could delete images. Shows its plan before
/// it changes anything. Settings that others have made stay: statements and rules are added to theirs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota bucket init s3://my-bucket/lamp --dry-run
  s3ota bucket init s3://my-bucket/lamp --region eu-central-1 --yes
  s3ota bucket init s3://my-bucket/lamp --private --log-bucket my-logs")]
pub struct BucketInitArgs {
    /// The bucket, and the prefix that devices read
    #[arg(value_name = "s3://BUCKET/PREFIX")]
    pub location: String,

    /// Keep the bucket private, for releases published with --presign
    #[arg(long)]
    pub private: bool,

    /// Log every access to this bucket, in a folder for each day; `s3ota fleet` reads there who runs what. Created if needed
    #[arg(long, value_name = "NAME")]
    pub log_bucket: Option<String>,

    /// Remove a log after so many days [default: 90, or what is set already]
    #[arg(long, value_name = "N", requires = "log_bucket", value_parser = clap::value_parser!(i32).range(1..))]
    pub log_days: Option<i32>,

    /// Show the plan, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,

    /// Change the bucket without asking
    #[arg(long, short)]
    pub yes: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Prepares a bucket.
pub async fn run(command: BucketCommand, out: &Output) -> Result<(), CliError> {
    let BucketCommand::Init(args) = command;
    let location: Location = args.location.parse().map_err(CliError::usage)?;
    let store = Store::connect(&args.s3, &location, None).await?;
    let wish = Wish {
        prefix: location.prefix.clone(),
        private: args.private,
        log_bucket: args.log_bucket.clone(),
        log_days: args.log_days,
    };
    let plan = Plan::make(&store, &wish).await?;
    plan.tell(out);

    let done = !plan.is_empty() && agreed(&args, out)?;
    if done {
        plan.carry_out(&store, out).await?;
    }
    out.event(
        "bucket",
        json!({ "bucket": location.bucket, "prefix": location.prefix, "private": args.private, "changed": done }),
    );
    if let Some(LogReader { location, policy }) = plan.log_reader() {
        out.say(format_args!(
            "\nwhoever reads the log with `s3ota fleet status {location}` needs this policy, and no other:\n{policy}"
        ));
        out.event(
            "log-reader",
            json!({ "location": location, "policy": policy }),
        );
    }
    if plan.is_empty() || done {
        out.say(format_args!(
            "\n{location} is ready: publish with `s3ota publish FIRMWARE {location}{}`, then check with `s3ota doctor {location}`",
            if args.private { " --presign 7d" } else { "" }
        ));
    }
    Ok(())
}

/// Whether the user agrees to the plan.
fn agreed(args: &BucketInitArgs, out: &Output) -> Result<bool, CliError> {
    if args.yes || args.dry_run {
        return Ok(args.yes);
    }
    if out.is_for_programs() || !terminal::can_ask() {
        return Err(CliError::new(
            "cli.usage",
            "there is no terminal on which to ask for confirmation",
        )
        .hint("use --yes to go ahead, or --dry-run to see the plan only")
        .usage());
    }
    out.say("");
    Ok(terminal::agrees("Go ahead?"))
}
