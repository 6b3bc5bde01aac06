//! `--web-installer`: a page beside the release from which a new board gets its first firmware, over a USB cable, in the
//! browser.
//!
//! The page takes [ESP Web Tools](https://esphome.github.io/esp-web-tools/) from a CDN, in one version: it is 300 KB of other
//! people's code with fixes of its own, and who is online to see the page reaches the CDN, too. Without it the page still
//! says what it is for and where the file lies.

use std::fs;
use std::path::Path;

use s3ota_manifest::layout;
use s3ota_sim::Setup;
use serde_json::json;

use super::release::Release;
use crate::error::CliError;
use crate::firmware::{self, Firmware};
use crate::s3::{Store, Upload};

/// The version of ESP Web Tools.
const ESP_WEB_TOOLS: &str = "10.4.0";

/// Everything the page consists of.
pub struct Installer {
    /// `installer/CHANNEL/` under the prefix.
    pub folder: String,
    /// The page.
    pub page: String,
    /// What ESP Web Tools reads.
    pub manifest: String,
    /// The name of the file that is flashed.
    pub image_name: String,
    /// Bootloader, partition table and app.
    pub image: Vec<u8>,
}

impl Installer {
    /// An installer of a release. The bootloader comes from the ELF file, or from `bootloader`.
    pub(super) fn new(
        release: &Release,
        firmware: &Firmware,
        source: &Path,
        bootloader: Option<&Path>,
        prefix: &str,
        channel: &str,
    ) -> Result<Self, CliError> {
        let file = fs::read(source).map_err(|error| CliError::file(source, &error))?;
        let boot = match bootloader {
            Some(path) => fs::read(path).map_err(|error| CliError::file(path, &error))?,
            None if firmware::is_elf(&file) => firmware::bundled_bootloader(&file)?,
            None => {
                let message = "an app image brings no bootloader, and a new board needs one";
                return Err(CliError::new("publish.installer", message).hint(
                    "publish the ELF file, or give the build's bootloader.bin with --bootloader",
                ));
            }
        };
        let offset = firmware::bootloader_address(release.chip)?;
        let image = merge(&boot, offset, firmware)?;
        let name = release.project.as_deref().unwrap_or("firmware");
        let image_name = format!(
            "{}-{}.bin",
            release.version,
            &release.sha256.to_string()[..12]
        );
        let family = release.chip.name().to_ascii_uppercase();
        // ESP32C3 is written ESP32-C3 there.
        let family = match family.strip_prefix("ESP32") {
            Some(kind) if !kind.is_empty() => format!("ESP32-{kind}"),
            _ => family,
        };
        let manifest = json!({
            "name": name,
            "version": release.version,
            "new_install_prompt_erase": true,
            "builds": [{ "chipFamily": family, "parts": [{ "path": image_name, "offset": offset }] }],
        });
        let folder = layout::installer_folder(prefix, channel)
            .map_err(|error| CliError::new("s3.url", error.to_string()))?;
        Ok(Self {
            folder,
            page: page(name, &family),
            manifest: format!("{manifest:#}\n"),
            image_name,
            image,
        })
    }
}

impl Installer {
    /// Puts it all into the bucket, the page last.
    pub async fn upload(&self, store: &Store, public_read: bool) -> Result<(), CliError> {
        let image = format!("{}{}", self.folder, self.image_name);
        let manifest = format!("{}manifest-webtools.json", self.folder);
        let page = self.page_key();
        for upload in [
            Upload {
                content_type: layout::IMAGE_CONTENT_TYPE,
                public_read,
                ..Upload::manifest(&image, &self.image)
            },
            Upload {
                public_read,
                ..Upload::manifest(&manifest, &self.manifest)
            },
            Upload {
                content_type: "text/html; charset=utf-8",
                public_read,
                ..Upload::manifest(&page, &self.page)
            },
        ] {
            store.put(&upload, |_| {}).await?;
        }
        Ok(())
    }

    /// The key of the page.
    pub fn page_key(&self) -> String {
        format!("{}index.html", self.folder)
    }
}

/// What lies on flash from the bootloader on: bootloader, the usual partition table with two slots, and the app in the first.
fn merge(boot: &[u8], offset: u32, firmware: &Firmware) -> Result<Vec<u8>, CliError> {
    let wrong = |message: &str| {
        CliError::new("publish.installer", message)
            .hint("give the bootloader.bin that was built for this chip with --bootloader")
    };
    let start = usize::try_from(offset).unwrap_or_default();
    let table = s3ota_image::partition::TABLE_OFFSET as usize;
    if boot.first() != Some(&s3ota_image::app::Header::MAGIC) {
        return Err(wrong("this is no bootloader"));
    }
    if start + boot.len() > table {
        return Err(wrong("the bootloader reaches into the partition table"));
    }
    let mut flash = Setup::default().flash(&firmware.bytes)?;
    flash[start..start + boot.len()].copy_from_slice(boot);
    let end = flash
        .iter()
        .rposition(|&byte| byte != 0xFF)
        .map_or(0, |last| last + 1);
    Ok(flash[start..end].to_vec())
}

/// The page. Names come from the firmware, so they are text and never markup.
fn page(name: &str, family: &str) -> String {
    let text = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
    };
    include_str!("installer.html")
        .replace("{{name}}", &text(name))
        .replace("{{chip}}", &text(family))
        .replace("{{esp-web-tools}}", ESP_WEB_TOOLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_markup() {
        let page = page("<script>alert(1)</script>", "ESP32-C3");
        assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert"));
        assert!(!page.contains("{{"));
    }
}
