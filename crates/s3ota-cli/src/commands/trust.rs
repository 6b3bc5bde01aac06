//! `s3ota trust`: approves the `s3ota.toml` of the working directory.

use clap::Args;

use crate::error::CliError;
use crate::output::Output;
use crate::settings::{FILE, Settings};

/// Approve the s3ota.toml in this folder
///
/// Its settings ca, endpoint_url, key, profile, public_read and public_url decide where your credentials and releases go. They are
/// used only after you have approved them, and need a new approval after one of them, the location or the CA has changed. On a
/// terminal you are asked when they are first needed; this command approves them beforehand.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota trust
  s3ota trust --forget")]
pub struct TrustArgs {
    /// Revoke the approval
    #[arg(long)]
    pub forget: bool,
}

/// Approves the file, or revokes that.
pub fn run(args: &TrustArgs, settings: &Settings, out: &Output) -> Result<(), CliError> {
    let Some(file) = &settings.file else {
        let message = format!("there is no {FILE} in this folder or above it");
        return Err(CliError::new("cli.config", message)
            .hint("run it in the folder of the file; it sets defaults, such as location = \"s3://my-bucket/lamp\""));
    };
    let file = file.display();
    let claim = settings.claim()?;
    let mut event = claim.to_json();
    if args.forget {
        let forgotten = claim.forget()?;
        out.say(match forgotten {
            true => format!("{file} is no longer approved"),
            false => format!("{file} was not approved"),
        });
        event["forgotten"] = forgotten.into();
        out.event("trust", event);
        return Ok(());
    }
    if claim.is_harmless() {
        out.say(format_args!("{file} sets nothing that needs approval"));
    } else {
        claim.remember()?;
        out.say(format_args!("approved in {file}:\n{}", claim.listing()));
    }
    out.event("trust", event);
    Ok(())
}
