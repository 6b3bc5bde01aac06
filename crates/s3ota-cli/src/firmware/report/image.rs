//! The contents of an app image, as far as it can be read.

use std::fmt;

use s3ota_image::ImageError;
use s3ota_image::app::{
    Descriptor, GuardMarker, Header, Image, SignatureKind, TwoVersions, Verifier, VersionMarker,
};
use serde_json::{Value, json};

use s3ota_manifest::Version;

use super::table::troubles;
use crate::error::CliError;
use crate::firmware::{limits, remarks};
use crate::output::{bytes, fact, hex};

/// What was read of an app image, intact or damaged.
#[derive(Debug, Clone)]
pub struct ImageReport {
    /// The header, if there is one.
    pub header: Option<Header>,
    descriptor: Option<Descriptor>,
    segments: Vec<Segment>,
    /// The signature for Secure Boot that follows it.
    signature: Option<SignatureKind>,
    /// The marker with the version that the firmware tells the library.
    marker: Result<Option<VersionMarker>, TwoVersions>,
    /// The verified image, or what is wrong with it.
    pub verdict: Result<Image, ImageError>,
}

/// A segment of the image, and its load address.
#[derive(Debug, Clone, Copy)]
struct Segment {
    address: u32,
    size: u32,
}

impl ImageReport {
    /// From bytes that should be an image and nothing else.
    pub fn of_file(bytes: &[u8]) -> Self {
        Self::with(Verifier::new(), bytes)
    }

    /// From a partition, which continues after the image.
    pub fn of_slot(bytes: &[u8]) -> Self {
        Self::with(Verifier::in_slot(), bytes)
    }

    fn with(mut verifier: Verifier, bytes: &[u8]) -> Self {
        let fed = verifier.update(bytes);
        // What follows it in a slot is no part of it.
        let own = bytes.get(..verifier.position() as usize).unwrap_or(bytes);
        let header = verifier.header().copied();
        let descriptor = verifier.descriptor().cloned();
        let verdict = fed.and_then(|()| verifier.finish());
        let signature = verdict.as_ref().ok().and_then(|image: &Image| {
            let sector = bytes.get(image.signature_offset() as usize..)?;
            SignatureKind::parse(sector.first_chunk()?)
        });
        Self {
            header,
            descriptor,
            segments: header.map_or_else(Vec::new, |header| segments(bytes, header.segment_count)),
            signature,
            marker: VersionMarker::find(own),
            verdict,
        }
    }

    /// `lamp 1.1.0 for esp32c3`.
    pub fn title(&self) -> String {
        let project = match self.marker {
            Ok(Some(_)) if self.is_arduino() => "sketch",
            _ => self.text(Descriptor::project_name).unwrap_or("app"),
        };
        let version = self.version().unwrap_or("without a version");
        format!("{project} {version} for {}", self.chip())
    }

    /// The version that it calls itself by: a sketch's is in its marker.
    pub(super) fn version(&self) -> Option<&str> {
        self.sketch_version()
            .filter(|_| self.is_arduino())
            .or_else(|| self.text(Descriptor::version))
    }

    /// The version that the firmware tells the library, if the image says it, and only one.
    fn sketch_version(&self) -> Option<&str> {
        let marker = self.marker.as_ref().ok()?.as_ref();
        marker.map(VersionMarker::version)
    }

    fn is_arduino(&self) -> bool {
        self.descriptor.as_ref().is_some_and(Descriptor::is_arduino)
    }

    /// Why this image looks as if it was written after `other`. `None` if it does not.
    ///
    /// The dates decide, if the build wrote any: while a firmware is in development, its version may stay.
    pub(super) fn newer_than(&self, other: &Self) -> Option<&'static str> {
        let (Ok(image), Ok(before)) = (&self.verdict, &other.verdict) else {
            return None;
        };
        if image.digest == before.digest {
            return None;
        }
        if self.text(Descriptor::project_name) != other.text(Descriptor::project_name) {
            return Some("another project than");
        }
        let version = |report: &Self| {
            let text = report.version()?.to_owned();
            Version::parse(&text).is_ok().then_some(text)
        };
        match (self.built(), other.built()) {
            (Some(built), Some(before)) if built > before => return Some("built later than"),
            (Some(built), Some(before)) if built < before => return None,
            _ => {}
        }
        let (new, old) = (version(self)?, version(other)?);
        let is_newer = Version::parse(&new).ok()? > Version::parse(&old).ok()?;
        is_newer.then_some("a newer version than")
    }

    /// When it was built: year, month, day, and the time of day.
    fn built(&self) -> Option<(u16, usize, u8, &str)> {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        // The Arduino core's date is not the sketch's.
        let date = self.text(Descriptor::date).filter(|_| !self.is_arduino())?;
        let time = self.text(Descriptor::time).unwrap_or_default();
        // `__DATE__` of C, as in `Mar  1 2026`, or 2026-03-01 of esp-hal.
        let mut words = date.split_whitespace();
        if let (Some(month), Some(day), Some(year)) = (words.next(), words.next(), words.next()) {
            let month = MONTHS.iter().position(|name| *name == month)?;
            return Some((year.parse().ok()?, month, day.parse().ok()?, time));
        }
        let mut numbers = date.split('-');
        let (year, month, day) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let month = month.parse::<usize>().ok()?.checked_sub(1)?;
        Some((year.parse().ok()?, month, day.parse().ok()?, time))
    }

    fn chip(&self) -> String {
        match self.header.map(|header| (header.chip(), header.chip_id)) {
            Some((Some(chip), _)) => chip.to_string(),
            Some((None, id)) => format!("an unknown chip ({id})"),
            None => "an unknown chip".to_owned(),
        }
    }

    fn text(&self, field: fn(&Descriptor) -> &str) -> Option<&str> {
        self.descriptor
            .as_ref()
            .map(field)
            .filter(|text| !text.is_empty())
    }

    /// The MMU page size that it was linked for, in bytes, if it says so.
    fn mmu_page_size(&self) -> Option<u32> {
        let bits = self.descriptor.as_ref()?.mmu_page_size;
        1_u32.checked_shl(bits.into()).filter(|_| bits > 0)
    }

    /// What looks like a mistake in it. That it has no guard is a row of the report.
    pub fn warnings(&self) -> Vec<CliError> {
        let image = self.verdict.as_ref().ok();
        let remarks = image.map_or_else(Vec::new, remarks);
        let two = self.marker.as_ref().err().map(|two| {
            CliError::new("image.version", two.to_string())
                .hint("give the same version to every `begin` of the sketch, and build it again")
        });
        remarks
            .into_iter()
            .filter(|remark| remark.code != "image.guard")
            .chain(two)
            .collect()
    }

    fn guard(&self) -> Option<GuardMarker> {
        self.verdict.as_ref().ok().and_then(|image| image.guard)
    }

    /// The facts for programs.
    pub fn to_json(&self) -> Value {
        let image = self.verdict.as_ref().ok();
        let error = self.verdict.as_ref().err();
        json!({
            "intact": image.is_some(),
            "problem": error.map(|error| json!({ "code": error.code(), "message": error.to_string() })),
            "chip": self.header.and_then(|header| header.chip()).map(|chip| chip.name()),
            "version": self.text(Descriptor::version),
            "project": self.text(Descriptor::project_name),
            "idf_version": self.text(Descriptor::idf_version),
            "build_date": self.text(Descriptor::date),
            "build_time": self.text(Descriptor::time),
            "sketch_version": self.sketch_version(),
            "arduino": self.descriptor.as_ref().map(Descriptor::is_arduino),
            "secure_version": self.descriptor.as_ref().map(|descriptor| descriptor.secure_version),
            "min_revision": self.header.map(|header| header.min_revision),
            "max_revision": self.header.map(|header| header.max_revision),
            "min_efuse_block_revision": self.descriptor.as_ref().map(|descriptor| descriptor.min_efuse_block_revision),
            "max_efuse_block_revision": self.descriptor.as_ref().map(|descriptor| descriptor.max_efuse_block_revision),
            "mmu_page_size": self.mmu_page_size(),
            "guard": self.guard().map(|guard| json!({
                "kind": guard.kind(), "name": guard.kind_name(), "version": guard.version(),
            })),
            "size": image.map(|image| image.length),
            "sha256": image.map(|image| hex(&image.sha256)),
            "signed": image.map(|_| self.signature.is_some()),
            "signature": self.signature.map(SignatureKind::name),
            "warnings": troubles(&self.warnings()),
            "segments": self.segments.iter().map(|s| json!({ "address": s.address, "size": s.size })).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for ImageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![("chip", self.chip())];
        let mut row = |name, value: Option<String>| rows.extend(value.map(|value| (name, value)));
        let described = self.text(Descriptor::version).unwrap_or("none");
        let version = match &self.marker {
            Err(two) => format!(
                "{} and {}, of which nobody knows the right one",
                two.first.version(),
                two.second.version()
            ),
            Ok(Some(marker)) if self.is_arduino() => {
                let sketch = marker.version();
                format!("{sketch} (of the sketch; the Arduino core's is {described})")
            }
            Ok(Some(marker)) if marker.version() != described => {
                let told = marker.version();
                format!("{described} (and the firmware tells the library {told})")
            }
            Ok(None) if self.is_arduino() => {
                format!(
                    "{described} (of the Arduino core; the image does not contain the sketch's)"
                )
            }
            Ok(_) => described.to_owned(),
        };
        row("version", Some(version));
        row(
            "project",
            self.text(Descriptor::project_name).map(str::to_owned),
        );
        row(
            "ESP-IDF",
            self.text(Descriptor::idf_version).map(str::to_owned),
        );
        let built = [self.text(Descriptor::date), self.text(Descriptor::time)];
        row(
            "built",
            Some(built.into_iter().flatten().collect::<Vec<_>>().join(" "))
                .filter(|text| !text.is_empty()),
        );
        row(
            "secure version",
            self.descriptor
                .as_ref()
                .map(|descriptor| descriptor.secure_version.to_string()),
        );
        row(
            "chip revision",
            self.header
                .map(|header| limits(header.min_revision, header.max_revision)),
        );
        row(
            "eFuse block",
            self.descriptor.as_ref().map(|descriptor| {
                // Unlike for a chip, a minimum revision of 65535 means none.
                let min = match descriptor.min_efuse_block_revision {
                    u16::MAX => 0,
                    min => min,
                };
                limits(min, descriptor.max_efuse_block_revision)
            }),
        );
        row(
            "MMU pages",
            self.mmu_page_size().map(|size| match size % 1024 {
                0 => format!("{} KiB", size / 1024),
                _ => format!("{size} bytes"),
            }),
        );
        if let Ok(image) = &self.verdict {
            row(
                "boot guard",
                Some(match image.guard {
                    None => "none found".to_owned(),
                    Some(guard) => {
                        let number = guard.kind().to_string();
                        let kind = guard.kind_name().unwrap_or(&number);
                        format!("{kind}, version {}", guard.version())
                    }
                }),
            );
            row(
                "size",
                Some(format!(
                    "{} bytes ({})",
                    image.length,
                    bytes(image.length.into())
                )),
            );
        }
        for segment in &self.segments {
            let Segment { address, size } = segment;
            // It fills the file up to where the next segment can be mapped.
            let padding = if *address == 0 { ", padding" } else { "" };
            row(
                "segment",
                Some(format!("{address:#010x}, {size} bytes{padding}")),
            );
        }
        match &self.verdict {
            Ok(image) => {
                row("digest", Some("good".to_owned()));
                row(
                    "signature",
                    self.signature
                        .map(|kind| format!("{kind}, of Secure Boot V2, not checked here")),
                );
                row("sha256", Some(hex(&image.sha256)));
            }
            Err(error) => row("broken", Some(error.to_string())),
        }
        let lines: Vec<_> = rows
            .iter()
            .map(|(name, value)| fact(name, 15, value))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The segments whose headers are readable (`esp_image_segment_header_t`: address, length).
fn segments(bytes: &[u8], count: u8) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut at = Header::LEN;
    for _ in 0..count {
        let Some(&[a, b, c, d, e, f, g, h]) =
            bytes.get(at..).and_then(|rest| rest.first_chunk::<8>())
        else {
            break;
        };
        let segment = Segment {
            address: u32::from_le_bytes([a, b, c, d]),
            size: u32::from_le_bytes([e, f, g, h]),
        };
        segments.push(segment);
        at = at.saturating_add(8).saturating_add(segment.size as usize);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3ota_image::Chip;
    use s3ota_image::app::ImageBuilder;
    use std::sync::LazyLock;

    static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let elf = include_bytes!("../../../fixtures/hello-esp32c3-1.1.0.elf");
        crate::firmware::elf_to_image(elf).unwrap()
    });

    #[test]
    fn an_image_is_described() {
        let report = ImageReport::of_file(&IMAGE);
        let text = report.to_string();
        assert_eq!(report.title(), "s3ota-hello 1.1.0 for esp32c3");
        for line in [
            "chip            esp32c3",
            "version         1.1.0",
            "size            76848 bytes (76.85 kB)",
            "digest          good",
            "chip revision   v0.0 to v1.99",
            "eFuse block     any",
            "boot guard      none found",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert_eq!(report.to_json()["segments"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn guard_signature_and_limits_of_a_file_and_of_a_slot_are_described() {
        let file = ImageBuilder::new(Chip::Esp32C3, "1.0.0")
            .revisions(3, 199)
            .block_revisions(101, 299)
            .secure_version(7)
            .guard(GuardMarker::new(GuardMarker::ESP_HAL, 2))
            .signature(SignatureKind::Rsa)
            .build();
        let mut slot = file.clone();
        slot.resize(0x1_0000, 0xFF);
        for report in [ImageReport::of_file(&file), ImageReport::of_slot(&slot)] {
            let text = report.to_string();
            for line in [
                "secure version  7",
                "chip revision   v0.3 to v1.99",
                "eFuse block     v1.1 to v2.99",
                "boot guard      esp-hal, version 2",
                "signature       RSA, of Secure Boot V2, not checked here",
            ] {
                assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
            }
            let json = report.to_json();
            for (field, value) in [
                ("min_revision", json!(3)),
                ("max_revision", json!(199)),
                ("min_efuse_block_revision", json!(101)),
                ("max_efuse_block_revision", json!(299)),
                ("secure_version", json!(7)),
                ("signed", json!(true)),
                ("signature", json!("rsa")),
                (
                    "guard",
                    json!({ "kind": 1, "name": "esp-hal", "version": 2 }),
                ),
            ] {
                assert_eq!(json[field], value, "{field}");
            }
        }
        let unknown = ImageBuilder::new(Chip::Esp32C3, "1").guard(GuardMarker::new(99, 1));
        let text = ImageReport::of_file(&unknown.build()).to_string();
        assert!(text.contains("boot guard      99, version 1"), "{text}");
    }

    #[test]
    fn what_no_chip_boots_is_warned_of() {
        let of = |builder: ImageBuilder| ImageReport::of_file(&builder.build());
        let new = || ImageBuilder::new(Chip::Esp32C3, "1.0.0");
        for (builder, code) in [
            (new().revisions(301, 399), Some("image.revision")),
            (new().block_revisions(25_185, 0), Some("image.efuse")),
            (new().revisions(3, 199), None),
            (new().without_guard(), None),
        ] {
            let report = of(builder);
            let codes: Vec<_> = report.warnings().iter().map(|it| it.code).collect();
            assert_eq!(codes, code.as_slice());
            let json = report.to_json();
            assert_eq!(json["warnings"][0]["code"].as_str(), code);
            assert_eq!(json["mmu_page_size"], 65536);
            assert!(
                report.to_string().contains("MMU pages       64 KiB"),
                "{report}"
            );
        }
    }

    #[test]
    fn the_later_build_is_the_newer_one_whatever_its_version() {
        let built = |version: &str, date: &str, time: &str| {
            let mut image = ImageBuilder::new(Chip::Esp32C3, version).build();
            // Time and date of the descriptor, and then checksum and digest anew.
            for (at, text) in [(32 + 80, time), (32 + 96, date)] {
                image[at..at + 16].fill(0);
                image[at..at + text.len()].copy_from_slice(text.as_bytes());
            }
            let mut report =
                ImageReport::of_file(&ImageBuilder::new(Chip::Esp32C3, version).build());
            report.descriptor = Descriptor::parse(image[32..].first_chunk().unwrap());
            report
        };
        let later = built("1.0.0", "Mar  1 2026", "10:00:00");
        let earlier = built("1.1.0", "Feb 28 2026", "12:00:00");
        assert_eq!(later.newer_than(&earlier), Some("built later than"));
        assert_eq!(earlier.newer_than(&later), None);
        let iso = built("1.2.0", "2026-03-01", "10:00:01");
        assert_eq!(iso.newer_than(&later), Some("built later than"));
        let undated = built("1.3.0", "", "");
        assert_eq!(undated.newer_than(&later), Some("a newer version than"));
        assert_eq!(later.newer_than(&later), None);
    }

    #[test]
    fn a_sketch_is_described_by_its_marker() {
        let sketch = |versions: &[&str]| {
            let markers = versions.iter().map(|it| VersionMarker::new(it).unwrap());
            let payload: Vec<u8> = markers.flat_map(|marker| marker.bytes()).collect();
            let mut image = ImageBuilder::new(Chip::Esp32, "v5.5.1")
                .project_name("arduino-lib-builder")
                .payload(&payload)
                .build();
            // What an older image left behind it in the slot.
            image.extend(VersionMarker::new("0.9.0").unwrap().bytes());
            ImageReport::of_slot(&image)
        };
        for (versions, line, title, json) in [
            (
                &["1.2.0"][..],
                "1.2.0 (of the sketch; the Arduino core's is v5.5.1)",
                "sketch 1.2.0 for esp32",
                json!("1.2.0"),
            ),
            (
                &[],
                "v5.5.1 (of the Arduino core; the image does not contain the sketch's)",
                "arduino-lib-builder v5.5.1 for esp32",
                json!(null),
            ),
            (
                &["1.2.0", "1.3.0"],
                "1.2.0 and 1.3.0, of which nobody knows the right one",
                "arduino-lib-builder v5.5.1 for esp32",
                json!(null),
            ),
        ] {
            let report = sketch(versions);
            let text = report.to_string();
            let line = format!("version         {line}");
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
            assert_eq!(report.title(), title);
            assert_eq!(report.to_json()["sketch_version"], json);
            let warnings = report.warnings();
            let codes: Vec<_> = warnings.iter().map(|it| it.code).collect();
            assert_eq!(codes.contains(&"image.version"), versions.len() == 2);
        }
        let (newer, older) = (sketch(&["1.10.0"]), sketch(&["1.9.0"]));
        assert_eq!(newer.newer_than(&older), Some("a newer version than"));
        assert_eq!(older.newer_than(&newer), None);
    }

    #[test]
    fn a_damaged_image_is_described_as_far_as_it_goes() {
        let report = ImageReport::of_file(&IMAGE[..3000]);
        assert_eq!(report.to_json()["version"], "1.1.0");
        assert!(
            report
                .to_string()
                .contains("broken          the image ends after 3000 bytes"),
            "{report}"
        );
        assert_eq!(report.to_json()["problem"]["code"], "image.size");
        for length in 0..400 {
            ImageReport::of_slot(&IMAGE[..length]).to_string();
        }
    }
}
