//! The plan of a release: everything that will be uploaded, checked against what is there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use s3ota_manifest::{ManifestDocument, Version, layout};
use serde_json::json;

use super::succession::Successor;
use super::urls::Urls;
use super::{Release, ReleaseOptions, guard};
use crate::bucket::catalogue;
use crate::bucket::channel::{Act, Channel};
use crate::bucket::cleanup::GRACE;
use crate::bucket::resign::{self, Origin, SigningHost};
use crate::error::CliError;
use crate::firmware::{self, Firmware};
use crate::legacy::LegacyClient;
use crate::output::Output;
use crate::s3::{Condition, Found, Location, Put, Store, Upload};

/// Everything that will be uploaded.
pub(super) struct Plan<'a> {
    pub store: &'a Store,
    /// What signs it.
    host: Option<&'a SigningHost>,
    pub prefix: &'a str,
    public_read: bool,
    image_key: String,
    /// Whether the image exists, and no `gc` is about to remove it.
    image_existed: bool,
    record_key: String,
    pub manifest_url: String,
    /// For the channel.
    pub manifest: ManifestDocument,
    /// For the releases: the same, with a URL that does not expire.
    record_json: String,
    /// Whether the release has a record already.
    recorded: bool,
    /// The channel, and what it holds now.
    pub channel: Channel,
    /// What looks like a mistake.
    pub warnings: Vec<CliError>,
    /// The keys of the manifests for legacy clients, and the URLs for their devices.
    legacy: Vec<(LegacyClient, String, String)>,
}

impl<'a> Plan<'a> {
    pub async fn new(
        firmware: &Firmware,
        release: &Release,
        options: &ReleaseOptions,
        host: Option<&'a SigningHost>,
        store: &'a Store,
        location: &'a Location,
        out: &Output,
    ) -> Result<Self, CliError> {
        let prefix = &location.prefix;
        let version = release.version();
        let named = |error: layout::LayoutError| CliError::new("s3.url", error.to_string());
        let record_key = layout::release_key(prefix, &version).map_err(named)?;
        let image_key = layout::image_key(prefix, &version, &release.sha256).map_err(named)?;

        let channel = Channel::read(store, prefix, &options.channel).await?;
        let current = channel.readable();
        // What this release follows. Of what someone else signed, nothing counts.
        let present = match host {
            Some(host) => {
                let present = host.present(&channel)?;
                host.min_version_is_known(store, prefix, &channel).await?;
                present
            }
            None => current,
        };
        let mut warnings = Vec::new();
        if let Some(current) = current {
            let (name, args, downgrade) = (&channel.name, &options.succession, options.downgrade);
            let follows = Successor {
                board: options.board.as_deref(),
                ..release.successor()
            };
            let counts = present.is_some();
            warnings.extend(follows.may_follow(current, name, args, downgrade, counts)?);
        }
        let before = present.and_then(|present| Version::parse(&present.version).ok());
        release.version_is_meant(before.as_ref(), out)?;
        warnings.extend(firmware::remarks(&firmware.image));
        if let Some(current) = current {
            let (image, drop) = (&firmware.image, options.drop_guard);
            let may = guard::may_replace(image, current, &channel.name, drop, store, prefix);
            warnings.extend(may.await?);
        }
        let record = store.get(&record_key).await?;
        if let Some(record) = &record {
            release.successor().must_be_recorded_as(&record.bytes)?;
        }
        resign::refuse_yanked(host, store, prefix, &release.version).await?;
        let public_read = options.change.public_read;
        let image_existed = !public_read && is_there(store, &image_key, release, &channel).await?;

        let urls = Urls::of(store, options);
        let lasting = urls.lasting(&image_key).await?;
        let mut manifest = release.manifest(&lasting, options)?;
        // To publish again what is there changes nothing about who takes it.
        if options.rollout.is_none()
            && let Some(present) = present
            && (&present.version, present.sha256) == (&manifest.version, manifest.sha256)
        {
            manifest.rollout = present.rollout;
        }
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
    pub fn tell(&self, out: &Output) {
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
            out.prose(line(object, bucket, key, &format!(" {note}")));
            out.event(
                "would_upload",
                json!({ "object": object, "bucket": bucket, "key": key, "existed": existed }),
            );
        }
    }

    /// Uploads the image, unless it exists: its key names its contents.
    pub async fn upload_image(&self, firmware: &Firmware, out: &Output) -> Result<(), CliError> {
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
        if let Found::Archived(archived, _) = self.store.find(&self.image_key).await? {
            let what = "the image that was just uploaded";
            let error = self.store.archived(what, &self.image_key, &archived).await;
            return Err(error.hint(
                "the channel was not changed; exclude the prefix from the rule, or publish to a bucket whose objects can be read at once",
            ));
        }
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
    pub async fn upload_record(&self, release: &Release, out: &Output) -> Result<(), CliError> {
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
                release.successor().must_be_recorded_as(&record.bytes)?;
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
    pub fn print_legacy(&self, out: &Output) {
        for (library, key, url) in &self.legacy {
            self.told(out, "older", key, library.json(&self.manifest).len(), false);
            out.say(format_args!("          for {}: {url}", library.name()));
            out.event("older", json!({ "library": library.name(), "url": url }));
        }
    }

    /// Makes the manifests of clients that are not served any more name no release.
    pub async fn stop_legacy(
        &self,
        libraries: &[LegacyClient],
        out: &Output,
    ) -> Result<(), CliError> {
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

    pub fn tell_of_stopped(
        &self,
        library: LegacyClient,
        event: &str,
        names: &str,
        out: &Output,
    ) -> Result<(), CliError> {
        let bucket = self.store.bucket();
        let key = library.key(self.prefix, &self.channel.name)?;
        let note = format!(" {names} no release any more");
        out.prose(line("older", bucket, &key, &note));
        out.event(
            event,
            json!({ "library": library.name(), "bucket": bucket, "key": key }),
        );
        Ok(())
    }

    /// Makes the release the channel's, if the channel still holds what was read.
    pub async fn upload_manifest(&self, release: &Release, out: &Output) -> Result<(), CliError> {
        let replaced = self
            .channel
            .try_replace(self.store, &self.manifest, self.host, self.public_read)
            .await?;
        if replaced != Put::Written {
            // If this release must not follow the other one, that is the more useful error.
            if let Some(now) = self.store.get(&self.channel.key).await?
                && let Ok(now) = ManifestDocument::parse(&now.bytes)
            {
                release.successor().must_be_the_same(&now)?;
            }
            return Err(self.channel.conflict(self.store));
        }
        let size = self.manifest.to_json()?.len();
        self.told(out, "manifest", &self.channel.key, size, false);
        Ok(())
    }

    /// Checks again what others may have done in the meantime: `gc` removed the image, which looked unneeded, or someone yanked the
    /// version.
    pub async fn see_that_it_stands(
        &self,
        firmware: &Firmware,
        out: &Output,
    ) -> Result<(), CliError> {
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
        out.prose(line(object, bucket, key, note));
        out.event("uploaded", json!({ "object": object, "bucket": bucket, "key": key, "size": size, "existed": existed }));
    }
}

/// A line about an object, which does not break between its name and its URL.
fn line(object: &str, bucket: &str, key: &str, note: &str) -> String {
    format!("{object:\u{a0}<9}\u{a0}s3://{bucket}/{key}{note}")
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
    let served = channel
        .readable()
        .is_some_and(|manifest| manifest.sha256 == Some(release.sha256));
    let written = UNIX_EPOCH + Duration::from_secs(head.modified.unwrap_or(0));
    let age = SystemTime::now()
        .duration_since(written)
        .unwrap_or_default();
    if !served && age > GRACE / 2 {
        return Ok(false);
    }
    store.holds(key, release.size.into(), &release.sha256).await
}
