//! `s3ota publish`: a firmware and its manifest go into a bucket.
//!
//! A release is decided on as a whole before anything is uploaded ([`Plan`]), and then becomes visible in one step: the
//! image first, its record second, and the channel's manifest, which devices ask for, last.

mod args;
mod reach;
mod release;

use std::time::Duration;

use bytes::Bytes;
use s3ota_manifest::{HttpsUrl, ManifestDocument, Rollout, Version, layout};
use serde_json::json;

pub use self::args::PublishArgs;
pub use self::reach::ends_early;
use self::release::Release;
use crate::error::CliError;
use crate::firmware::{self, Firmware};
use crate::keys::Signer;
use crate::output::{self, Output};
use crate::s3::{Condition, Location, MAX_PRESIGN, Object, Store, Upload};
use crate::seal::{self, Lifetime, Present};

/// How a firmware is to be released.
#[derive(Debug, Clone)]
pub struct ReleaseOptions {
    /// The channel whose devices get it.
    pub channel: String,
    /// Its version, where the image does not say it.
    pub version: Option<String>,
    /// The only board that takes it.
    pub board: Option<String>,
    /// How many percent of the devices take it.
    pub rollout: Option<Rollout>,
    /// How long pre-signed URLs are good for; `None` for public ones.
    pub presign: Option<Duration>,
    /// The URL under which devices reach the bucket, where it is not the S3 service's own.
    pub public_url: Option<String>,
    /// Whether each object gets the ACL `public-read`.
    pub public_read: bool,
    /// A note for people.
    pub notes: Option<String>,
    /// How long the manifest is good for; `None` for the default.
    pub expires: Option<Lifetime>,
    /// The version below which devices do not go back any more.
    pub min_version: Option<String>,
    /// Whether devices shall go back to it.
    pub downgrade: bool,
    /// Whether it may go unsigned onto a channel whose releases are signed.
    pub unsigned: bool,
}

impl ReleaseOptions {
    /// A release for all devices of a channel, with public URLs.
    pub fn channel(name: &str) -> Self {
        Self {
            channel: name.to_owned(),
            version: None,
            board: None,
            rollout: None,
            presign: None,
            public_url: None,
            public_read: false,
            notes: None,
            expires: None,
            min_version: None,
            downgrade: false,
            unsigned: false,
        }
    }

    fn from_args(args: &PublishArgs) -> Result<Self, CliError> {
        let rollout = args
            .rollout
            .as_deref()
            .map(|text| text.strip_suffix('%').unwrap_or(text).parse::<Rollout>());
        let rollout = rollout.transpose().map_err(|error| {
            CliError::new("publish.rollout", format!("--rollout: {error}"))
                .hint("write it like 10, 12.5 or 100")
        })?;
        Ok(Self {
            channel: args.channel.clone(),
            version: args.version.clone(),
            board: args.board.clone(),
            rollout,
            presign: args.presign,
            public_url: args.public_url.clone(),
            public_read: args.public_read,
            notes: args.notes.clone(),
            expires: args.seal.expires,
            min_version: args.min_version.clone(),
            downgrade: args.allow_downgrade,
            unsigned: args.unsigned,
        })
    }

    /// Refuses what cannot work, before anyone is asked for anything.
    fn check(&self, is_signed: bool) -> Result<(), CliError> {
        let only_signed = [
            (self.downgrade, "--allow-downgrade"),
            (self.min_version.is_some(), "--min-version"),
        ];
        if let Some((_, flag)) = only_signed
            .into_iter()
            .find(|(given, _)| *given && !is_signed)
        {
            let error = CliError::new(
                "publish.unsigned",
                format!("{flag} needs a signature: no device heeds it without"),
            );
            return Err(error.hint("sign the release with --key"));
        }
        if self.downgrade && self.expires == Some(Lifetime::Never) {
            let error = CliError::new(
                "publish.expires",
                "a permission to go back has to end, and --expires says never",
            );
            return Err(error.hint("say how long devices may go back, such as --expires 7d"));
        }
        if self.presign.is_some_and(|time| time > MAX_PRESIGN) {
            let error = CliError::new(
                "publish.presign",
                "a pre-signed URL is good for 7 days at the most",
            );
            return Err(error
                .hint("say --presign 7d, and publish the same file again before they are over"));
        }
        layout::channel_key("", &self.channel)
            .map_err(|error| CliError::new("publish.channel", error.to_string()))?;
        if let Some(url) = &self.public_url {
            let problem = match HttpsUrl::parse(url) {
                Err(error) => Some(error.to_string()),
                Ok(parsed) if parsed.path_and_query().contains('?') => {
                    Some("the URL has a query".to_owned())
                }
                Ok(_) => None,
            };
            if let Some(problem) = problem {
                let hint = "give the https URL that stands for the bucket, like https://firmware.example.com";
                return Err(
                    CliError::new("publish.url", format!("--public-url: {problem}")).hint(hint),
                );
            }
        }
        Ok(())
    }
}

/// What was published.
#[derive(Debug, Clone)]
pub struct Published {
    /// The version.
    pub version: String,
    /// The chip's name.
    pub chip: String,
    /// What a device is given.
    pub manifest_url: String,
    /// What the manifest names.
    pub image_url: String,
    /// Bytes of the image.
    pub size: u32,
    /// The SHA-256 of the image, in hexadecimal.
    pub sha256: String,
}

/// Publishes what the command line says.
pub async fn run(args: Box<PublishArgs>, out: &Output) -> Result<(), CliError> {
    let location: Location = args.destination.parse().map_err(CliError::usage)?;
    let options = ReleaseOptions::from_args(&args).map_err(CliError::usage)?;
    let is_signed = args.seal.key.source().is_some() && !args.unsigned;
    options.check(is_signed).map_err(CliError::usage)?;
    let firmware = firmware::read(&args.firmware)?;
    // What is wrong with the firmware is said before anyone is asked for a passphrase or credentials.
    Release::of(&firmware, options.version.as_deref())?;
    let signer = match is_signed {
        true => args.seal.key.open(&args.s3.aws).await?,
        false => None,
    };
    let store = Store::connect(&args.s3, &location, None).await?;
    publish(&firmware, &options, signer.as_ref(), &store, &location, out).await?;
    Ok(())
}

/// Publishes a firmware to a location in a store, signed if there is a signer.
pub async fn publish(
    firmware: &Firmware,
    options: &ReleaseOptions,
    signer: Option<&Signer>,
    store: &Store,
    location: &Location,
    out: &Output,
) -> Result<Published, CliError> {
    options.check(signer.is_some())?;
    let release = Release::of(firmware, options.version.as_deref())?;
    let plan = Plan::new(&release, options, signer, store, location).await?;

    let project = release.project.as_deref().unwrap_or("firmware");
    let size = output::bytes(release.size.into());
    out.say(format_args!(
        "firmware  {project} {} for {}, {size}",
        release.version, release.chip
    ));
    for warning in &plan.warnings {
        out.warning(warning);
    }
    if let Some(signer) = signer {
        let until = plan
            .manifest
            .expires
            .map_or_else(|| "for ever".to_owned(), |end| format!("until {end}"));
        out.say(format_args!(
            "signed    with the key {}, good {until}",
            signer.key_id()
        ));
    }
    plan.upload_image(firmware, out).await?;
    plan.upload_record(&release, out).await?;
    plan.upload_manifest(&release, out).await?;

    reach::check(&plan, options, location, out).await;
    let published = Published {
        version: release.version.clone(),
        chip: release.chip.to_string(),
        manifest_url: plan.manifest_url.clone(),
        image_url: plan.manifest.url.clone(),
        size: release.size,
        sha256: release.sha256.to_string(),
    };
    out.event(
        "published",
        json!({
            "version": published.version,
            "channel": options.channel,
            "chip": published.chip,
            "size": published.size,
            "sha256": published.sha256,
            "manifest_url": published.manifest_url,
            "image_url": published.image_url,
            "keyid": plan.manifest.signature.as_ref().map(|signature| &signature.keyid),
            "serial": plan.manifest.serial,
            "expires": plan.manifest.expires.map(|end| end.to_string()),
            "min_version": plan.manifest.min_version,
        }),
    );
    out.say(format_args!(
        "published {} on {}; devices are given this URL:",
        published.version, options.channel
    ));
    out.say(&published.manifest_url);
    Ok(published)
}

/// Everything that will be uploaded, found to be right against what is there.
struct Plan<'a> {
    store: &'a Store,
    public_read: bool,
    image_key: String,
    record_key: String,
    channel_key: String,
    channel: String,
    manifest_url: String,
    /// Goes to the channel.
    manifest: ManifestDocument,
    manifest_json: String,
    /// Goes to the history: the same, with a URL that does not end.
    record_json: String,
    /// Whether the release is in the history already.
    recorded: bool,
    /// What the channel holds now.
    current: Option<Object>,
    /// What looks like a mistake.
    warnings: Vec<CliError>,
}

impl<'a> Plan<'a> {
    async fn new(
        release: &Release,
        options: &ReleaseOptions,
        signer: Option<&Signer>,
        store: &'a Store,
        location: &Location,
    ) -> Result<Self, CliError> {
        let prefix = &location.prefix;
        let version = release.version();
        let named = |error: layout::LayoutError| CliError::new("s3.url", error.to_string());
        let channel_key = layout::channel_key(prefix, &options.channel).map_err(named)?;
        let record_key = layout::release_key(prefix, &version).map_err(named)?;
        let image_key = layout::image_key(prefix, &version, &release.sha256).map_err(named)?;

        let current = store.get(&channel_key).await?;
        let present = current
            .as_ref()
            .and_then(|current| Present::of(&current.bytes, signer));
        let mut warnings = Vec::new();
        if let Some(current) = &current {
            warnings.extend(release.may_follow(&current.bytes, &options.channel)?);
        }
        if options.downgrade {
            warnings.retain(|warning| warning.code != "publish.downgrade");
        }
        if let Some(present) = &present {
            warnings.extend(may_be_signed_so(present, options, signer)?);
        }
        let record = store.get(&record_key).await?;
        if let Some(record) = &record {
            release.is_recorded_as(&record.bytes)?;
        }

        let urls = Urls { store, options };
        let lasting = urls.lasting(&image_key).await?;
        let mut manifest = release.manifest(&lasting, options)?;
        manifest.date = Some(seal::now().to_string());
        match signer {
            Some(signer) => {
                seal::seal(
                    &mut manifest,
                    &options.channel,
                    options.expires,
                    present.as_ref(),
                    signer,
                )
                .await?;
            }
            None => manifest.expires = options.expires.unwrap_or(Lifetime::Never).end()?,
        }
        let record_json = manifest.to_json()?;
        manifest.url = urls.for_devices(&image_key).await?;
        Ok(Self {
            store,
            public_read: options.public_read,
            manifest_url: urls.for_devices(&channel_key).await?,
            manifest_json: manifest.to_json()?,
            manifest,
            record_json,
            recorded: record.is_some(),
            current,
            warnings,
            channel: options.channel.clone(),
            image_key,
            record_key,
            channel_key,
        })
    }

    /// Uploads the image, unless it is there: its key names its contents.
    async fn upload_image(&self, firmware: &Firmware, out: &Output) -> Result<(), CliError> {
        let size = firmware.bytes.len() as u64;
        let existed = !self.public_read && self.store.size(&self.image_key).await? == Some(size);
        if !existed {
            let mut bar = out.progress("upload", size);
            let upload = Upload {
                key: &self.image_key,
                bytes: Bytes::copy_from_slice(&firmware.bytes),
                content_type: layout::IMAGE_CONTENT_TYPE,
                cache_control: layout::IMMUTABLE_CACHE_CONTROL,
                public_read: self.public_read,
                condition: Condition::None,
            };
            let result = self.store.put(&upload, |sent| bar.set(sent)).await;
            bar.finish();
            result?;
        }
        self.told(out, "image", &self.image_key, size as usize, existed);
        Ok(())
    }

    /// Writes the release into the history, once and for all.
    async fn upload_record(&self, release: &Release, out: &Output) -> Result<(), CliError> {
        let mut existed = self.recorded;
        if !existed {
            let upload = Upload {
                cache_control: layout::IMMUTABLE_CACHE_CONTROL,
                condition: Condition::Absent,
                ..self.json(&self.record_key, &self.record_json)
            };
            match self.store.put(&upload, |_| {}).await {
                // Someone else published this version meanwhile; the same firmware, perhaps.
                Err(error) if error.code == "s3.conflict" => {
                    let record = self.store.get(&self.record_key).await?.ok_or(error)?;
                    release.is_recorded_as(&record.bytes)?;
                    existed = true;
                }
                result => result?,
            }
        }
        self.told(
            out,
            "record",
            &self.record_key,
            self.record_json.len(),
            existed,
        );
        Ok(())
    }

    /// Makes the release the channel's, if the channel still holds what was looked at.
    async fn upload_manifest(&self, release: &Release, out: &Output) -> Result<(), CliError> {
        let condition = match &self.current {
            None => Condition::Absent,
            Some(Object {
                etag: Some(etag), ..
            }) => Condition::Unchanged(etag.clone()),
            Some(_) => Condition::None,
        };
        let upload = Upload {
            condition,
            ..self.json(&self.channel_key, &self.manifest_json)
        };
        if let Err(error) = self.store.put(&upload, |_| {}).await {
            // A repeated request finds what the first one wrote.
            let now = if error.code == "s3.conflict" {
                self.store.get(&self.channel_key).await?
            } else {
                None
            };
            match now {
                Some(now) if now.bytes == self.manifest_json.as_bytes() => {}
                Some(now) => {
                    return Err(release
                        .may_follow(&now.bytes, &self.channel)
                        .err()
                        .unwrap_or(error));
                }
                None => return Err(error),
            }
        }
        self.told(
            out,
            "manifest",
            &self.channel_key,
            self.manifest_json.len(),
            false,
        );
        Ok(())
    }

    fn json<'b>(&self, key: &'b str, json: &str) -> Upload<'b> {
        Upload {
            public_read: self.public_read,
            ..Upload::manifest(key, json)
        }
    }

    fn told(&self, out: &Output, object: &'static str, key: &str, size: usize, existed: bool) {
        let bucket = self.store.bucket();
        let note = if existed {
            ", which is there already"
        } else {
            ""
        };
        out.say(format_args!("{object:<9} s3://{bucket}/{key}{note}"));
        out.event("uploaded", json!({ "object": object, "bucket": bucket, "key": key, "size": size, "existed": existed }));
    }
}

/// Refuses to put an unsigned manifest where signed ones are; warns where another key signed them.
fn may_be_signed_so(
    present: &Present,
    options: &ReleaseOptions,
    signer: Option<&Signer>,
) -> Result<Option<CliError>, CliError> {
    let (Some(signature), channel) = (&present.manifest.signature, &options.channel) else {
        return Ok(None);
    };
    let keyid = &signature.keyid;
    match signer {
        None if options.unsigned => Ok(None),
        None => {
            let message = format!(
                "the release on the channel {channel} is signed with the key {keyid}: devices that trust keys would refuse this one"
            );
            Err(CliError::new("publish.unsigned", message)
                .hint("sign it with --key; or say --unsigned if that is what you want"))
        }
        Some(signer) if !signer.key_id().is(keyid) => {
            let message = format!(
                "the release on the channel {channel} was signed with the key {keyid}, this one is with {}: devices that do not trust \
                 both would refuse it",
                signer.key_id()
            );
            Ok(Some(CliError::new("publish.key", message)
                .hint("to replace a key, first publish a firmware that trusts both, signed with the old one")))
        }
        Some(_) if !present.is_ours => {
            let message =
                format!("the manifest on the channel {channel} was changed after it was signed");
            Ok(Some(CliError::new("publish.key", message).hint(
                "find out who writes to your bucket: s3ota verify says more",
            )))
        }
        Some(_) => Ok(None),
    }
}

/// The URLs by which devices reach objects.
struct Urls<'a> {
    store: &'a Store,
    options: &'a ReleaseOptions,
}

impl Urls<'_> {
    /// A URL that works as long as the object may be read by anyone.
    async fn lasting(&self, key: &str) -> Result<String, CliError> {
        match &self.options.public_url {
            Some(base) => Ok(format!(
                "{}/{}",
                base.strip_suffix('/').unwrap_or(base),
                layout::url_path(key)
            )),
            None => Ok(over_tls(self.store.object_url(key).await?)),
        }
    }

    /// The URL that devices are told: pre-signed, if that is wanted.
    async fn for_devices(&self, key: &str) -> Result<String, CliError> {
        let Some(good_for) = self.options.presign else {
            return self.lasting(key).await;
        };
        presigned_url(self.store, key, good_for).await
    }
}

/// A pre-signed URL of an object, that devices have room for.
pub async fn presigned_url(
    store: &Store,
    key: &str,
    good_for: Duration,
) -> Result<String, CliError> {
    let url = over_tls(store.presign_get(key, good_for).await?);
    HttpsUrl::parse(&url).map_err(|error| {
        CliError::new(
            "publish.presign",
            format!(
                "{error}: devices have no room for it, it has {} bytes",
                url.len()
            ),
        )
        .hint("use a shorter prefix, or credentials with a shorter session token")
    })?;
    Ok(url)
}

/// Devices speak HTTPS and nothing else, so that is what a manifest names, also where the publisher goes another way.
fn over_tls(url: String) -> String {
    match url.strip_prefix("http://") {
        Some(rest) => format!("https://{rest}"),
        None => url,
    }
}

impl Release {
    /// The version, which was found to be one.
    fn version(&self) -> Version<'_> {
        Version::parse(&self.version).unwrap_or(Version::new(0, 0, 0))
    }
}
