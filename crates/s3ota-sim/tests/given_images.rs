//! Images that the application brings itself: over a UART, from an SD card, by a modem.

use embedded_io_async::{ErrorKind, ErrorType, Read, Seek, SeekFrom};
use s3ota::{
    Config, Error, Hooks, NoUpdate, Outcome, Progress, ReleaseKey, Timeouts, Updater, Wear,
    Workspace,
};
use s3ota_sim::{Bootloader, Flash, Mix, PowerCut, Setup, Tear};
use scripted_server::network::*;
use scripted_server::*;

const SLOT_0: u32 = 0x1_0000;
const SLOT_1: u32 = 0x20_0000;

/// A source as an application has one: an image, parts of which may be missing, that records what it is asked for.
struct Card<'i> {
    image: &'i [u8],
    at: usize,
    /// It fails when it is read from here on.
    fails_at: usize,
    can_seek: bool,
    says_nothing: bool,
    read: usize,
    sought: Vec<u64>,
}

impl<'i> Card<'i> {
    fn new(image: &'i [u8]) -> Self {
        Self {
            image,
            at: 0,
            fails_at: usize::MAX,
            can_seek: true,
            says_nothing: false,
            read: 0,
            sought: Vec::new(),
        }
    }
}

impl ErrorType for Card<'_> {
    type Error = ErrorKind;
}

impl Read for Card<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.says_nothing {
            std::future::pending::<()>().await;
        }
        if self.at >= self.fails_at {
            return Err(ErrorKind::Other);
        }
        // A UART gives what is in its FIFO.
        let n = buffer.len().min(self.image.len() - self.at).min(120);
        buffer[..n].copy_from_slice(&self.image[self.at..][..n]);
        self.at += n;
        self.read += n;
        Ok(n)
    }
}

impl Seek for Card<'_> {
    async fn seek(&mut self, to: SeekFrom) -> Result<u64, ErrorKind> {
        let SeekFrom::Start(to) = to else {
            panic!("only from the start: {to:?}");
        };
        self.sought.push(to);
        if !self.can_seek {
            return Err(ErrorKind::Unsupported);
        }
        self.at = to as usize;
        Ok(to)
    }
}

/// A device that runs 1.0.0 from `ota_0`, and has no network.
fn fresh() -> Flash {
    Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap())
}

fn no_network() -> Network {
    Network::of_peers(|_, _| async {}).with_faults(|_| Some(Fault::NoAddress))
}

/// What is the same in every test here.
struct Bench {
    network: Network,
    workspace: Box<Workspace>,
    wear: Wear,
    keys: Vec<ReleaseKey>,
}

impl Bench {
    fn new() -> Self {
        Self {
            network: no_network(),
            workspace: Box::new(Workspace::new()),
            wear: Wear::default(),
            keys: Vec::new(),
        }
    }

    /// One call of `install_from`, as after a restart: all that is known is on flash, but for the wear.
    async fn install(
        &mut self,
        flash: &mut Flash,
        manifest: &[u8],
        card: &mut Card<'_>,
        hooks: &mut dyn Hooks,
    ) -> Result<Outcome, Error> {
        let config = Config {
            release_keys: &self.keys,
            ..self.network.config("1.0.0", Timeouts::default())
        };
        let device = self.network.device(flash, SLOT_0);
        let mut updater = Updater::new(config, device, &mut self.workspace);
        updater.set_wear(self.wear);
        let outcome = updater.install_from(manifest, card, hooks).await;
        self.wear = updater.wear();
        outcome
    }
}

fn boots(flash: &Flash) -> String {
    let mut flash = Flash::in_memory(flash.bytes().to_vec());
    let app = Bootloader::default().boot(&mut flash).unwrap();
    app.image.descriptor.unwrap().version().to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_image_from_a_card_is_installed_without_a_network() {
    #[derive(Default)]
    struct Told(Vec<&'static str>, u32);
    impl Hooks for Told {
        fn on_start(&mut self, _: &s3ota::manifest::Manifest<'_>) {
            self.0.push("start");
        }
        fn on_progress(&mut self, progress: Progress) {
            assert!(progress.written > self.1 || progress.total == Some(progress.written));
            self.1 = progress.written;
        }
        fn on_complete(&mut self, _: &s3ota::Installed) {
            self.0.push("complete");
        }
    }
    let image = firmware("1.1.0");
    for manifest in [
        full_manifest("1.1.0", PORT, &image),
        manifest("1.1.0", PORT),
    ] {
        let (mut flash, mut bench, mut told) = (fresh(), Bench::new(), Told::default());
        let mut card = Card::new(&image);
        let outcome = bench
            .install(&mut flash, &manifest, &mut card, &mut told)
            .await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        assert_eq!(boots(&flash), "1.1.0");
        assert_eq!(told.0, ["start", "complete"]);
        assert_eq!(told.1, image.len() as u32);
        assert_eq!((card.read, card.sought.len()), (image.len(), 0));
        assert!(bench.network.traffic().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_a_source_is_asked_to_go_on_where_flash_ends() {
    let image = firmware("1.1.0");
    let manifest = full_manifest("1.1.0", PORT, &image);
    let mut resumed = 0;
    // The operations of a whole installation, and power fails in each of every fifth.
    let mut whole = fresh();
    whole.record();
    let done = Bench::new()
        .install(&mut whole, &manifest, &mut Card::new(&image), &mut ())
        .await;
    assert!(matches!(done, Ok(Outcome::Installed(_))), "{done:?}");
    let operations = whole.take_record().len();
    for operation in (1..operations).step_by(5) {
        let (mut flash, mut bench) = (fresh(), Bench::new());
        flash.cut_power(PowerCut {
            operation: operation as u32,
            tear: Tear {
                reached: 100,
                mix: Mix::InOrder,
            },
            flaky: false,
        });
        let cut = bench
            .install(&mut flash, &manifest, &mut Card::new(&image), &mut ())
            .await;
        assert!(matches!(cut, Err(Error::Flash(_))), "{operation}: {cut:?}");
        flash.restore_power();
        let mut card = Card::new(&image);
        let again = bench
            .install(&mut flash, &manifest, &mut card, &mut ())
            .await;
        assert!(
            matches!(again, Ok(Outcome::Installed(_))),
            "{operation}: {again:?}"
        );
        assert_eq!(boots(&flash), "1.1.0", "{operation}");
        assert_eq!(&flash.bytes()[SLOT_1 as usize..][..image.len()], image);
        if let [from] = card.sought[..] {
            assert_eq!(card.read, image.len() - from as usize);
            resumed += 1;
        }
    }
    assert!(resumed >= 3, "{resumed} of {operations} operations");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_broke_off_is_resumed_or_read_again_as_it_can() {
    let image = firmware("1.1.0");
    let manifest = full_manifest("1.1.0", PORT, &image);
    for can_seek in [true, false] {
        let (mut flash, mut bench) = (fresh(), Bench::new());
        let mut broken = Card {
            fails_at: 60_000,
            ..Card::new(&image)
        };
        let failed = bench
            .install(&mut flash, &manifest, &mut broken, &mut ())
            .await;
        assert_eq!(failed, Err(Error::Source(ErrorKind::Other)));
        assert_eq!(failed.unwrap_err().code(), "source.io");
        let mut card = Card {
            can_seek,
            ..Card::new(&image)
        };
        let outcome = bench
            .install(&mut flash, &manifest, &mut card, &mut ())
            .await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        // 60,000 bytes are 14 sectors and a part of another.
        assert_eq!(card.sought, [14 * 4096]);
        let from = if can_seek { 14 * 4096 } else { 0 };
        assert_eq!(card.read, image.len() - from);
        assert_eq!(boots(&flash), "1.1.0");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_the_manifests_is_refused_and_erased() {
    let image = firmware("1.1.0");
    let manifest = full_manifest("1.1.0", PORT, &image);
    let mut changed = image.clone();
    changed[70_000] ^= 1;
    let mut longer = image.clone();
    longer.extend([0; 300]);
    for (given, code) in [
        (&changed[..], "image.digest"),
        (&image[..image.len() - 1], "image.size"),
        (&longer[..], "image.size"),
        (&image[..100], "image.size"),
        (&firmware("1.2.0")[..], "image.version"),
    ] {
        let (mut flash, mut bench) = (fresh(), Bench::new());
        let refused = bench
            .install(&mut flash, &manifest, &mut Card::new(given), &mut ())
            .await;
        assert_eq!(refused.unwrap_err().code(), code);
        assert_eq!(boots(&flash), "1.0.0");
        let slot = &flash.bytes()[SLOT_1 as usize..][..0x1f_0000];
        assert!(slot.iter().all(|&byte| byte == 0xff), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_manifest_is_judged_as_one_from_the_network_is() {
    let image = firmware("1.1.0");
    for (manifest, code) in [
        (full_manifest("0.9.0", PORT, &image), "release.downgrade"),
        (
            br#"{"version":"1.1.0","url":"https://x/y","chip":"esp32"}"#.to_vec(),
            "image.chip",
        ),
        (b"{".to_vec(), "manifest.invalid"),
        (vec![b' '; 100_000], "http.length"),
    ] {
        let (mut flash, mut bench) = (fresh(), Bench::new());
        let before = flash.bytes().to_vec();
        let mut card = Card::new(&image);
        let refused = bench
            .install(&mut flash, &manifest, &mut card, &mut ())
            .await;
        assert_eq!(refused.unwrap_err().code(), code);
        assert_eq!((card.read, flash.bytes() == before), (0, true), "{code}");
    }
    let (mut flash, mut bench) = (fresh(), Bench::new());
    let same = full_manifest("1.0.0", PORT, &image);
    let outcome = bench
        .install(&mut flash, &same, &mut Card::new(&image), &mut ())
        .await;
    assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::UpToDate)));
}

#[tokio::test(start_paused = true)]
async fn where_keys_are_configured_the_manifest_must_be_signed() {
    let image = firmware("1.1.0");
    let (mut flash, mut bench) = (fresh(), Bench::new());
    let owner = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point = owner.verifying_key().to_encoded_point(false);
    bench
        .keys
        .push(ReleaseKey::from_point(point.as_bytes().try_into().unwrap()));
    let unsigned = full_manifest("1.1.0", PORT, &image);
    let mut card = Card::new(&image);
    let refused = bench
        .install(&mut flash, &unsigned, &mut card, &mut ())
        .await;
    assert_eq!(refused.unwrap_err().code(), "release.signature");
    assert_eq!(card.read, 0);
    assert_eq!(boots(&flash), "1.0.0");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_falls_silent_is_given_up() {
    let image = firmware("1.1.0");
    let manifest = full_manifest("1.1.0", PORT, &image);
    let (mut flash, mut bench) = (fresh(), Bench::new());
    let mut silent = Card {
        says_nothing: true,
        ..Card::new(&image)
    };
    let began = tokio::time::Instant::now();
    let failed = bench
        .install(&mut flash, &manifest, &mut silent, &mut ())
        .await;
    assert_eq!(failed, Err(Error::Source(ErrorKind::TimedOut)));
    assert_eq!(began.elapsed(), Timeouts::default().idle);
}

#[tokio::test(start_paused = true)]
async fn a_source_costs_a_slot_no_more_than_a_server_does() {
    // Another broken image each time: a slot is erased twice, and then it rests.
    let (mut flash, mut bench) = (fresh(), Bench::new());
    let mut codes = Vec::new();
    for n in 0..4 {
        let mut image = firmware("1.1.0");
        image[50_000] = n;
        let manifest = full_manifest("1.1.0", PORT, &firmware("1.1.0"));
        let manifest = String::from_utf8(manifest).unwrap();
        let hash = format!("\"sha256\":\"{:064x}\"", n);
        let at = manifest.find("\"sha256\"").unwrap();
        let manifest = manifest.replace(&manifest[at..at + hash.len()], &hash);
        let result = bench
            .install(
                &mut flash,
                manifest.as_bytes(),
                &mut Card::new(&image),
                &mut (),
            )
            .await;
        codes.push(result.unwrap_err().code());
    }
    assert!(codes.contains(&"update.rests"), "{codes:?}");
}
