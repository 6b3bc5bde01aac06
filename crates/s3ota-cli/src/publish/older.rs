//! For devices in the field that read another library's manifest: the same release, in their words.
//!
//! | library | what it reads | source |
//! |---|---|---|
//! | esp32FOTA | `type`, `version`, `url` | <https://github.com/chrisjoyce911/esp32FOTA#hosted-json> |
//! | ESP32-OTA-Pull | `Configurations`, a list of `Board`, `Version`, `URL` | <https://github.com/mikalhart/ESP32-OTA-Pull#filtering> |
//!
//! AwsS3Ota reads `version` and `url`, and so the channel's own manifest.

use clap::ValueEnum;
use s3ota_manifest::Version;
use serde_json::{Value, json};

use super::release::Release;
use crate::error::CliError;

/// A library whose devices shall find the release, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Older {
    /// chrisjoyce911/esp32FOTA; its `type` is the --board, or else the project's name
    Esp32fota,
    /// mikalhart/ESP32-OTA-Pull; its `Board` is the --board, or else left out
    Esp32OtaPull,
}

/// The most bytes of a URL that AwsS3Ota keeps.
const AWS_S3_OTA_URL: usize = 255;

impl Older {
    /// The key of its manifest. It lies in a folder of its own: what is beside the channels is a channel.
    pub fn key(self, prefix: &str, channel: &str) -> String {
        let slash = if prefix.is_empty() { "" } else { "/" };
        let name = match self {
            Self::Esp32fota => "esp32fota",
            Self::Esp32OtaPull => "esp32-ota-pull",
        };
        format!("{prefix}{slash}older/{channel}.{name}.json")
    }

    /// Its manifest.
    pub(super) fn document(self, release: &Release, board: Option<&str>, url: &str) -> Value {
        let version = &release.version;
        match self {
            Self::Esp32fota => {
                let kind = board.or(release.project.as_deref());
                json!({ "type": kind.unwrap_or(release.chip.name()), "version": version, "url": url })
            }
            Self::Esp32OtaPull => {
                let mut configuration = json!({ "Version": version, "URL": url });
                if let Some(board) = board {
                    configuration["Board"] = json!(board);
                }
                json!({ "Configurations": [configuration] })
            }
        }
    }

    /// What of the release its devices get wrong.
    pub(super) fn warning(self, release: &Release) -> Option<CliError> {
        let version = Version::parse(&release.version).ok()?;
        let wide = [version.major(), version.minor(), version.patch()];
        let compared_as_text = self == Self::Esp32OtaPull && wide.iter().any(|part| *part > 9);
        compared_as_text.then(|| {
            let message = format!(
                "ESP32-OTA-Pull compares versions as text: to it {} may be older than the one before",
                release.version
            );
            CliError::new("publish.older", message).hint(
                "keep each part of the version below 10 until its devices run a firmware with s3ota",
            )
        })
    }
}

/// Warns of a URL that AwsS3Ota's devices would cut off.
pub fn too_long_for_aws_s3_ota(url: &str) -> bool {
    url.len() > AWS_S3_OTA_URL
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware::Firmware;
    use s3ota_image::Chip;
    use s3ota_image::app::ImageBuilder;

    fn release(version: &str) -> Release {
        let image = ImageBuilder::new(Chip::Esp32, version)
            .project_name("lamp")
            .build();
        Release::of(&Firmware::from_image(image).unwrap(), None).unwrap()
    }

    #[test]
    fn esp32fota_is_told_type_version_and_url() {
        let document = Older::Esp32fota.document(&release("2.5.1"), None, "https://b/lamp.bin");
        assert_eq!(
            document,
            json!({ "type": "lamp", "version": "2.5.1", "url": "https://b/lamp.bin" })
        );
        let document = Older::Esp32fota.document(&release("2.5.1"), Some("T8"), "https://b/x");
        assert_eq!(document["type"], "T8");
        assert_eq!(
            Older::Esp32fota.key("p", "stable"),
            "p/older/stable.esp32fota.json"
        );
    }

    #[test]
    fn esp32_ota_pull_is_told_a_list_of_configurations() {
        let pull = Older::Esp32OtaPull;
        assert_eq!(
            pull.document(&release("2.0.0"), Some("ESP32_DEV"), "https://b/lamp.bin"),
            json!({ "Configurations": [{ "Board": "ESP32_DEV", "Version": "2.0.0", "URL": "https://b/lamp.bin" }] })
        );
        assert_eq!(
            pull.document(&release("2.0.0"), None, "https://b/x"),
            json!({ "Configurations": [{ "Version": "2.0.0", "URL": "https://b/x" }] })
        );
        assert_eq!(pull.warning(&release("1.9.9")), None);
        assert!(pull.warning(&release("1.10.0")).is_some());
        assert_eq!(pull.key("", "beta"), "older/beta.esp32-ota-pull.json");
    }

    #[test]
    fn aws_s3_ota_reads_our_manifest_where_its_url_fits() {
        let options = super::super::ReleaseOptions::channel("stable");
        let url =
            "https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/images/2.0.0-0123456789ab.bin";
        let manifest = release("2.0.0").manifest(url, &options).unwrap();
        let json: Value = serde_json::from_str(&manifest.to_json().unwrap()).unwrap();
        assert!(json["version"].is_string() && json["url"].is_string());
        assert!(!too_long_for_aws_s3_ota(json["url"].as_str().unwrap()));
        assert!(too_long_for_aws_s3_ota(&format!(
            "{url}?X-Amz-Signature={}",
            "0".repeat(200)
        )));
    }
}
