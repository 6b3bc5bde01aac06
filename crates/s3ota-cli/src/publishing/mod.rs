//! Publishing: a firmware becomes a release in a bucket.
//!
//! A release is planned as a whole before anything is uploaded ([`Plan`]), and then becomes visible in one step: the image is
//! uploaded first, its record second, and the channel's manifest, which devices ask for, last.

mod esp_web_tools;
mod guard;
mod installer;
mod reach;
mod release;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use s3ota_manifest::{HttpsUrl, ManifestDocument, Rollout, Version, layout};
use serde_json::json;

pub use self::guard::may_be_promoted;
pub use self::installer::Installer;
pub use self::reach::ends_early;
pub use self::release::Release;
use crate::bucket::catalogue;
use crate::bucket::channel::{self, Act, ChangeArgs, Channel};
use crate::bucket::cleanup::GRACE;
use crate::bucket::resign::{self, MinVersionArgs, Origin, SigningHost};
use crate::bucket::seal::{self, Lifetime};
use crate::error::CliError;
use crate::firmware::{self, Firmware};
use crate::legacy::{self, LegacyClient};
use crate::output::{self, Output};
use crate::s3::{self, Condition, Location, Put, Store, Upload};

/// How to release a firmware.
#[derive(Debug, Clone)]
pub struct ReleaseOptions {
    /// The channel whose devices get it.
    pub channel: String,
    /// Its version, if the image does not name it.
    pub version: Option<String>,
    /// The only board that takes it.
    pub board: Option<String>,
    /// The percentage of devices that take it.
    pub rollout: Option<Rollout>,
    /// The lifetime of pre-signed URLs; `None` for public ones.
    pub presign: Option<Duration>,
    /// The URL at which devices reach the bucket, if it is not the S3 service's own.
    pub public_url: Option<String>,
    /// A note for people.
    pub notes: Option<String>,
    /// The lifetime of the manifest; `None` for the default.
    pub expires: Option<Lifetime>,
    /// The `min_version`.
    pub min_version: MinVersionArgs,
    /// Whether devices may go back to it.
    pub downgrade: bool,
    /// Whether it may lack a boot guard although the release before had one.
    pub drop_guard: bool,
    /// The legacy clients to serve from now on.
    pub also: Vec<LegacyClient>,
    /// The legacy clients not to serve any more.
    pub not_also: Vec<LegacyClient>,
    /// The name for the history, ACLs, --dry-run.
    pub change: ChangeArgs,
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
            notes: None,
            expires: None,
            min_version: MinVersionArgs::default(),
            downgrade: false,
            drop_guard: false,
            also: Vec::new(),
            not_also: Vec::new(),
            change: ChangeArgs::default(),
        }
    }

    /// Refuses impossible combinations, before anyone is asked for anything.
    pub fn check(&self, is_signed: bool) -> Result<(), CliError> {
        if self.downgrade {
            seal::may_allow_downgrade(self.expires, is_signed)?;
        }
        self.min_version.check(is_signed)?;
        if let Some(time) = self.presign {
            s3::check_presign(time)?;
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
                let hint =
                    "give the https URL of the bucket, for example https://firmware.example.com";
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
    /// The manifest's URL for devices.
    pub manifest_url: String,
    /// The image's URL in the manifest.
    pub image_url: String,
    /// Bytes of the image.
    pub size: u32,
    /// The SHA-256 of the image, in hexadecimal.
    pub sha256: String,
}

/// Publishes a firmware to a location in a store; signed, if there is a signing host.
pub async fn publish(
    firmware: &Firmware,
    options: &ReleaseOptions,
    host: Option<&SigningHost>,
    store: &Store,
    location: &Location,
    out: &Output,
) -> Result<Published, CliError> {
    options.check(host.is_some())?;
    let release = Release::of(firmware, options.version.as_deref())?;
    let plan = Plan::new(firmware, &release, options, host, store, location).await?;

    let project = release.project.as_deref().unwrap_or("firmware");
    let size = output::bytes(release.size.into());
    out.say(format_args!(
        "firmware  {project} {} for {}, {size}",
        release.version, release.chip
    ));
    for warning in &plan.warnings {
        out.warning(warning);
    }
    legacy::warn(&plan.manifest, out);
    if let Some(host) = host {
        let until = plan
            .manifest
            .expires
            .map_or_else(|| "without end".to_owned(), |end| format!("until {end}"));
        out.say(format_args!(
            "signed    with the key {}, valid {until}",
            host.signer.key_id()
        ));
    }
    if options.change.dry_run {
        plan.tell(out);
        let kept = plan.channel.legacy();
        for library in options.not_also.iter().filter(|it| kept.contains(it)) {
            plan.tell_of_stopped(*library, "would_stop_older", "would name", out)?;
        }
    } else {
        plan.upload_image(firmware, out).await?;
        plan.upload_record(&release, out).await?;
        plan.upload_manifest(&release, out).await?;
        plan.stop_legacy(&options.not_also, out).await?;
        plan.see_that_it_stands(firmware, out).await?;
        plan.print_legacy(out);
        channel::warn_of_store(store, out);
        reach::check(&plan, options, location, out).await;
    }
    let published = Published {
        version: release.version.clone(),
        chip: release.chip.to_string(),
        manifest_url: plan.manifest_url.clone(),
        image_url: plan.manifest.url.clone(),
        size: release.size,
        sha256: release.sha256.to_string(),
    };
    out.event(
        if options.change.dry_run {
            "would_publish"
        } else {
            "published"
        },
        json!({
            "version": published.version,
            "channel": options.channel,
            "serial": plan.manifest.serial,
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
    let published_or_not = if options.change.dry_run {
        "nothing was changed; without --dry-run this publishes"
    } else {
        "published"
    };
    out.say(format_args!(
        "{published_or_not} {} on {}; give devices this URL:",
        published.version, options.channel
    ));
    out.say(&published.manifest_url);
    Ok(published)
}

/// Everything that will be uploaded, checked against what is there.
struct Plan<'a> {
    store: &'a Store,
    /// What signs it.
    host: Option<&'a SigningHost>,
    prefix: &'a str,
    public_read: bool,
    image_key: String,
    /// Whether the image exists, and no `gc` is about to remove it.
    image_existed: bool,
    record_key: String,
    manifest_url: String,
    /// For the channel.
    manifest: ManifestDocument,
    /// For the releases: the same, with a URL that does not expire.
    record_json: String,
    /// Whether the release has a record already.
    recorded: bool,
    /// The channel, and what it holds now.
    channel: Channel,
    /// What looks like a mistake.
    warnings: Vec<CliError>,
    /// The keys of the manifests for legacy clients, and the URLs for their devices.
    legacy: Vec<(LegacyClient, String, String)>,
}

impl<'a> Plan<'a> {
    async fn new(
        firmware: &Firmware,
        release: &Release,
        options: &ReleaseOptions,
        host: Option<&'a SigningHost>,
        store: &'a Store,
        location: &'a Location,
    ) -> Result<Self, CliError> {
        let prefix = &location.prefix;
        let version = release.version();
        let named = |error: layout::LayoutError| CliError::new("s3.url", error.to_string());
        let record_key = layout::release_key(prefix, &version).map_err(named)?;
        let image_key = layout::image_key(prefix, &version, &release.sha256).map_err(named)?;

        let channel = Channel::read(store, prefix, &options.channel).await?;
        if let Some(host) = host {
            host.present(&channel)?;
            host.min_version_is_known(store, prefix, &channel).await?;
        }
        let mut warnings = Vec::new();
        if let Some(current) = &channel.current {
            let (channel, downgrade) = (&options.channel, options.downgrade);
            warnings.extend(release.may_follow(current.bytes(), channel, downgrade)?);
        }
        warnings.extend(firmware::remarks(&firmware.image));
        if let Some(Ok(current)) = channel.current.as_ref().map(|held| &held.manifest) {
            let (image, drop) = (&firmware.image, options.drop_guard);
            let may = guard::may_replace(image, current, &channel.name, drop, store, prefix);
            warnings.extend(may.await?);
        }
        let record = store.get(&record_key).await?;
        if let Some(record) = &record {
            release.is_recorded_as(&record.bytes)?;
        }
        resign::refuse_yanked(host, store, prefix, &release.version).await?;
        let public_read = options.change.public_read;
        let image_existed = !public_read && is_there(store, &image_key, release, &channel).await?;

        let urls = Urls { store, options };
        let lasting = urls.lasting(&image_key).await?;
        let mut manifest = release.manifest(&lasting, options)?;
        let mut kept = channel.kept_legacy(host)?;
        kept.extend(&options.also);
        kept.retain(|library| !options.not_also.contains(library));
        let act = Act {
            action: "publish",
            from: None,
            by: options.change.by(),
            signing: host.map(|host| (host, Origin::ThisHost)),
            lifetime: options.expires,
            unsigned: options.change.unsigned,
            legacy: Some(&kept),
        };
        warnings.extend(channel.stamp(&mut manifest, &act).await?);
        let record_json = manifest.to_json()?;
        manifest.url = urls.for_devices(&image_key).await?;
        let mut legacy = Vec::new();
        for library in LegacyClient::of(&manifest) {
            let key = library.key(prefix, &channel.name)?;
            let url = urls.for_devices(&key).await?;
            warnings.extend(library.refuses_url(&url));
            legacy.push((library, key, url));
        }
        Ok(Self {
            store,
            host,
            prefix,
            public_read,
            manifest_url: urls.for_devices(&channel.key).await?,
            manifest,
            record_json,
            recorded: record.is_some(),
            warnings,
            legacy,
            channel,
            image_key,
            image_existed,
            record_key,
        })
    }

    /// Prints what would be uploaded.
    fn tell(&self, out: &Output) {
        let bucket = self.store.bucket();
        let older = self.legacy.iter().map(|(_, key, _)| ("older", key, false));
        for (object, key, existed) in [
            ("image", &self.image_key, self.image_existed),
            ("record", &self.record_key, self.recorded),
            ("manifest", &self.channel.key, false),
        ]
        .into_iter()
        .chain(older)
        {
            let note = if existed {
                "exists already"
            } else {
                "would be uploaded"
            };
            out.say(format_args!("{object:<9} s3://{bucket}/{key} {note}"));
            out.event(
                "would_upload",
                json!({ "object": object, "bucket": bucket, "key": key, "existed": existed }),
            );
        }
    }

    /// Uploads the image, unless it exists: its key names its contents.
    async fn upload_image(&self, firmware: &Firmware, out: &Output) -> Result<(), CliError> {
        let size = firmware.bytes.len() as u64;
        if !self.image_existed {
            self.send_image(firmware, out).await?;
        }
        self.told(
            out,
            "image",
            &self.image_key,
            size as usize,
            self.image_existed,
        );
        Ok(())
    }

    /// Uploads the image, and checks that it arrived.
    async fn send_image(&self, firmware: &Firmware, out: &Output) -> Result<(), CliError> {
        let size = firmware.bytes.len() as u64;
        let sha256 = s3ota_manifest::Sha256Digest(firmware.image.sha256);
        let mut bar = out.progress("upload", size);
        let upload = Upload {
            key: &self.image_key,
            bytes: Bytes::copy_from_slice(&firmware.bytes),
            sha256: Some(sha256),
            content_type: layout::IMAGE_CONTENT_TYPE,
            cache_control: layout::IMMUTABLE_CACHE_CONTROL,
            public_read: self.public_read,
        };
        let result = self.store.put(&upload, |sent| bar.set(sent)).await;
        bar.finish();
        result?;
        if !self.store.holds(&self.image_key, size, &sha256).await? {
            let (bucket, key) = (self.store.bucket(), &self.image_key);
            let message =
                format!("s3://{bucket}/{key} is not what was uploaded: the store changed it");
            return Err(CliError::new("s3.damaged", message)
                .hint("the channel was not changed; try again, and do not trust this store"));
        }
        Ok(())
    }

    /// Records for good which bytes this version is.
    async fn upload_record(&self, release: &Release, out: &Output) -> Result<(), CliError> {
        let mut existed = self.recorded;
        if !existed {
            let upload = Upload {
                cache_control: layout::IMMUTABLE_CACHE_CONTROL,
                public_read: self.public_read,
                ..Upload::manifest(&self.record_key, &self.record_json)
            };
            if self.store.put_if(&Condition::Absent, &upload).await? != Put::Written {
                // Someone else published this version in the meantime; the same firmware, perhaps.
                let record = self.store.get(&self.record_key).await?;
                let record = record.ok_or_else(|| self.channel.conflict(self.store))?;
                release.is_recorded_as(&record.bytes)?;
                existed = true;
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

    /// Reports the manifests for legacy clients, which were written with the channel's.
    fn print_legacy(&self, out: &Output) {
        for (library, key, url) in &self.legacy {
            self.told(out, "older", key, library.json(&self.manifest).len(), false);
            out.say(format_args!("          for {}: {url}", library.name()));
            out.event("older", json!({ "library": library.name(), "url": url }));
        }
    }

    /// Makes the manifests of clients that are not served any more name no release.
    async fn stop_legacy(&self, libraries: &[LegacyClient], out: &Output) -> Result<(), CliError> {
        for library in libraries {
            let was_there = self
                .channel
                .update_one(*library, self.store, self.public_read);
            if was_there.await? {
                self.tell_of_stopped(*library, "older_stopped", "names", out)?;
            }
        }
        Ok(())
    }

    fn tell_of_stopped(
        &self,
        library: LegacyClient,
        event: &str,
        names: &str,
        out: &Output,
    ) -> Result<(), CliError> {
        let bucket = self.store.bucket();
        let key = library.key(self.prefix, &self.channel.name)?;
        out.say(format_args!(
            "older     s3://{bucket}/{key} {names} no release any more"
        ));
        out.event(
            event,
            json!({ "library": library.name(), "bucket": bucket, "key": key }),
        );
        Ok(())
    }

    /// Makes the release the channel's, if the channel still holds what was read.
    async fn upload_manifest(&self, release: &Release, out: &Output) -> Result<(), CliError> {
        let replaced = self
            .channel
            .try_replace(self.store, &self.manifest, self.host, self.public_read)
            .await?;
        if replaced != Put::Written {
            // If this release must not follow the other one, that is the more useful error.
            if let Some(now) = self.store.get(&self.channel.key).await? {
                release.may_follow(&now.bytes, &self.channel.name, true)?;
            }
            return Err(self.channel.conflict(self.store));
        }
        let size = self.manifest.to_json()?.len();
        self.told(out, "manifest", &self.channel.key, size, false);
        Ok(())
    }

    /// Checks again what others may have done in the meantime: `gc` removed the image, which looked unneeded, or someone yanked the
    /// version.
    async fn see_that_it_stands(&self, firmware: &Firmware, out: &Output) -> Result<(), CliError> {
        if self.image_existed && self.store.head(&self.image_key).await?.is_none() {
            self.send_image(firmware, out).await?;
        }
        catalogue::refuse_yanked(self.store, self.prefix, &self.manifest.version).await
    }

    fn told(&self, out: &Output, object: &'static str, key: &str, size: usize, existed: bool) {
        let bucket = self.store.bucket();
        let note = if existed {
            ", which exists already"
        } else {
            ""
        };
        out.say(format_args!("{object:<9} s3://{bucket}/{key}{note}"));
        out.event("uploaded", json!({ "object": object, "bucket": bucket, "key": key, "size": size, "existed": existed }));
    }
}

/// Whether the image is in the bucket, complete, and will stay. An image that no channel serves and that is old enough for `gc` to
/// remove it is uploaded again, which makes it new.
async fn is_there(
    store: &Store,
    key: &str,
    release: &Release,
    channel: &Channel,
) -> Result<bool, CliError> {
    let Some(head) = store.head(key).await? else {
        return Ok(false);
    };
    let served = channel.current.as_ref().is_some_and(|held| {
        held.manifest
            .as_ref()
            .is_ok_and(|manifest| manifest.sha256 == Some(release.sha256))
    });
    let written = UNIX_EPOCH + Duration::from_secs(head.modified.unwrap_or(0));
    let age = SystemTime::now()
        .duration_since(written)
        .unwrap_or_default();
    if !served && age > GRACE / 2 {
        return Ok(false);
    }
    store.holds(key, release.size.into(), &release.sha256).await
}

/// What is wrong, or looks wrong, with a manifest as the next one of a channel that holds `current`.
pub fn may_follow(
    manifest: &ManifestDocument,
    current: &[u8],
    channel: &str,
    downgrade: bool,
) -> Result<Option<CliError>, CliError> {
    release::may_follow(
        &manifest.version,
        manifest.sha256,
        manifest.chip.as_deref(),
        current,
        channel,
        downgrade,
    )
}

/// The URLs at which devices reach objects.
pub struct Urls<'a> {
    /// The bucket.
    pub store: &'a Store,
    /// How they are made.
    pub options: &'a ReleaseOptions,
}

impl Urls<'_> {
    /// A URL that works as long as anyone may read the object.
    pub async fn lasting(&self, key: &str) -> Result<String, CliError> {
        match &self.options.public_url {
            Some(base) => Ok(format!(
                "{}/{}",
                base.strip_suffix('/').unwrap_or(base),
                layout::url_path(key)
            )),
            None => Ok(over_tls(self.store.object_url(key).await?)),
        }
    }

    /// The URL for devices: pre-signed, if that is wanted.
    async fn for_devices(&self, key: &str) -> Result<String, CliError> {
        let Some(good_for) = self.options.presign else {
            return self.lasting(key).await;
        };
        presigned_url(self.store, key, good_for).await
    }
}

/// A pre-signed URL of an object that fits into devices.
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
                "{error}: devices have no room for it; it has {} bytes",
                url.len()
            ),
        )
        .hint("use a shorter prefix, or credentials with a shorter session token")
    })?;
    Ok(url)
}

/// The object with the image. Its name follows from what is signed, not from the manifest's URL, which anyone could have changed who
/// can write to the bucket.
pub fn image_to_renew(
    manifest: &ManifestDocument,
    location: &Location,
) -> Result<String, CliError> {
    channel::image_key(&location.prefix, &manifest.version, manifest.sha256).ok_or_else(|| {
        CliError::new(
            "presign.nothing",
            "the manifest has no sha256, so it was not written by s3ota",
        )
        .hint("only releases made with `s3ota publish` can be renewed")
    })
}

/// Devices speak HTTPS only, so a manifest names an https URL even if the endpoint is http.
fn over_tls(url: String) -> String {
    match url.strip_prefix("http://") {
        Some(rest) => format!("https://{rest}"),
        None => url,
    }
}

impl Release {
    /// The version, which is a valid one.
    fn version(&self) -> Version<'_> {
        Version::parse(&self.version).unwrap_or(Version::new(0, 0, 0))
    }
}
