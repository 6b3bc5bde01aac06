//! `s3ota bucket init`: a bucket fit for devices.
//!
//! First everything is looked at, then said what would be done, and only then is it done. What others have set in the
//! same bucket stays as it is.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::bucket::setup::{Plan, Wish};
use crate::error::CliError;
use crate::output::Output;
use crate::output::terminal;
use crate::s3::{Location, S3Args, Store};

#[derive(Debug, Subcommand)]
pub enum BucketCommand {
    Init(BucketInitArgs),
}

/// Make a bucket fit for devices, or check one that is there
///
/// Makes the bucket, opens this one prefix to readers by a statement in the bucket's policy (or, with --private, closes
/// it), has unfinished uploads cleared away, and looks at CORS, versioning and whatever could delete images. Says first
/// what it would do. What others have set stays: statements and rules are added to theirs.
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

    /// Let nobody read it without a signed URL: for releases published with --presign
    #[arg(long)]
    pub private: bool,

    /// Log every access into this bucket, which must be there: the devices' versions stand in its lines
    #[arg(long, value_name = "NAME")]
    pub log_bucket: Option<String>,

    /// Say what would be done, and do nothing
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,

    /// Do it without asking
    #[arg(long, short)]
    pub yes: bool,

    #[command(flatten)]
    pub s3: S3Args,
}

/// Sets a bucket up.
pub async fn run(command: BucketCommand, out: &Output) -> Result<(), CliError> {
    let BucketCommand::Init(args) = command;
    let location: Location = args.location.parse().map_err(CliError::usage)?;
    let store = Store::connect(&args.s3, &location, None).await?;
    let wish = Wish {
        prefix: location.prefix.clone(),
        private: args.private,
        log_bucket: args.log_bucket.clone(),
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
    if plan.is_empty() || done {
        out.say(format_args!(
            "\n{location} is ready: publish with `s3ota publish FIRMWARE {location}{}`, then look with `s3ota doctor {location}`",
            if args.private { " --presign 7d" } else { "" }
        ));
    }
    Ok(())
}

/// Whether it shall be done.
fn agreed(args: &BucketInitArgs, out: &Output) -> Result<bool, CliError> {
    if args.yes || args.dry_run {
        return Ok(args.yes);
    }
    if out.is_for_programs() || !terminal::can_ask() {
        return Err(CliError::new(
            "cli.usage",
            "nobody can be asked here whether that shall be done",
        )
        .hint("say --yes to do it, or --dry-run to leave it at that")
        .usage());
    }
    out.say("");
    Ok(terminal::agrees("Do that?"))
}
