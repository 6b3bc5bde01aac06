//! `s3ota verify`: would a device take this release?
//!
//! The judge is a device: a virtual one, in memory, with a firmware older than any release. It fetches the manifest and
//! installs what it names, by the library and the TLS client that run on the chip. What lies in files is put on a
//! development server for it first.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use s3ota::manifest::{MAX_DOCUMENT, Manifest, ManifestDocument, Place, layout};
use s3ota::tls::Roots;
use s3ota::{Checked, Chip, Config, NoUpdate, Outcome, ReleaseKey, Timeouts, Workspace};
use s3ota_devserver::DevServer;
use s3ota_image::app::ImageBuilder;
use s3ota_sim::host::Date;
use s3ota_sim::{Flash, Setup, VirtualDevice};
use serde_json::json;

use crate::error::CliError;
use crate::output::{self, Output};
use crate::s3::{Probe, Upload};
use crate::serve::{bucket_on, start_for_now};
use crate::{certificates, keys};

/// The version of the device's firmware: no release is older.
const OLDEST: &str = "0.0.0-0";

/// Say whether a device would take a release
///
/// A virtual device in memory judges: it takes the way of a real one, from the server's certificate to the last byte of the
/// image, and installs the release or refuses it for the same reasons. Nothing is changed anywhere.
///
/// From a URL, the image is fetched and checked too. Of a manifest in a file, the image is checked if --image names it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  s3ota verify https://my-bucket.s3.eu-central-1.amazonaws.com/lamp/stable.json --release-key release.key.pub
  s3ota verify stable.json --image lamp.bin --release-key release.key.pub
  s3ota verify https://localhost:9443/firmware/lamp/stable.json --unsigned --ca s3ota-data/ca.pem

Exit status: 0 a device would take it, 1 it would not.")]
#[command(group(ArgGroup::new("trust").required(true).args(["release_keys", "unsigned"])))]
pub struct VerifyArgs {
    /// The manifest: an https URL, or a file
    #[arg(value_name = "URL|FILE")]
    pub manifest: String,

    /// A public key that the device trusts: PEM, as `s3ota keygen` writes it. One of several must have signed
    #[arg(long = "release-key", value_name = "FILE")]
    pub release_keys: Vec<PathBuf>,

    /// Judge as a device without release keys: it looks at no signature
    #[arg(long)]
    pub unsigned: bool,

    /// The image, where the manifest is a file
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,

    /// The device's chip; by default the one that the manifest names, or else esp32c3
    #[arg(long, value_name = "NAME")]
    pub chip: Option<String>,

    /// The device's board name; by default the one that the manifest names
    #[arg(long, value_name = "NAME")]
    pub board: Option<String>,

    /// The device's channel; by default the one that the URL ends with, or that the file names
    #[arg(long)]
    pub channel: Option<String>,

    /// Do not fetch the image
    #[arg(long, conflicts_with = "image")]
    pub manifest_only: bool,

    /// A root certificate to trust besides Amazon's, PEM or DER
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Judges.
pub async fn run(args: VerifyArgs, out: &Output) -> Result<(), CliError> {
    let release_keys = args
        .release_keys
        .iter()
        .map(|path| keys::read_public(path))
        .collect::<Result<Vec<_>, _>>()?;
    let roots = args
        .ca
        .as_deref()
        .map(certificates::read)
        .transpose()?
        .unwrap_or_default();
    let mut case = if args.manifest.starts_with("https://") {
        if args.image.is_some() {
            return Err(CliError::new(
                "cli.usage",
                "--image is for a manifest in a file: of a URL, the image is fetched",
            )
            .usage());
        }
        let json = Probe::trusting(args.ca.as_deref())?
            .get(&args.manifest, MAX_DOCUMENT)
            .await?;
        Case {
            json,
            manifest_url: args.manifest.clone(),
            channel: None,
            roots,
            has_image: !args.manifest_only,
            server: None,
        }
    } else if let Some((scheme, _)) = args.manifest.split_once("://") {
        let message = format!(
            "devices fetch a manifest by https, and not by {scheme}: {}",
            args.manifest
        );
        return Err(CliError::new("cli.usage", message)
            .hint("give the URL that `s3ota publish` printed for devices, https://…/stable.json; or a file")
            .usage());
    } else {
        Case::of_files(Path::new(&args.manifest), args.image.as_deref()).await?
    };
    let judged = case.judge(&args, &release_keys, out).await;
    if let Some(server) = case.server.take() {
        server.stop().await;
    }
    judged
}

/// What is to be judged, and where the device finds it.
struct Case {
    /// The manifest.
    json: Vec<u8>,
    manifest_url: String,
    /// The channel of the device, where the URL does not say it.
    channel: Option<String>,
    /// Roots to trust besides Amazon's.
    roots: Vec<Vec<u8>>,
    /// Whether there is an image to judge.
    has_image: bool,
    /// Where files are served from.
    server: Option<DevServer>,
}

impl Case {
    /// Files, on a server that is there for them alone. The manifest's URL is not signed, and set to where the image is now.
    async fn of_files(manifest: &Path, image: Option<&Path>) -> Result<Self, CliError> {
        let read = |path: &Path| fs::read(path).map_err(|error| CliError::file(path, &error));
        let json = read(manifest)?;
        let mut document = ManifestDocument::parse(&json).map_err(|error| {
            CliError::new(error.code(), format!("{}: {error}", manifest.display()))
        })?;
        let image = image.map(read).transpose()?;
        let (server, credentials) = start_for_now().await?;
        let store = bucket_on(&server, &credentials, &"s3://files".parse()?).await?;
        let url = format!("{}/files", server.endpoint_url());
        document.url = format!("{url}/image.bin");
        store
            .put(
                &Upload::manifest("manifest.json", &document.to_json()?),
                |_| {},
            )
            .await?;
        if let Some(image) = &image {
            let image = Upload {
                bytes: image.clone().into(),
                content_type: layout::IMAGE_CONTENT_TYPE,
                ..Upload::manifest("image.bin", "")
            };
            store.put(&image, |_| {}).await?;
        }
        Ok(Self {
            json,
            manifest_url: format!("{url}/manifest.json"),
            // What a file is called says nothing.
            channel: document.channel,
            roots: vec![server.ca_der().to_vec()],
            has_image: image.is_some(),
            server: Some(server),
        })
    }

    async fn judge(
        &self,
        args: &VerifyArgs,
        release_keys: &[ReleaseKey],
        out: &Output,
    ) -> Result<(), CliError> {
        let mut json = self.json.clone();
        let manifest = Manifest::parse(&mut json)?;
        tell(&manifest, out);
        let name = args.chip.as_deref().or(manifest.chip).unwrap_or("esp32c3");
        let chip: Chip = name
            .parse()
            .map_err(|_| CliError::new("image.chip", format!("no chip is called {name}")))?;
        let mut roots = Roots::amazon();
        for der in &self.roots {
            roots.add_der(der).map_err(|error| {
                CliError::new("tls.root", format!("the CA certificate: {error}"))
            })?;
        }
        let (device_id, is_rolled_out) = chosen(&manifest);
        let config = Config {
            board: args.board.as_deref().or(manifest.board),
            channel: args.channel.as_deref().or(self.channel.as_deref()),
            release_keys,
            roots,
            timeouts: Timeouts {
                attempts: 3,
                ..Timeouts::default()
            },
            ..Config::new(&self.manifest_url, OLDEST, chip, &device_id)
        };
        let mut device = VirtualDevice::new(flash(chip, &manifest)?).with_date(Date::Host);
        let running = device.power_on()?;
        let mut workspace = Box::new(Workspace::new());
        let mut updater = device.updater(&running, config, &mut workspace);

        let nothing = if self.has_image && is_rolled_out {
            match updater.install(&mut ()).await? {
                Outcome::Installed(_) => None,
                Outcome::NoUpdate(reason) => Some(reason),
            }
        } else {
            match updater.check().await? {
                Checked::Available(_) => None,
                Checked::NoUpdate(reason) => Some(reason),
            }
        };
        match nothing {
            None | Some(NoUpdate::NotInRollout) => {}
            Some(reason) => {
                return Err(CliError::new(
                    "verify.nothing",
                    format!("a device would find nothing to do: {reason:?}"),
                ));
            }
        }
        let keyid = manifest
            .signature
            .filter(|_| !release_keys.is_empty())
            .map(|signature| signature.keyid);
        let image = self.has_image && is_rolled_out;
        let signature = match keyid {
            Some(keyid) => format!("the signature of the key {keyid}"),
            None => "no signature".to_owned(),
        };
        let what = if image {
            "and the whole image"
        } else {
            "but no image"
        };
        out.say(format_args!("checked   {signature}, the manifest {what}"));
        if !is_rolled_out {
            out.warning(&CliError::new(
                "verify.rollout",
                "it is rolled out to no device, so none would fetch the image yet",
            ));
        }
        out.say("verified  a device would take it");
        out.event(
            "verified",
            json!({ "version": manifest.version.to_string(), "keyid": keyid, "image": image }),
        );
        Ok(())
    }
}

/// Says what the manifest says.
fn tell(manifest: &Manifest<'_>, out: &Output) {
    let show = |value: Option<&dyn std::fmt::Display>| value.map(ToString::to_string);
    let sha256 = manifest.sha256.map(|sha256| sha256.to_string());
    let lines = [
        ("project", manifest.project.map(str::to_owned)),
        ("chip", manifest.chip.map(str::to_owned)),
        ("board", manifest.board.map(str::to_owned)),
        ("channel", manifest.channel.map(str::to_owned)),
        (
            "rollout",
            manifest.rollout.map(|rollout| format!("{rollout} %")),
        ),
        ("size", manifest.size.map(|size| output::bytes(size.into()))),
        ("sha256", sha256.clone()),
        (
            "least",
            manifest.min_version.map(|version| version.to_string()),
        ),
        (
            "serial",
            show(manifest.serial.as_ref().map(|serial| serial as _)),
        ),
        (
            "expires",
            show(manifest.expires.as_ref().map(|expires| expires as _)),
        ),
        (
            "downgrade",
            manifest
                .downgrade
                .then(|| "devices may go back to it".to_owned()),
        ),
        (
            "signature",
            manifest
                .signature
                .map(|signature| format!("in the name of the key {}", signature.keyid)),
        ),
    ];
    out.say(format_args!("version   {}", manifest.version));
    for (name, value) in lines {
        if let Some(value) = value {
            out.say(format_args!("{name:<9} {value}"));
        }
    }
    out.event(
        "manifest",
        json!({
            "version": manifest.version.to_string(), "project": manifest.project, "chip": manifest.chip, "board": manifest.board,
            "channel": manifest.channel, "rollout": manifest.rollout.map(|rollout| rollout.to_string()), "size": manifest.size,
            "sha256": sha256, "min_version": manifest.min_version.map(|version| version.to_string()),
            "serial": manifest.serial, "expires": manifest.expires.map(|expires| expires.to_string()),
            "downgrade": manifest.downgrade, "keyid": manifest.signature.map(|signature| signature.keyid),
            "url": manifest.url.as_str(),
        }),
    );
}

/// The id of a device that the rollout has reached, and whether there is one.
fn chosen(manifest: &Manifest<'_>) -> (String, bool) {
    let reached = |id: &String| {
        manifest
            .rollout
            .is_none_or(|rollout| rollout.includes(Place::of(id.as_bytes(), manifest)))
    };
    let found = (0..100_000)
        .map(|number| format!("verify-{number}"))
        .find(reached);
    let is_rolled_out = found.is_some();
    (found.unwrap_or_default(), is_rolled_out)
}

/// A flash with slots that have room for the image, and the oldest of all firmwares in the first.
fn flash(chip: Chip, manifest: &Manifest<'_>) -> Result<Flash, CliError> {
    const MEGABYTE: u32 = 1 << 20;
    // The largest flash that an image can be made for has 16 MB.
    let slot = manifest
        .size
        .unwrap_or(7 * MEGABYTE)
        .clamp(2 * MEGABYTE, 7 * MEGABYTE)
        .next_multiple_of(MEGABYTE);
    let table = format!(
        "otadata, data, ota, 0xe000, 0x2000\nota_0, app, ota_0, {MEGABYTE}, {slot}\nota_1, app, ota_1, , {slot}\n"
    );
    // What has a boot guard takes nothing without, which is not what is asked here.
    let firmware = ImageBuilder::new(chip, OLDEST).without_guard();
    let firmware = match manifest.project {
        Some(project) => firmware.project_name(project),
        // A firmware of no project takes images of any.
        None => firmware.without_descriptor(),
    };
    Ok(Flash::in_memory(
        Setup::from_csv(&table)?.flash(&firmware.build())?,
    ))
}
