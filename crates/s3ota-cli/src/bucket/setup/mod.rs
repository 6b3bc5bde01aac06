//! The settings of a bucket: a plan from what they are to what they should be.

mod logs;
mod policy;

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    NoncurrentVersionExpiration,
};
use serde_json::json;

pub use self::logs::LogReader;
use self::policy::{Policy, public_read};
use crate::error::CliError;
use crate::output::{self, Output};
use crate::s3::{PublicAccessBlock, Setting, Store, class_of_rule, covers};

/// The days after which the parts of an unfinished upload are removed.
const UNFINISHED_DAYS: i32 = 7;

/// The days for which an overwritten or deleted object can be restored, where the bucket keeps versions.
const OLD_VERSION_DAYS: i32 = 90;

/// The wanted settings.
pub struct Wish {
    /// The prefix that devices read.
    pub prefix: String,
    /// Whether reading needs a signed URL.
    pub private: bool,
    /// The bucket for the access log.
    pub log_bucket: Option<String>,
    /// The days after which a log is removed; `None` leaves it as it is, or [`LOG_DAYS`].
    pub log_days: Option<i32>,
}

/// The changes to make, and what is worth knowing.
#[derive(Default)]
pub struct Plan {
    steps: Vec<Step>,
    /// What is right already.
    fine: Vec<String>,
    /// What looks like a mistake, or could be better.
    advice: Vec<CliError>,
    /// The key of an object to test conditional writes with.
    probe: String,
    /// What whoever reads the access log needs, if there is one.
    log_reader: Option<LogReader>,
}

/// One change.
struct Step {
    /// Its name for programs.
    name: &'static str,
    /// The change, for people.
    what: String,
    /// What it means if the service does not support it.
    lacking: &'static str,
    change: Change,
}

enum Change {
    Create,
    PublicAccess(PublicAccessBlock),
    Policy(Option<Policy>),
    Lifecycle(Vec<LifecycleRule>),
    CreateLogs(Box<Store>),
    LogPolicy(Box<Store>, Policy),
    LogLifecycle(Box<Store>, Vec<LifecycleRule>),
    Logging { bucket: String, prefix: String },
}

impl Plan {
    /// Reads all settings, and changes nothing.
    pub async fn make(store: &Store, wish: &Wish) -> Result<Self, CliError> {
        let under = if wish.prefix.is_empty() {
            String::new()
        } else {
            format!("{}/", wish.prefix)
        };
        let mut plan = Self {
            probe: format!("{under}.s3ota-probe"),
            ..Self::default()
        };
        let exists = store.exists().await?;
        if exists {
            plan.fine
                .push(format!("the bucket {} exists", store.bucket()));
        } else {
            plan.step(
                "create",
                format!("create the bucket {} in {}", store.bucket(), store.region()),
                "",
                Change::Create,
            );
        }
        plan.access(store, wish, exists).await?;
        plan.cleaning(store, &under, exists).await?;
        if exists {
            plan.cors(store).await?;
        }
        if let Some(logs) = &wish.log_bucket {
            plan.logging(store, logs, wish.log_days, exists).await?;
        }
        Ok(plan)
    }

    fn step(&mut self, name: &'static str, what: String, lacking: &'static str, change: Change) {
        self.steps.push(Step {
            name,
            what,
            lacking,
            change,
        });
    }

    /// Read access.
    async fn access(&mut self, store: &Store, wish: &Wish, exists: bool) -> Result<(), CliError> {
        let block = if exists {
            store.public_access_block().await?
        } else if store.is_aws() {
            // As in every new bucket.
            Setting::Is(PublicAccessBlock {
                acls: true,
                policy: true,
            })
        } else {
            Setting::Unset
        };
        let policy = match exists {
            true => store.policy().await?,
            false => Setting::Unset,
        };
        let objects = store.objects(&wish.prefix);
        let known = match &policy {
            Setting::Is(text) => Policy::parse(text)?,
            Setting::Unset | Setting::Unsupported => Policy::empty(),
        };
        if wish.private {
            return self.close(store, &known, &objects, block);
        }
        if let Setting::Is(block) = block
            && block.policy
        {
            self.step(
                "public-access",
                "allow a bucket policy to open it (turns off Block Public Access for policies, not for ACLs)"
                    .to_owned(),
                "",
                Change::PublicAccess(PublicAccessBlock {
                    policy: false,
                    ..block
                }),
            );
        }
        if let Some(sid) = known.opens(&objects).first() {
            self.fine
                .push(format!("anyone can read {objects}, by the statement {sid}"));
        } else {
            let statement = public_read(&objects);
            let kept = match policy {
                Setting::Is(_) => "; the other statements in the policy stay",
                _ => "",
            };
            self.step(
                "policy",
                format!("let anyone read {objects}, and nothing else: {statement}{kept}"),
                "the service has no bucket policies: open the bucket by its own means (docs/stores.md), or publish with --presign",
                Change::Policy(Some(known.with(statement, &wish.prefix))),
            );
        }
        Ok(())
    }

    fn close(
        &mut self,
        store: &Store,
        known: &Policy,
        objects: &str,
        block: Setting<PublicAccessBlock>,
    ) -> Result<(), CliError> {
        let kept = known.without_ours(objects);
        let open: Vec<_> = kept
            .iter()
            .flat_map(|policy| policy.opens(objects))
            .collect();
        let closed = PublicAccessBlock {
            acls: true,
            policy: true,
        };
        let changed = kept.as_ref() != Some(known) && *known != Policy::empty();
        if changed {
            self.step(
                "policy",
                format!("stop letting anyone read {objects}"),
                "",
                Change::Policy(kept.clone()),
            );
        }
        if let Some(sid) = open.first() {
            let message = format!(
                "another statement in the bucket's policy, {sid}, lets anyone read {objects}"
            );
            self.advice
                .push(CliError::new("bucket.public", message).hint(
                    "remove it with `aws s3api put-bucket-policy`, if nothing else needs it",
                ));
        } else if matches!(block, Setting::Is(block) if block == closed) {
            self.fine.push("public access is blocked".to_owned());
        } else if store.is_aws() {
            self.step(
                "public-access",
                "block all public access to the bucket".to_owned(),
                "",
                Change::PublicAccess(closed),
            );
        } else {
            // Elsewhere it would be a second safeguard only, and Ceph 16 refuses every upload with it.
            self.fine
                .push("nobody can read it without a policy or an ACL".to_owned());
        }
        Ok(())
    }

    /// Rules that delete objects.
    async fn cleaning(&mut self, store: &Store, under: &str, exists: bool) -> Result<(), CliError> {
        let (versioning, rules) = match exists {
            true => (store.versioning().await?, store.lifecycle().await?),
            false => (Setting::Unset, Setting::Unset),
        };
        let keeps_versions = versioning == Setting::Is(true);
        match versioning {
            Setting::Is(true) => self
                .fine
                .push("the bucket keeps overwritten and deleted objects".to_owned()),
            Setting::Unsupported => {}
            // A bucket that is to be created is looked at afterwards.
            _ if exists => self.advice.push(keeps_no_versions(store)),
            _ => {}
        }
        let rules = match rules {
            Setting::Is(rules) => rules,
            Setting::Unset => Vec::new(),
            Setting::Unsupported => {
                self.fine.push(
                    "the service deletes nothing by itself (it has no lifecycle rules)".to_owned(),
                );
                return Ok(());
            }
        };
        for rule in rules.iter().filter(|rule| deletes_images(rule, under)) {
            let id = rule.id().unwrap_or("(without an ID)");
            let message = format!(
                "the lifecycle rule {id} deletes objects under {under} by age, including images that devices still need"
            );
            self.advice.push(
                CliError::new("bucket.lifecycle", message)
                    .hint("exclude this prefix from the rule; remove old images with `s3ota gc`, which knows which are needed"),
            );
        }
        for rule in rules.iter().filter(|rule| covers(rule, under, None)) {
            let Some(class) = class_of_rule(rule) else {
                continue;
            };
            let id = rule.id().unwrap_or("(without an ID)");
            let message = format!(
                "the lifecycle rule {id} moves objects under {under} to {class}, where no device can read them"
            );
            self.advice.push(
                CliError::new("bucket.lifecycle", message)
                    .hint("exclude this prefix from the rule; STANDARD_IA and GLACIER_IR cost less than STANDARD, and can be read at once"),
            );
        }
        let id = format!("s3ota {under}");
        let ours = rule(&id, under, keeps_versions)?;
        if rules.contains(&ours) {
            self.fine
                .push("parts of unfinished uploads are removed".to_owned());
            return Ok(());
        }
        let old = match keeps_versions {
            true => format!(", overwritten and deleted objects after {OLD_VERSION_DAYS}"),
            false => String::new(),
        };
        let mut rules = rules;
        rules.retain(|rule| rule.id() != Some(&id));
        rules.push(ours);
        self.step(
            "lifecycle",
            format!(
                "under {under}*, remove parts of unfinished uploads after {UNFINISHED_DAYS} days{old}; never an existing image"
            ),
            "the service has no lifecycle rules: unfinished uploads stay until `s3ota gc LOCATION --delete` removes them",
            Change::Lifecycle(rules),
        );
        Ok(())
    }

    async fn cors(&mut self, store: &Store) -> Result<(), CliError> {
        match store.cors().await? {
            Setting::Is(rules) => {
                let rules = output::count(rules as u64, "rule");
                let message = format!(
                    "CORS is on, with {rules}: devices do not need it, nor does the installer page, which is in the bucket itself"
                );
                self.advice
                    .push(CliError::new("bucket.cors", message).hint(format!(
                        "`aws s3api delete-bucket-cors --bucket {}`, if no other web page of yours reads the bucket",
                        store.bucket()
                    )));
            }
            _ => self.fine.push("CORS is off".to_owned()),
        }
        Ok(())
    }

    /// What whoever reads the access log needs, if that was asked for.
    pub fn log_reader(&self) -> Option<&LogReader> {
        self.log_reader.as_ref()
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Reports what was found, and the plan.
    pub fn tell(&self, out: &Output) {
        for fine in &self.fine {
            out.say(output::fact("ok", 10, fine));
            out.event("found", json!({ "message": fine }));
        }
        for advice in &self.advice {
            out.warning(advice);
        }
        for step in &self.steps {
            out.say(output::fact("to do", 10, &step.what));
            out.event(
                "planned",
                json!({ "step": step.name, "message": step.what }),
            );
        }
    }

    /// Carries the plan out.
    pub async fn carry_out(&self, store: &Store, out: &Output) -> Result<(), CliError> {
        for step in &self.steps {
            let done = match &step.change {
                Change::Create => store.create_bucket().await.map(|()| true),
                Change::PublicAccess(block) => store.set_public_access_block(*block).await,
                Change::Policy(policy) => {
                    let text = policy.as_ref().map(Policy::to_json);
                    store.set_policy(text.as_deref()).await
                }
                Change::Lifecycle(rules) => store.set_lifecycle(rules.clone()).await,
                Change::CreateLogs(logs) => logs.create_bucket().await.map(|()| true),
                Change::LogPolicy(logs, policy) => logs.set_policy(Some(&policy.to_json())).await,
                Change::LogLifecycle(logs, rules) => logs.set_lifecycle(rules.clone()).await,
                Change::Logging { bucket, prefix } => store.set_logging(bucket, prefix).await,
            };
            if done? {
                out.say(format_args!("done       {}", step.name));
                out.event("done", json!({ "step": step.name }));
            } else {
                out.warning(&CliError::new("s3.unsupported", step.lacking));
            }
        }
        let is_new = self
            .steps
            .iter()
            .any(|step| matches!(step.change, Change::Create));
        if is_new && let Ok(Setting::Unset | Setting::Is(false)) = store.versioning().await {
            out.warning(&keeps_no_versions(store));
        }
        store.try_conditions(&self.probe).await?;
        if store.ignores_conditions() {
            store.delete(&self.probe).await?;
            let message = "the service ignores conditions on writes: if two people publish at the same moment, one may overwrite the other";
            out.warning(
                &CliError::new("s3.unsupported", message)
                    .hint("publish from one place, such as one CI job that runs one at a time"),
            );
        }
        Ok(())
    }
}

/// The advice for a bucket without versions.
fn keeps_no_versions(store: &Store) -> CliError {
    let message = "the bucket keeps no versions: what is overwritten or deleted by mistake is lost";
    CliError::new("bucket.versioning", message).hint(format!(
        "`aws s3api put-bucket-versioning --bucket {} --versioning-configuration Status=Enabled`, and run this again",
        store.bucket()
    ))
}

/// The rule that removes what nobody can need.
fn rule(id: &str, under: &str, keeps_versions: bool) -> Result<LifecycleRule, CliError> {
    let unfinished = AbortIncompleteMultipartUpload::builder()
        .days_after_initiation(UNFINISHED_DAYS)
        .build();
    let old_versions = keeps_versions.then(|| {
        NoncurrentVersionExpiration::builder()
            .noncurrent_days(OLD_VERSION_DAYS)
            .build()
    });
    LifecycleRule::builder()
        .id(id)
        .filter(LifecycleRuleFilter::builder().prefix(under).build())
        .status(ExpirationStatus::Enabled)
        .abort_incomplete_multipart_upload(unfinished)
        .set_noncurrent_version_expiration(old_versions)
        .build()
        .map_err(|error| CliError::new("s3.error", error.to_string()))
}

/// Whether a rule deletes current objects by age, some of them under the prefix.
fn deletes_images(rule: &LifecycleRule, under: &str) -> bool {
    let by_age = rule
        .expiration()
        .is_some_and(|expiration| expiration.days().is_some() || expiration.date().is_some());
    *rule.status() == ExpirationStatus::Enabled && by_age && covers(rule, under, None)
}
