//! As what a firmware is released, and whether it may be.

use s3ota_image::Chip;
use s3ota_manifest::{HttpsUrl, ManifestDocument, Sha256Digest, Version};

use super::ReleaseOptions;
use crate::error::CliError;
use crate::firmware::Firmware;

/// The identity of a release: which bytes, for which chip, under which version.
#[derive(Debug)]
pub struct Release {
    /// The version in its canonical form.
    pub version: String,
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

    /// See [`may_follow`].
    pub fn may_follow(
        &self,
        current: &[u8],
        channel: &str,
        downgrade: bool,
    ) -> Result<Option<CliError>, CliError> {
        may_follow(
            &self.version,
            Some(self.sha256),
            Some(self.chip.name()),
            current,
            channel,
            downgrade,
        )
    }

    /// Refuses a version whose record names other bytes.
    pub fn is_recorded_as(&self, record: &[u8]) -> Result<(), CliError> {
        match ManifestDocument::parse(record) {
            Ok(record) if record.sha256 == Some(self.sha256) => Ok(()),
            _ => Err(already_there(&self.version)),
        }
    }
}

/// Refuses other bytes under the same version. Returns a warning about anything else that looks like a mistake but harms no device,
/// since none would take it.
pub fn may_follow(
    version: &str,
    sha256: Option<Sha256Digest>,
    chip: Option<&str>,
    current: &[u8],
    channel: &str,
    downgrade: bool,
) -> Result<Option<CliError>, CliError> {
    // A manifest that no device can read is best replaced.
    let Ok(current) = ManifestDocument::parse(current) else {
        return Ok(None);
    };
    let (Ok(new), Ok(old)) = (Version::parse(version), Version::parse(&current.version)) else {
        return Ok(None);
    };
    let same_bytes = current.sha256.is_none() || sha256.is_none() || current.sha256 == sha256;
    if new == old && !same_bytes {
        return Err(already_there(&old.to_string()));
    }
    if let (Some(chip), Some(before)) = (chip, current.chip.as_deref())
        && chip != before
    {
        let message = format!(
            "the channel {channel} was for {before} until now, and the firmware is for {chip}"
        );
        let warning = CliError::new("publish.chip", message);
        return Ok(Some(
            warning.hint("use one prefix for each product and kind of chip"),
        ));
    }
    if new < old && !downgrade {
        let message = format!(
            "the channel {channel} had {old}, and no device that has it goes back to {new}"
        );
        let warning = CliError::new("publish.downgrade", message);
        return Ok(Some(warning.hint(
            "to withdraw a release, use s3ota yank, or publish the old code again under a higher version",
        )));
    }
    Ok(None)
}

fn already_there(version: &str) -> CliError {
    let message = format!(
        "{version} is published already, with another image: devices that have it would never take this one, \
         since its version is not higher"
    );
    CliError::new("publish.exists", message)
        .hint("raise the version of the firmware, build it and publish that")
}

/// The version of a release, in its canonical form.
fn choose_version(firmware: &Firmware, given: Option<&str>) -> Result<String, CliError> {
    let error = |message: String| CliError::new("publish.version", message);
    let given = match given.map(Version::parse) {
        Some(Err(problem)) => return Err(error(format!("--version: {problem}"))),
        Some(Ok(version)) => Some(version),
        None => None,
    };
    let descriptor = firmware.image.descriptor.as_ref().ok_or_else(|| {
        CliError::new(
            "image.invalid",
            "the image has no app descriptor, and no device would install it",
        )
        .hint("in Rust, add `esp_bootloader_esp_idf::esp_app_desc!()` to the firmware")
    })?;
    let own = match descriptor.version() {
        _ if descriptor.is_arduino() => {
            Err("the image was built with Arduino, so it contains the version of the Arduino core and not the sketch's".to_owned())
        }
        "" => Err("the image does not name its version".to_owned()),
        text => Version::parse(text)
            .map_err(|problem| format!("the image's version is `{text}`, which cannot be compared: {problem}")),
    };
    match (own, given) {
        (Ok(own), Some(given)) if own != given => Err(error(format!(
            "--version {given} contradicts the image, which calls itself {own}: devices compare with the image's version, \
             and would refuse it or install it again and again"
        ))
        .hint(format!("leave --version out to publish {own}, or build the firmware as {given}"))),
        (Ok(own), _) => Ok(own.to_string()),
        (Err(_), Some(given)) => Ok(given.to_string()),
        (Err(problem), None) => Err(error(problem).hint("set the version with --version, and make the sketch report the same one")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::app::ImageBuilder;

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
    fn what_looks_like_a_mistake_is_warned_of_and_other_bytes_are_refused() {
        let release = |version: &str| Release::of(&firmware(version), None).unwrap();
        let current = |version: &str| {
            let options = ReleaseOptions::channel("stable");
            let manifest = release(version).manifest("https://example.com/app.bin", &options);
            manifest.unwrap().to_json().unwrap().into_bytes()
        };
        let warning = |release: Release, current: &[u8]| {
            release
                .may_follow(current, "stable", false)
                .map(|warning| warning.map(|warning| warning.code))
        };
        assert_eq!(warning(release("1.10.0"), &current("1.9.0")), Ok(None));
        assert_eq!(warning(release("1.9.0"), &current("1.9.0")), Ok(None));
        assert_eq!(warning(release("1.0.0"), b"{}"), Ok(None));
        assert_eq!(
            warning(release("1.9.0"), &current("1.10.0")),
            Ok(Some("publish.downgrade"))
        );
        let refusal = warning(release("1.9.0+b"), &current("1.9.0+a")).unwrap_err();
        assert_eq!(refusal.code, "publish.exists");

        let other =
            Firmware::from_image(ImageBuilder::new(Chip::Esp32C6, "2.0.0").build()).unwrap();
        let other = Release::of(&other, None).unwrap();
        assert_eq!(warning(other, &current("1.9.0")), Ok(Some("publish.chip")));
    }

    #[test]
    fn a_version_names_one_image_for_ever() {
        let release = Release::of(&firmware("1.0.0"), None).unwrap();
        let options = ReleaseOptions::channel("stable");
        let mut record = release
            .manifest("https://example.com/app.bin", &options)
            .unwrap();
        assert_eq!(
            release.is_recorded_as(record.to_json().unwrap().as_bytes()),
            Ok(())
        );
        record.sha256 = Some(Sha256Digest([7; 32]));
        assert_eq!(
            code(release.is_recorded_as(record.to_json().unwrap().as_bytes())),
            "publish.exists"
        );
        assert_eq!(
            code(release.is_recorded_as(b"not a record")),
            "publish.exists"
        );
    }
}
