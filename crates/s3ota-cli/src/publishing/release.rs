//! The identity of a release, and whether its version is meant.

use s3ota_image::Chip;
use s3ota_manifest::{HttpsUrl, ManifestDocument, Sha256Digest, Version};

use super::ReleaseOptions;
use super::succession::{Successor, oddity};
use crate::error::CliError;
use crate::firmware::{Firmware, OwnVersion};
use crate::output::{Output, terminal};

/// The identity of a release: which bytes, for which chip, under which version.
#[derive(Debug)]
pub struct Release {
    /// The version in its canonical form.
    pub version: String,
    /// How the image spells it, if nobody has said it besides.
    own_version: Option<OwnVersion>,
    pub chip: Chip,
    pub project: Option<String>,
    pub size: u32,
    pub sha256: Sha256Digest,
}

impl Release {
    /// A firmware under its own version, or under the given one if it has none.
    pub fn of(firmware: &Firmware, version: Option<&str>) -> Result<Self, CliError> {
        let image = &firmware.image;
        let chip = image.header.chip().ok_or_else(|| {
            CliError::new(
                "image.chip",
                format!(
                    "the image is for an unknown chip, number {}",
                    image.header.chip_id
                ),
            )
            .hint("a newer version of s3ota may support it")
        })?;
        let project = image
            .descriptor
            .as_ref()
            .map(|descriptor| descriptor.project_name().to_owned());
        Ok(Self {
            version: choose_version(firmware, version)?,
            own_version: match version {
                None => OwnVersion::of(image, &firmware.bytes).ok(),
                Some(_) => None,
            },
            chip,
            project: project.filter(|name| !name.is_empty() && name != "arduino-lib-builder"),
            size: image.length,
            sha256: Sha256Digest(image.sha256),
        })
    }

    /// The version, which is a valid one.
    pub fn version(&self) -> Version<'_> {
        Version::parse(&self.version).unwrap_or(Version::new(0, 0, 0))
    }

    /// The manifest of the release, with a URL that does not expire.
    pub fn manifest(
        &self,
        url: &str,
        options: &ReleaseOptions,
    ) -> Result<ManifestDocument, CliError> {
        let invalid = |error: String| {
            CliError::new(
                "manifest.url",
                format!("{url} cannot be in a manifest: {error}"),
            )
        };
        let version = Version::parse(&self.version).map_err(|error| invalid(error.to_string()))?;
        let https = HttpsUrl::parse(url).map_err(|error| invalid(error.to_string()))?;
        let mut manifest = ManifestDocument::new(&version, &https);
        manifest.size = Some(self.size);
        manifest.sha256 = Some(self.sha256);
        manifest.project = self.project.clone();
        manifest.chip = Some(self.chip.name().to_owned());
        manifest.board = options.board.clone();
        manifest.rollout = options.rollout;
        manifest.min_version = options.min_version.raise(None)?;
        manifest.downgrade = options.downgrade;
        manifest.notes = options.notes.clone();
        Ok(manifest)
    }

    /// It, as what follows a channel's release, for all boards.
    pub fn successor(&self) -> Successor<'_> {
        Successor {
            version: &self.version,
            sha256: Some(self.sha256),
            chip: Some(self.chip.name()),
            project: self.project.as_deref(),
            board: None,
        }
    }

    /// Refuses a version that looks like a mistake after `current`, unless the command line gave it or the user confirms it.
    pub fn version_is_meant(
        &self,
        current: Option<&Version<'_>>,
        out: &Output,
    ) -> Result<(), CliError> {
        let Some(own) = &self.own_version else {
            return Ok(());
        };
        let Some(oddity) = oddity(own, &self.version(), current) else {
            return Ok(());
        };
        let version = &self.version;
        if !out.is_for_programs()
            && terminal::can_ask()
            && terminal::agrees(&format!("{oddity}. Publish it as {version}?"))
        {
            return Ok(());
        }
        Err(CliError::new("publish.version", oddity).hint(format!(
            "if {version} is right, say so: --version {version}"
        )))
    }
}

/// The version of a release, in its canonical form.
fn choose_version(firmware: &Firmware, given: Option<&str>) -> Result<String, CliError> {
    let error = |message: String| CliError::new("publish.version", message);
    let given = match given.map(Version::parse) {
        Some(Err(problem)) => return Err(error(format!("--version: {problem}"))),
        Some(Ok(version)) => Some(version),
        None => None,
    };
    if firmware.image.descriptor.is_none() {
        return Err(CliError::new(
            "image.invalid",
            "the image has no app descriptor, and no device would install it",
        )
        .hint("in Rust, add `esp_bootloader_esp_idf::esp_app_desc!()` to the firmware"));
    }
    let named = OwnVersion::of(&firmware.image, &firmware.bytes);
    let own = named
        .as_ref()
        .map(|own| Version::parse(&own.text).unwrap_or(Version::new(0, 0, 0)));
    match (own, given) {
        (Ok(own), Some(given)) if own != given => Err(error(format!(
            "--version {given} contradicts the image, which calls itself {own}: devices compare with the image's version, \
             and would refuse it or install it again and again"
        ))
        .hint(format!("leave --version out to publish {own}, or build the firmware as {given}"))),
        (Ok(own), _) => Ok(own.to_string()),
        (Err(unnamed), Some(given)) if unnamed.may_be(&given) => Ok(given.to_string()),
        (Err(unnamed), _) => Err(error(unnamed.problem.clone()).hint(unnamed.hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publishing::SuccessionArgs;
    use s3ota_image::app::{ImageBuilder, VersionMarker};

    fn firmware(version: &str) -> Firmware {
        Firmware::from_image(ImageBuilder::new(Chip::Esp32C3, version).build()).unwrap()
    }

    fn code(result: Result<impl std::fmt::Debug, CliError>) -> &'static str {
        result.unwrap_err().code
    }

    #[test]
    fn the_version_is_the_images_own() {
        assert_eq!(
            Release::of(&firmware("v1.2"), None).unwrap().version,
            "1.2.0"
        );
        assert_eq!(
            Release::of(&firmware("1.2.0"), Some("v1.2.0"))
                .unwrap()
                .version,
            "1.2.0"
        );
        assert_eq!(
            code(Release::of(&firmware("1.2.0"), Some("1.3.0"))),
            "publish.version"
        );
        assert_eq!(
            code(Release::of(&firmware("1.2.0"), Some("new"))),
            "publish.version"
        );
    }

    #[test]
    fn an_image_without_its_version_needs_one() {
        let build = |builder: ImageBuilder| Firmware::from_image(builder.build()).unwrap();
        let arduino =
            build(ImageBuilder::new(Chip::Esp32C3, "v5.5.1").project_name("arduino-lib-builder"));
        for firmware in [arduino, firmware("4a5be1f-dirty"), firmware("")] {
            assert_eq!(code(Release::of(&firmware, None)), "publish.version");
            assert_eq!(
                Release::of(&firmware, Some("1.3")).unwrap().version,
                "1.3.0"
            );
        }
    }

    #[test]
    fn the_version_of_a_sketch_is_in_its_marker() {
        let sketch = |markers: &[&str]| {
            let markers = markers.iter().map(|it| VersionMarker::new(it).unwrap());
            let payload: Vec<u8> = markers.flat_map(|it| it.bytes()).collect();
            let builder = ImageBuilder::new(Chip::Esp32, "v5.5.1").payload(&payload);
            Firmware::from_image(builder.project_name("arduino-lib-builder").build()).unwrap()
        };
        let version = |markers: &[&str], given| {
            Release::of(&sketch(markers), given).map(|release| release.version)
        };
        assert_eq!(version(&["1.2"], None).unwrap(), "1.2.0");
        assert_eq!(version(&["1.2"], Some("1.2.0")).unwrap(), "1.2.0");
        assert_eq!(code(version(&["1.2.0"], Some("1.3.0"))), "publish.version");
        let two = version(&["1.2.0", "1.3.0"], None).unwrap_err();
        assert!(two.message.contains("both 1.2.0 and 1.3.0"), "{two}");
        let both = &["1.2.0", "1.3.0"];
        assert_eq!(version(both, Some("1.3.0")).unwrap(), "1.3.0");
        assert_eq!(code(version(both, Some("1.4.0"))), "publish.version");
    }

    #[test]
    fn an_image_that_devices_refuse_is_not_published() {
        let bare = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
            .without_descriptor()
            .build();
        assert_eq!(
            code(Release::of(
                &Firmware::from_image(bare).unwrap(),
                Some("1.0.0")
            )),
            "image.invalid"
        );
    }

    #[test]
    fn what_looks_like_a_mistake_is_refused_unless_it_is_allowed() {
        let release = |version: &str| Release::of(&firmware(version), None).unwrap();
        let manifest = |release: Release| {
            let options = ReleaseOptions::channel("stable");
            release
                .manifest("https://example.com/app.bin", &options)
                .unwrap()
        };
        let reason = |release: &Release, current: &str, args: &SuccessionArgs| {
            let current = manifest(release_of(current));
            let objection = release
                .successor()
                .objection(&current, "stable", args, false);
            objection.map(|error| error.code)
        };
        let strict = SuccessionArgs::default();
        assert_eq!(reason(&release("1.10.0"), "1.9.0", &strict), None);
        assert_eq!(reason(&release("1.9.0"), "1.9.0", &strict), None);
        let lower = release("1.9.0");
        assert_eq!(reason(&lower, "1.10.0", &strict), Some("publish.downgrade"));
        let allowed = SuccessionArgs {
            lower_version: true,
            ..SuccessionArgs::default()
        };
        assert_eq!(reason(&lower, "1.10.0", &allowed), None);

        let other =
            Firmware::from_image(ImageBuilder::new(Chip::Esp32C6, "1.9.0").build()).unwrap();
        let other = Release::of(&other, None).unwrap();
        assert_eq!(reason(&other, "1.10.0", &strict), Some("publish.chip"));
        let allowed = SuccessionArgs {
            other_chip: true,
            lower_version: true,
            ..SuccessionArgs::default()
        };
        assert_eq!(reason(&other, "1.10.0", &allowed), None);

        let refusal = release("1.9.0+b")
            .successor()
            .must_be_the_same(&manifest(release("1.9.0+a")))
            .unwrap_err();
        assert_eq!(refusal.code, "publish.exists");
    }

    fn release_of(version: &str) -> Release {
        Release::of(&firmware(version), None).unwrap()
    }

    #[test]
    fn a_version_names_one_image_for_ever() {
        let release = Release::of(&firmware("1.0.0"), None).unwrap();
        let options = ReleaseOptions::channel("stable");
        let mut record = release
            .manifest("https://example.com/app.bin", &options)
            .unwrap();
        assert_eq!(
            release
                .successor()
                .must_be_recorded_as(record.to_json().unwrap().as_bytes()),
            Ok(())
        );
        record.sha256 = Some(Sha256Digest([7; 32]));
        assert_eq!(
            code(
                release
                    .successor()
                    .must_be_recorded_as(record.to_json().unwrap().as_bytes())
            ),
            "publish.exists"
        );
        assert_eq!(
            code(release.successor().must_be_recorded_as(b"not a record")),
            "publish.exists"
        );
    }
}
