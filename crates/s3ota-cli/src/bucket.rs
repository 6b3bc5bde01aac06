//! `s3ota bucket init`: a bucket fit for devices.
//!
//! First everything is looked at, then said what would be done, and only then is it done. What others have set in the
//! same bucket stays as it is.
//!
//! | file | what it is about |
//! |---|---|
//! | `plan.rs` | from what is there to what is to be done |
//! | `policy.rs` | one statement more in a bucket policy, or one less |

mod args;
mod plan;
mod policy;

use serde_json::json;

pub use self::args::BucketCommand;
use self::args::BucketInitArgs;
use self::plan::{Plan, Wish};
use crate::error::CliError;
use crate::output::Output;
use crate::s3::{Location, Store};
use crate::terminal;

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
