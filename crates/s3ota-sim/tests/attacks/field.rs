//! Who takes part: owners with their keys, mirrors that hold what anyone put there, and a device in the field.

use std::sync::{Arc, Mutex};

use base64ct::{Base64, Encoding};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{DerSignature, SigningKey};
use s3ota::manifest::{Manifest, ManifestDocument, SignatureDocument, Timestamp};
use s3ota::tls::Roots;
use s3ota::{Chip, Config, Error, NoUpdate, Outcome, ReleaseKey, Workspace};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::host::Date;
use s3ota_sim::{Flash, Setup, VirtualDevice};

use scripted_server::bucket::{Bucket, Object};
use scripted_server::{IMPATIENT, Reply, Request, Server, firmware};

/// The project of every firmware here, unless it says otherwise.
pub const PROJECT: &str = "s3ota-virtual";
/// The channel that devices follow, by the name of the manifest they ask for.
pub const CHANNEL: &str = "manifest";
/// The date at which a device is in the field.
pub const NOW: u64 = 1_800_000_000;
pub const DAY: u64 = 24 * 60 * 60;

/// The port in a manifest's URL before it is on a server. URLs are not signed.
const NO_PORT: u16 = 65_535;

/// Someone with a key.
pub struct Owner(SigningKey);

impl Owner {
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub fn key(&self) -> ReleaseKey {
        let point = self.0.verifying_key().to_encoded_point(false);
        ReleaseKey::from_point(point.as_bytes().try_into().unwrap())
    }

    /// The name of the key.
    pub fn id(&self) -> String {
        self.key().id().to_string()
    }

    /// A release of the firmware of this version.
    pub fn releases(&self, version: &str, serial: u64) -> Bucket {
        self.signs(&release(version), |document| document.serial = Some(serial))
    }

    /// Signs a release after a change to its manifest.
    pub fn signs(&self, release: &Bucket, change: impl FnOnce(&mut ManifestDocument)) -> Bucket {
        let changed = edited(release, change);
        let digest = digest(&changed);
        self.signs_digest(&changed, &digest)
    }

    /// Puts a signature of this digest, right or wrong, on a release.
    pub fn signs_digest(&self, release: &Bucket, digest: &[u8; 32]) -> Bucket {
        with_signature(release, &self.id(), self.signature(digest).as_bytes())
    }

    pub fn signature(&self, digest: &[u8; 32]) -> DerSignature {
        self.0.sign_prehash(digest).unwrap()
    }
}

/// A release with size, hash and chip, before anyone signed it.
pub fn release(version: &str) -> Bucket {
    release_of(version, firmware(version))
}

/// The same of another image.
pub fn release_of(version: &str, image: Vec<u8>) -> Bucket {
    Bucket::hashed(version, image, NO_PORT)
}

/// A firmware of 100,000 bytes.
pub fn image(chip: Chip, version: &str, project: &str) -> Vec<u8> {
    ImageBuilder::new(chip, version)
        .project_name(project)
        .length(100_000)
        .build()
}

/// A release after a change to its manifest, with whatever signature it had.
pub fn edited(release: &Bucket, change: impl FnOnce(&mut ManifestDocument)) -> Bucket {
    let mut document = ManifestDocument::parse(&release.manifest).unwrap();
    change(&mut document);
    Bucket {
        manifest: document.to_json().unwrap().into_bytes(),
        image: release.image.clone(),
    }
}

/// A release in whose manifest a text was replaced.
pub fn replaced(release: &Bucket, from: &str, to: &str) -> Bucket {
    let manifest = String::from_utf8(release.manifest.clone()).unwrap();
    assert!(manifest.contains(from), "{from} is not in {manifest}");
    Bucket {
        manifest: manifest.replace(from, to).into_bytes(),
        image: release.image.clone(),
    }
}

/// A release with this signature, in DER.
pub fn with_signature(release: &Bucket, keyid: &str, der: &[u8]) -> Bucket {
    edited(release, |document| {
        document.signature = Some(SignatureDocument {
            keyid: keyid.into(),
            sig: Base64::encode_string(der),
        });
    })
}

/// What the owner of a release signs.
pub fn digest(release: &Bucket) -> [u8; 32] {
    let mut manifest = release.manifest.clone();
    Manifest::parse(&mut manifest).unwrap().statement_digest()
}

/// So long from [`NOW`].
pub fn in_days(days: u64) -> Option<Timestamp> {
    Timestamp::from_unix_seconds(NOW + days * DAY)
}

/// An HTTPS server with a certificate of a trusted authority, and what was put there.
pub struct Mirror {
    pub server: Server,
    holds: Arc<Mutex<Holds>>,
}

struct Holds {
    release: Bucket,
    says: Option<Answers>,
}

/// What a server says that does not behave. `None`: what it should.
type Answers = Box<dyn Fn(&Request, &Bucket) -> Option<Reply> + Send>;

impl Mirror {
    /// Starts a server that holds this.
    pub async fn of(release: Bucket) -> Self {
        let holds = Arc::new(Mutex::new(Holds {
            release,
            says: None,
        }));
        let held = holds.clone();
        let server = Server::start(move |request: &Request, port| {
            let held = held.lock().unwrap();
            let release = at_port(&held.release, port);
            let lie = held.says.as_ref().and_then(|says| says(request, &release));
            lie.unwrap_or_else(|| release.answer(request).into())
        })
        .await;
        Self { server, holds }
    }

    /// Puts another release there.
    pub fn put(&self, release: Bucket) {
        self.holds.lock().unwrap().release = release;
    }

    /// Makes the server answer as it should not.
    pub fn says(
        &self,
        answers: impl Fn(&Request, &Bucket) -> Option<Reply> + Send + 'static,
    ) -> &Self {
        self.holds.lock().unwrap().says = Some(Box::new(answers));
        self
    }

    /// Ends that.
    pub fn behaves(&self) {
        self.holds.lock().unwrap().says = None;
    }

    fn images_asked_for(&self) -> usize {
        let requests = self.server.requests();
        let images = requests
            .iter()
            .filter(|request| Object::of(request) == Object::Image);
        images.count()
    }
}

/// A release whose manifest names a server on this port.
pub fn at_port(release: &Bucket, port: u16) -> Bucket {
    let manifest = String::from_utf8_lossy(&release.manifest);
    Bucket {
        manifest: manifest
            .replace(
                &format!("localhost:{NO_PORT}"),
                &format!("localhost:{port}"),
            )
            .into_bytes(),
        image: release.image.clone(),
    }
}

/// A device.
pub struct Lamp {
    pub device: VirtualDevice,
    keys: Vec<ReleaseKey>,
    /// What else its firmware was configured with.
    settings: fn(&mut Config<'_>),
    /// Authorities it trusts, apart from the server's own.
    pub authorities: Vec<Vec<u8>>,
}

/// How a device answered an offer.
#[derive(Debug)]
pub struct Answer {
    pub result: Result<Outcome, Error>,
    /// How often it asked for the image.
    pub images: usize,
    /// The version it ran.
    ran: String,
    /// The version that boots now.
    boots: String,
    /// Sectors that were erased.
    erased: u32,
    /// Bytes that were written.
    pub written: u64,
}

impl Lamp {
    /// A device that runs 1.0.0 and trusts these owners; the newest comes first.
    pub fn trusting(owners: &[&Owner]) -> Self {
        Self::running("1.0.0", owners)
    }

    /// The same with another version.
    pub fn running(version: &str, owners: &[&Owner]) -> Self {
        let flash = Setup::default().flash(&firmware(version)).unwrap();
        let mut lamp = Self {
            device: VirtualDevice::new(Flash::in_memory(flash)),
            keys: Vec::new(),
            settings: |_| {},
            authorities: Vec::new(),
        };
        lamp.device.set_date(Date::At(NOW));
        lamp.trusts(owners);
        lamp
    }

    /// The same with other settings.
    pub fn with(self, settings: fn(&mut Config<'_>)) -> Self {
        Self { settings, ..self }
    }

    /// From now on its firmware trusts these.
    pub fn trusts(&mut self, owners: &[&Owner]) {
        self.keys = owners.iter().map(|owner| owner.key()).collect();
    }

    /// Offers it a release, on a server of its own.
    pub async fn is_offered(&mut self, release: &Bucket) -> Answer {
        self.asks(&Mirror::of(release.clone()).await).await
    }

    /// It boots, confirms itself if it is on trial, and looks for an update there.
    pub async fn asks(&mut self, mirror: &Mirror) -> Answer {
        let running = self.device.power_on().unwrap();
        let asked_before = mirror.images_asked_for();
        let url = mirror.server.url("/manifest.json");
        let mut roots = Roots::empty();
        roots.add_der(&mirror.server.ca).unwrap();
        for authority in &self.authorities {
            roots.add_der(authority).unwrap();
        }
        let mut config = Config {
            roots,
            timeouts: IMPATIENT,
            release_keys: &self.keys,
            ..Config::new(&url, running.version(), Chip::Esp32C3, "device-1")
        };
        (self.settings)(&mut config);
        let mut workspace = Box::new(Workspace::new());
        let mut updater = self.device.updater(&running, config, &mut workspace);
        updater.confirm().await.unwrap();
        let before = updater.device().flash.wear();
        let result = updater.install(&mut ()).await;
        let after = updater.device().flash.wear();
        drop(updater);
        Answer {
            result,
            images: mirror.images_asked_for() - asked_before,
            ran: running.version().into(),
            erased: after.sectors - before.sectors,
            written: after.bytes - before.bytes,
            boots: self.version(),
        }
    }

    /// Restarts it, and says what it runs.
    pub fn version(&mut self) -> String {
        self.device.power_on().unwrap().version().into()
    }

    /// Its firmware asks to be left for the one before.
    pub async fn rolls_back(&mut self) -> Result<(), Error> {
        let running = self.device.power_on().unwrap();
        let config = Config {
            release_keys: &self.keys,
            ..Config::new("https://localhost/", "0.0.0", Chip::Esp32C3, "")
        };
        let mut workspace = Box::new(Workspace::new());
        let mut updater = self.device.updater(&running, config, &mut workspace);
        updater.roll_back().await
    }
}

impl Answer {
    /// The release is the one that runs now.
    #[track_caller]
    pub fn is_installed(&self, version: &str) {
        assert!(
            matches!(self.result, Ok(Outcome::Installed(_))),
            "not installed: {self:?}"
        );
        assert_eq!(self.boots, version);
    }

    /// The release was refused with this code before a byte of its image was asked for.
    #[track_caller]
    pub fn is_refused(&self, code: &str) {
        self.fails(code);
        assert_eq!(self.images, 0, "its image was asked for: {self:?}");
    }

    /// The image was refused with this code when its first bytes were seen: nothing was erased or written.
    #[track_caller]
    pub fn is_refused_unwritten(&self, code: &str) {
        self.fails(code);
        assert_eq!(self.erased, 0, "something was erased: {self:?}");
    }

    /// The update failed with this code, and the device still runs what it ran.
    #[track_caller]
    pub fn fails(&self, code: &str) {
        match &self.result {
            Err(error) => assert_eq!(error.code(), code, "{self:?}"),
            Ok(_) => panic!("not {code}: {self:?}"),
        }
        assert_eq!(self.boots, self.ran, "{self:?}");
    }

    /// There was nothing to do.
    #[track_caller]
    pub fn is_nothing(&self, reason: NoUpdate) {
        assert_eq!(self.result, Ok(Outcome::NoUpdate(reason)), "{self:?}");
    }
}
