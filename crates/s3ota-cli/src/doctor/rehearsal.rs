//! The judge over all the others: a virtual device with an older firmware, which installs the release by the code that
//! runs on the chip.

use std::time::Duration;

use s3ota::manifest::{Manifest, Place};
use s3ota::tls::Roots;
use s3ota::{Config, NoUpdate, Outcome, ReleaseKey, Timeouts, Workspace};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Flash, Setup, VirtualDevice};

use super::finding::Report;
use super::image::Kind;
use super::manifest::Release;
use crate::error::CliError;

const SUBJECT: &str = "device";

/// What the device has before.
const BEFORE: &str = "0.0.0";

/// Room for any image: 16 MB of flash.
const PARTITIONS: &str = "\
nvs,      data, nvs,     0x9000,   0x4000
otadata,  data, ota,     0xd000,   0x2000
ota_0,    app,  ota_0,   0x10000,  0x7f0000
ota_1,    app,  ota_1,   0x800000, 0x7f0000
";

/// The device that plays.
pub struct Device<'a> {
    /// The manifest's URL.
    pub url: &'a str,
    /// Its chip, and the project of its firmware.
    pub kind: Kind,
    /// Its board name.
    pub board: Option<&'a str>,
    /// The roots it trusts.
    pub roots: Roots<'a>,
    /// Who may release for it.
    pub keys: &'a [ReleaseKey],
}

/// Lets a device update itself, and reports how that went.
pub async fn play(
    report: &mut Report,
    release: &Release,
    device: Device<'_>,
) -> Result<(), CliError> {
    let Some(id) = chosen(release) else {
        report.note(SUBJECT, "no device is among those that take the release");
        return Ok(());
    };
    let out = *report.out();
    out.heading(format_args!(
        "device  a virtual {} with {BEFORE}",
        device.kind.chip
    ));
    // What has a guard takes nothing without. That the release lacks one has been said.
    let mut before = ImageBuilder::new(device.kind.chip, BEFORE).without_guard();
    if let Some(project) = &device.kind.project {
        before = before.project_name(project);
    }
    let flash = Setup::from_csv(PARTITIONS)?.flash(&before.build())?;
    let mut virtual_device = VirtualDevice::new(Flash::in_memory(flash));
    let running = virtual_device.power_on()?;
    let config = Config {
        board: device.board,
        roots: device.roots,
        release_keys: device.keys,
        timeouts: Timeouts {
            attempts: 1,
            deadline: Duration::from_secs(30 * 60),
            ..Timeouts::default()
        },
        ..Config::new(device.url, BEFORE, device.kind.chip, &id)
    };
    let mut workspace = Box::new(Workspace::new());
    let outcome = virtual_device
        .updater(&running, config, &mut workspace)
        .install(&mut ())
        .await;
    match outcome {
        Ok(Outcome::Installed(installed)) => {
            report.good(
                SUBJECT,
                format!(
                    "it downloads {}, checks it, writes it, and would restart into it",
                    installed.version
                ),
            );
        }
        Ok(Outcome::NoUpdate(NoUpdate::UpToDate)) => {
            report.note(
                SUBJECT,
                format!("it has {BEFORE} already, and does nothing"),
            );
        }
        Ok(_) => report.note(SUBJECT, "it does nothing"),
        Err(error) => report.fault(
            SUBJECT,
            error.code(),
            error.to_string(),
            "mend what the device says; `s3ota device run` shows it step by step",
        ),
    }
    Ok(())
}

/// The id of a device that the release is rolled out to.
fn chosen(release: &Release) -> Option<String> {
    let mut document = release.document.clone();
    let manifest = Manifest::parse(&mut document).ok()?;
    (0..100_000)
        .map(|number| format!("doctor-{number}"))
        .find(|id| {
            release
                .rollout
                .is_none_or(|rollout| rollout.includes(Place::of(id.as_bytes(), &manifest)))
        })
}
