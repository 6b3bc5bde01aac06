//! `--web-installer`: a web page beside the release that installs the first firmware on a new board, over USB.
//!
//! The page's button is [ESP Web Tools](https://esphome.github.io/esp-web-tools/): 400 KB of other people's code that can write
//! to a board. It is uploaded beside the page if its npm package is given, and comes from a CDN otherwise. Either way the page
//! tells the browser the hash of each of its files (the `integrity` of an import map), and where scripts may come from at all
//! (a Content-Security-Policy): a changed file is not run. A browser that ignores the hashes gives itself away with a file whose
//! hash differs from the page's; then there is no button. Without the program, the page still says what it is for and where the
//! file is. It shows one of its states at a time: loading, the button, or why there is none.
//!
//! After an installation, ESP Web Tools asks for the board's Wi-Fi network if the firmware speaks Improv Serial. What the device
//! keeps in its `nvs` partition, such as that network, survives another installation: the files leave the partition out.

use std::fs;
use std::path::Path;

use s3ota_image::partition::{Kind, PartitionTable};
use s3ota_manifest::layout;
use s3ota_sim::Setup;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::esp_web_tools;
use super::release::Release;
use crate::error::CliError;
use crate::firmware::{self, Firmware};
use crate::s3::{Store, Upload};

/// A script that no browser may load: its hash is not the one in the page.
const PROBE: &str = "must-not-load.js";

/// How many seconds after an installation the page waits for the new firmware to speak Improv, and then asks for the board's Wi-Fi
/// network. Firmware needs one or two of them to start.
const IMPROV_WAIT: u32 = 10;

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// All files of the page.
pub struct Installer {
    /// `installer/CHANNEL/` under the prefix.
    pub folder: String,
    /// The page.
    pub page: String,
    /// The manifest for ESP Web Tools.
    pub manifest: String,
    /// The files to flash: bootloader and partition table, and what follows the `nvs` partition, the app with it.
    pub parts: Vec<Part>,
    /// The files of ESP Web Tools, if they are uploaded beside the page.
    tools: Vec<(&'static str, Vec<u8>)>,
}

/// A file to flash.
pub struct Part {
    /// Its name in the folder.
    pub name: String,
    /// Where it begins on flash.
    pub offset: usize,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Installer {
    /// The installer of a release. The bootloader comes from the ELF file, or from `bootloader`.
    pub fn new(
        release: &Release,
        firmware: &Firmware,
        source: &Path,
        bootloader: Option<&Path>,
        esp_web_tools: Option<&Path>,
        prefix: &str,
        channel: &str,
    ) -> Result<Self, CliError> {
        let file = fs::read(source).map_err(|error| CliError::file(source, &error))?;
        let boot = match bootloader {
            Some(path) => fs::read(path).map_err(|error| CliError::file(path, &error))?,
            None if firmware::is_elf(&file) => firmware::bundled_bootloader(&file)?,
            None => {
                let message = "an app image contains no bootloader, and a new board needs one";
                return Err(CliError::new("publish.installer", message).hint(
                    "publish the ELF file, or pass the bootloader.bin of the build with --bootloader",
                ));
            }
        };
        let offset = firmware::bootloader_address(release.chip)?;
        let name = release.project.as_deref().unwrap_or("firmware");
        let image_name = format!("{}-{}", release.version, &release.sha256.to_string()[..12]);
        let parts: Vec<_> = parts(&boot, offset, firmware)?
            .into_iter()
            .map(|(offset, bytes)| Part {
                name: format!("{image_name}-{offset:#x}.bin"),
                offset,
                bytes,
            })
            .collect();
        let family = release.chip.family();
        let listed: Vec<_> = parts
            .iter()
            .map(|part| json!({ "path": part.name, "offset": part.offset }))
            .collect();
        let manifest = json!({
            "name": name,
            "version": release.version,
            "new_install_prompt_erase": true,
            "new_install_improv_wait_time": IMPROV_WAIT,
            "builds": [{ "chipFamily": family, "parts": listed }],
        });
        let folder = layout::installer_folder(prefix, channel)
            .map_err(|error| CliError::new("s3.url", error.to_string()))?;
        let tools = esp_web_tools
            .map(esp_web_tools::read)
            .transpose()?
            .unwrap_or_default();
        let from = match tools.as_slice() {
            [] => esp_web_tools::on_cdn(),
            _ => format!("./{}", esp_web_tools::beside()),
        };
        Ok(Self {
            folder,
            page: page(name, family, &from),
            tools,
            manifest: format!("{manifest:#}\n"),
            parts,
        })
    }
}

impl Installer {
    /// Uploads everything, the page last.
    pub async fn upload(&self, store: &Store, public_read: bool) -> Result<(), CliError> {
        let manifest = format!("{}manifest-webtools.json", self.folder);
        let probe = format!("{}{PROBE}", self.folder);
        let page = self.page_key();
        for (name, bytes) in &self.tools {
            let key = format!("{}{}{name}", self.folder, esp_web_tools::beside());
            let content_type = match name.ends_with(".js") {
                true => JAVASCRIPT,
                false => "text/plain; charset=utf-8",
            };
            let upload = Upload {
                content_type,
                public_read,
                ..Upload::manifest(&key, bytes)
            };
            store.put(&upload, |_| {}).await?;
        }
        for part in &self.parts {
            let key = format!("{}{}", self.folder, part.name);
            let upload = Upload {
                content_type: layout::IMAGE_CONTENT_TYPE,
                public_read,
                ..Upload::manifest(&key, &part.bytes)
            };
            store.put(&upload, |_| {}).await?;
        }
        for upload in [
            Upload {
                content_type: JAVASCRIPT,
                public_read,
                ..Upload::manifest(&probe, "export default 0;\n")
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

/// The flash from the bootloader on: bootloader, the usual partition table with two slots, otadata that selects none, and the app in
/// the first slot. It comes in pieces with their offsets, without the `nvs` partition.
fn parts(boot: &[u8], offset: u32, firmware: &Firmware) -> Result<Vec<(usize, Vec<u8>)>, CliError> {
    let wrong = |message: &str| {
        CliError::new("publish.installer", message)
            .hint("pass the bootloader.bin that was built for this chip with --bootloader")
    };
    let start = usize::try_from(offset).unwrap_or_default();
    let table = s3ota_image::partition::TABLE_OFFSET as usize;
    if boot.first() != Some(&s3ota_image::app::Header::MAGIC) {
        return Err(wrong("this is not a bootloader"));
    }
    if start + boot.len() > table {
        return Err(wrong("the bootloader overlaps the partition table"));
    }
    let mut flash = Setup::default().flash(&firmware.bytes)?;
    flash[start..start + boot.len()].copy_from_slice(boot);
    let end = flash
        .iter()
        .rposition(|&byte| byte != 0xFF)
        .map_or(0, |last| last + 1);
    let kept = PartitionTable::parse(&flash[table..])
        .ok()
        .and_then(|table| {
            let nvs = table.entries().find(|entry| entry.kind == Kind::NVS)?;
            Some(nvs.offset as usize..nvs.end()? as usize)
        })
        .unwrap_or(end..end);
    Ok([start..kept.start, kept.end..end]
        .into_iter()
        .filter(|range| !range.is_empty())
        .map(|range| (range.start, flash[range].to_vec()))
        .collect())
}

/// The page, with ESP Web Tools from this folder. Names come from the firmware, so they are text and never markup.
fn page(name: &str, family: &str, tools: &str) -> String {
    let text = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
    };
    let hashes = esp_web_tools::FILES.iter().map(|(file, hash)| {
        let hash = Value::from(format!("sha384-{hash}"));
        (format!("{tools}{file}"), hash)
    });
    // The SHA-384 of nothing.
    let nothing = "sha384-OLBgp1GsljhM2TJ+sbHjaiH9txEUvgdDTAzHv2P24donTt6/529l+9Ua0vFImLlb";
    let hashes: serde_json::Map<String, Value> = hashes
        .chain([(format!("./{PROBE}"), nothing.into())])
        .collect();
    let map = json!({ "integrity": hashes }).to_string();
    let first = json!(esp_web_tools::FIRST.map(|file| format!("{tools}{file}")));
    let script = SCRIPT
        .replace("{{first}}", &first.to_string())
        .replace("{{probe}}", PROBE);
    let scripts = [&map, &script].map(|script| {
        let hash = base64_simd::STANDARD.encode_to_string(Sha256::digest(script));
        format!("'sha256-{hash}'")
    });
    // The folder on the CDN, and the page's own for what is beside it, at least the probe.
    let elsewhere = match tools.starts_with("https://") {
        true => format!(" {tools}"),
        false => String::new(),
    };
    let policy = format!(
        "default-src 'none'; script-src 'self'{elsewhere} {}; connect-src 'self'; style-src 'unsafe-inline'; \
         base-uri 'none'; form-action 'none'",
        scripts.join(" ")
    );
    include_str!("installer.html")
        .replace("{{policy}}", &policy)
        .replace("{{map}}", &map)
        .replace("{{script}}", &script)
        .replace("{{chip}}", &text(family))
        .replace("{{name}}", &text(name))
}

/// The page's own script.
const SCRIPT: &str = include_str!("installer.js");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_markup() {
        let page = page("<script>alert(1)</script>", "ESP32-C3", "./tools/");
        assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert"));
        assert!(!page.contains("{{"));
    }

    #[test]
    fn the_page_names_a_hash_for_every_file_and_no_other_source() {
        let page = page("lamp", "ESP32", &esp_web_tools::on_cdn());
        for (file, hash) in esp_web_tools::FILES {
            assert!(page.contains(&format!(
                r#""https://unpkg.com/esp-web-tools@10.4.0/dist/web/{file}":"sha384-{hash}""#
            )));
        }
        for first in esp_web_tools::FIRST {
            assert!(esp_web_tools::FILES.iter().any(|(file, _)| *file == first));
        }
        assert!(!page.contains("'unsafe-inline' 'self'") && !page.contains("'unsafe-eval'"));
    }
}
