//! The access log of a bucket: where it goes, who may write it, how long it stays, and who may read it.

use aws_sdk_s3::types::{
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};
use serde_json::Value;

use super::policy::{Policy, log_delivery, log_reader};
use super::{Change, Plan};
use crate::error::CliError;
use crate::s3::{LogTarget, Setting, Store, covers, prefix_of};

/// The days after which a log is removed, if nothing else is said.
const LOG_DAYS: i32 = 90;

/// What whoever reads the access log needs.
pub struct LogReader {
    /// Where the logs are.
    pub location: String,
    /// The policy that lets somebody read them, and nothing else.
    pub policy: Value,
}

impl Plan {
    /// The access log.
    pub(super) async fn logging(
        &mut self,
        store: &Store,
        bucket: &str,
        days: Option<i32>,
        exists: bool,
    ) -> Result<(), CliError> {
        let now = match exists {
            true => store.logging().await?,
            false => Setting::Unset,
        };
        if now == Setting::Unsupported {
            self.advice.push(no_log());
            return Ok(());
        }
        let logs = store.of_bucket(bucket);
        let is_there = logs.exists().await?;
        if !is_there {
            // Elsewhere nobody knows yet whether there are access logs at all.
            if !store.is_aws() && !exists {
                let message = format!("there is no bucket {bucket} for the access log");
                return Err(CliError::new("s3.bucket", message).hint(format!(
                    "create it with `s3ota bucket init s3://{bucket} --private`, in the same region"
                )));
            }
            self.step(
                "create-logs",
                format!(
                    "create the bucket {bucket} for the access log, in {}; nobody else can read it",
                    store.region()
                ),
                "",
                Change::CreateLogs(Box::new(logs.clone())),
            );
        }
        // What was set by hand keeps its prefix.
        let prefix = match &now {
            Setting::Is(target) if target.bucket == bucket => target.prefix.clone(),
            _ => format!("{}/", store.bucket()),
        };
        let objects = logs.arn(&format!("{prefix}*"));
        if store.is_aws() {
            self.log_policy(store, &logs, &objects, is_there).await?;
        }
        self.log_lifecycle(&logs, &prefix, days, is_there).await?;
        // Other services may not know of folders by day.
        let is_set = matches!(&now, Setting::Is(LogTarget { bucket: set, by_day, .. }) if set == bucket && (*by_day || !store.is_aws()));
        let location = format!("s3://{bucket}/{prefix}");
        if is_set {
            self.fine.push(format!(
                "accesses are logged to {location}, a folder for each day"
            ));
        } else {
            self.step(
                "logging",
                format!("log accesses to {location}, in a folder for each day"),
                NO_LOG,
                Change::Logging {
                    bucket: bucket.to_owned(),
                    prefix: prefix.clone(),
                },
            );
        }
        self.log_reader = Some(LogReader {
            policy: log_reader(&logs.arn(""), &objects, &prefix),
            location,
        });
        Ok(())
    }

    /// Who may write it.
    async fn log_policy(
        &mut self,
        store: &Store,
        logs: &Store,
        objects: &str,
        is_there: bool,
    ) -> Result<(), CliError> {
        let policy = match is_there {
            true => logs.policy().await?,
            false => Setting::Unset,
        };
        let policy = match policy {
            Setting::Is(text) => Policy::parse(&text)?,
            Setting::Unset | Setting::Unsupported => Policy::empty(),
        };
        let source = store.arn("");
        let account = store.account().await;
        if policy.takes_logs(objects, &source, account.as_deref()) {
            return Ok(());
        }
        let statement = log_delivery(objects, &source, account.as_deref());
        self.step(
            "log-policy",
            format!(
                "let S3 write the access log to {}: {statement}",
                logs.bucket()
            ),
            "",
            Change::LogPolicy(Box::new(logs.clone()), policy.with(statement, "logs")),
        );
        Ok(())
    }

    /// How long it stays.
    async fn log_lifecycle(
        &mut self,
        logs: &Store,
        prefix: &str,
        days: Option<i32>,
        is_there: bool,
    ) -> Result<(), CliError> {
        let mut rules = match is_there {
            true => logs.lifecycle().await?,
            false => Setting::Unset,
        };
        let rules = match &mut rules {
            Setting::Is(rules) => rules,
            Setting::Unset => &mut Vec::new(),
            Setting::Unsupported => return Ok(()),
        };
        let id = format!("s3ota logs {prefix}");
        let set = rules.iter().filter_map(|rule| expires(rule, prefix)).min();
        if let Some(set) = set
            && days.is_none_or(|days| days == set)
        {
            self.fine.push(format!("logs are removed after {set} days"));
            return Ok(());
        }
        let days = days.unwrap_or(LOG_DAYS);
        rules.retain(|rule| rule.id() != Some(&id));
        if let Some(shorter) = rules
            .iter()
            .filter_map(|rule| expires(rule, prefix))
            .find(|&shorter| shorter < days)
        {
            let message = format!(
                "another lifecycle rule of {} removes the logs after {shorter} days, before the {days} that were asked for",
                logs.bucket()
            );
            let hint = "change that rule, or exclude this prefix from it";
            self.advice
                .push(CliError::new("bucket.lifecycle", message).hint(hint));
        }
        rules.push(rule(&id, prefix, days)?);
        self.step(
            "log-lifecycle",
            format!(
                "remove the logs under s3://{}/{prefix} after {days} days",
                logs.bucket()
            ),
            "the service has no lifecycle rules: logs stay until you remove them",
            Change::LogLifecycle(Box::new(logs.clone()), rules.clone()),
        );
        Ok(())
    }
}

const NO_LOG: &str = "the service has no access log";

fn no_log() -> CliError {
    CliError::new("s3.unsupported", NO_LOG)
        .hint("the gateway writes one: `s3ota gateway --json`, see docs/private-buckets.md")
}

/// After how many days a rule removes all that is under a prefix.
fn expires(rule: &LifecycleRule, prefix: &str) -> Option<i32> {
    let is_on = *rule.status() == ExpirationStatus::Enabled;
    let is_for_all = covers(rule, prefix, None) && prefix.starts_with(prefix_of(rule));
    rule.expiration()?.days().filter(|_| is_on && is_for_all)
}

fn rule(id: &str, prefix: &str, days: i32) -> Result<LifecycleRule, CliError> {
    LifecycleRule::builder()
        .id(id)
        .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
        .status(ExpirationStatus::Enabled)
        .expiration(LifecycleExpiration::builder().days(days).build())
        .build()
        .map_err(|error| CliError::new("s3.error", error.to_string()))
}
