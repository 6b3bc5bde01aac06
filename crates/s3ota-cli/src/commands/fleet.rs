//! `s3ota fleet`: runs the program `s3ota-fleet`, which has an engine for queries inside and so takes long to build.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use clap::Args;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::Output;
use crate::s3::S3Args;

/// The program's name.
const PROGRAM: &str = "s3ota-fleet";

/// Show the fleet from the bucket's access logs: who runs what, who is stuck, how a rollout goes
///
/// It runs the program s3ota-fleet, with everything behind `fleet`: `s3ota fleet --help` is its help.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
#[command(after_help = "\
Examples:
  s3ota fleet --help
  s3ota fleet status s3://my-logs/my-bucket/
  s3ota fleet rollout 1.3.0 s3://my-logs/my-bucket/ --fail-above 2%")]
pub struct FleetArgs {
    /// status, device, rollout, mix, errors, watch or schema, and its options
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub args: Vec<OsString>,
}

/// Runs the program. Returns its exit status.
pub fn run(args: FleetArgs, out: &Output) -> Result<u8, CliError> {
    let mut command = program();
    if out.is_for_programs() {
        command.arg("--json");
    }
    command.args(args.args);
    replace(command)
}

/// The program takes our place, and so our signals.
#[cfg(unix)]
fn replace(mut command: Command) -> Result<u8, CliError> {
    Err(failed(&std::os::unix::process::CommandExt::exec(
        &mut command,
    )))
}

#[cfg(not(unix))]
fn replace(mut command: Command) -> Result<u8, CliError> {
    let status = command.status().map_err(|error| failed(&error))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(1))
}

/// Whether a release does well, by the logs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Fleet")]
pub struct HealthArgs {
    /// Go on only if the release does well, by the access logs: `s3ota fleet rollout` says so
    #[arg(long, requires = "logs")]
    pub if_healthy: bool,

    /// The access logs for --if-healthy: s3://BUCKET/PREFIX or a folder
    #[arg(long, value_name = "LOGS", env = "S3OTA_LOGS")]
    pub logs: Option<String>,

    /// For --if-healthy, the highest failure rate that is still well, like 2%
    #[arg(long, value_name = "PERCENT", requires = "if_healthy")]
    pub fail_above: Option<String>,
}

impl HealthArgs {
    /// Asks `s3ota fleet rollout` about a version, if that is wanted. An error if it does not do well.
    pub fn check(&self, version: &str, s3: &S3Args, out: &Output) -> Result<(), CliError> {
        let Some(logs) = self.logs.as_ref().filter(|_| self.if_healthy) else {
            return Ok(());
        };
        let mut command = program();
        command.args(["--json", "rollout", version, "--logs", logs]);
        let mut option = |name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                command.args([name, value]);
            }
        };
        option("--fail-above", self.fail_above.as_deref());
        option("--endpoint-url", s3.endpoint_url.as_deref());
        option("--profile", s3.aws.profile.as_deref());
        option("--ca", s3.aws.ca.as_ref().and_then(|it| it.to_str()));
        command.stderr(Stdio::inherit());
        let answer = command.output().map_err(|error| failed(&error))?;
        let answer: Value = serde_json::from_slice(&answer.stdout).map_err(|_| {
            CliError::new(
                "rollout.health",
                format!("{PROGRAM} gave no answer ({})", answer.status),
            )
            .hint("nothing was changed; `s3ota fleet rollout` shows what it says")
        })?;
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let (verdict, sentence) = (text("verdict"), text("sentence"));
        match verdict.as_str() {
            "healthy" => {
                out.event("health", json!({ "version": version, "verdict": verdict, "sentence": sentence }));
                out.prose(sentence);
                Ok(())
            }
            "" => Err(CliError::new("rollout.health", text("message"))
                .hint("nothing was changed: whether the release does well is not known")),
            _ => Err(CliError::new("rollout.unhealthy", format!("{version} is not rolled out further. {sentence}"))
                .hint("nothing was changed; `s3ota fleet rollout` and `s3ota fleet errors` show more. Without --if-healthy it goes on anyway")),
        }
    }
}

/// The program beside this one, or else on the PATH.
fn program() -> Command {
    let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe()
        .ok()
        .map(|it| it.with_file_name(&name));
    Command::new(
        beside
            .filter(|it| it.is_file())
            .unwrap_or_else(|| PathBuf::from(name)),
    )
}

fn failed(error: &std::io::Error) -> CliError {
    match error.kind() {
        ErrorKind::NotFound => {
            CliError::new("fleet.missing", format!("the program {PROGRAM} is not there"))
                .hint("it belongs beside s3ota, or on the PATH. From a checkout, `cargo install --path fleet` builds and installs it, which takes some minutes")
        }
        _ => CliError::new("fleet.missing", format!("the program {PROGRAM} cannot be run: {error}")),
    }
}
