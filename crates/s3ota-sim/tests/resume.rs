//! An update that was cut off resumes where it was, and never mixes two images.

use std::sync::{Arc, Mutex};

use s3ota::{Chip, Error, Hooks, Installed, NoUpdate, Outcome, Progress, Timeouts};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Bootloader, Flash, Mix, Operation, PowerCut, Setup, Tear};
use scripted_server::bucket::*;
use scripted_server::network::*;
use scripted_server::*;

const SLOT_0: u32 = 0x1_0000;
const SLOT_1: u32 = 0x20_0000;
const SLOT_SIZE: u32 = 0x1f_0000;
const OTADATA: u32 = 0xd000;
const SECTOR: u32 = 0x1000;

/// Of an image of 100,000 bytes, as much as is fetched again at most.
const STEP: usize = 4096;

/// A device that runs 1.0.0 from `ota_0`.
fn fresh() -> Flash {
    Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap())
}

/// The first image answer ends after so many bytes of the body.
fn cut_after(bytes: usize) -> AnswerFault {
    AnswerFault::new(Object::Image, 0..1, move |exchange| {
        let head = exchange.answer.head().len();
        let mut answer = exchange.answer.bytes();
        answer.truncate(head + bytes);
        Reply::SendAndClose(answer, false)
    })
}

/// The `Range` and `If-Range` of each request for the image.
fn asked(network: &Network) -> Vec<(Option<usize>, Option<String>)> {
    network
        .requests()
        .iter()
        .filter(|request| Object::of(request) == Object::Image)
        .map(|request| {
            let from = request.field("Range").map(|range| {
                let first = range.strip_prefix("bytes=").unwrap();
                first.strip_suffix('-').unwrap().parse().unwrap()
            });
            (from, request.field("If-Range").map(str::to_owned))
        })
        .collect()
}

async fn install(flash: &mut Flash, network: &Network) -> Result<Outcome, Error> {
    network.install(flash, SLOT_0, "1.0.0", ONCE, &mut ()).await
}

/// A single attempt: what follows it is another update, as after a restart.
const ONCE: Timeouts = Timeouts {
    attempts: 1,
    ..IMPATIENT
};

/// What the bootloader boots now.
fn boots(flash: &Flash) -> Option<String> {
    let mut flash = Flash::in_memory(flash.bytes().to_vec());
    let app = Bootloader::default().boot(&mut flash).ok()?;
    Some(app.image.descriptor?.version().to_owned())
}

fn image_of(flash: &Flash, length: usize) -> &[u8] {
    &flash.bytes()[SLOT_1 as usize..][..length]
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_anywhere_at_most_one_step_is_fetched_again() {
    let image = firmware("1.1.0");
    let mut most = 0;
    let mut cuts = 0;
    for received in (0..image.len()).step_by(997).chain([1, 4095, 4096, 4097]) {
        for bucket in [
            Bucket::hashed("1.1.0", image.clone(), PORT),
            Bucket::bare("1.1.0", image.clone(), PORT),
        ] {
            let tag = etag(&bucket.image);
            let network = Network::new(faulty(bucket, vec![cut_after(received)]));
            let mut flash = fresh();
            let first = install(&mut flash, &network).await;
            assert!(first.unwrap_err().is_transient(), "{received}");
            assert_eq!(boots(&flash).as_deref(), Some("1.0.0"));
            // The updater of the first attempt is gone, as it is after a restart. All there is, is on flash.
            let second = install(&mut flash, &network).await;
            assert!(matches!(second, Ok(Outcome::Installed(_))), "{second:?}");
            assert_eq!(image_of(&flash, image.len()), image);
            assert_eq!(boots(&flash).as_deref(), Some("1.1.0"));

            let [first, (from, if_range)] = &asked(&network)[..] else {
                panic!("two requests: {:?}", network.requests());
            };
            assert_eq!(*first, (None, None));
            let again = received - from.unwrap_or(0);
            assert!(again < 2 * STEP, "{again} of {received} fetched again");
            if received >= STEP {
                assert_eq!(if_range.as_ref(), Some(&tag));
                assert!(again < STEP, "{again} of {received} fetched again");
            }
            most = most.max(again);
            cuts += 1;
        }
    }
    println!("{cuts} cuts, at most {most} bytes fetched again");
}

#[tokio::test(start_paused = true)]
async fn after_a_power_cut_anywhere_at_most_one_step_is_fetched_again() {
    let image = ImageBuilder::new(Chip::Esp32C3, "1.1.0")
        .length(40_000)
        .build();
    let bucket = Bucket::hashed("1.1.0", image.clone(), PORT);
    let network = || Network::new(faulty(bucket.clone(), vec![]));
    let mut whole = fresh();
    whole.record();
    install(&mut whole, &network()).await.unwrap();
    let record = whole.take_record();
    let sectors = |operations: &[Operation]| {
        let in_image = |operation: &&Operation| {
            let Operation::Program { at, bytes } = operation else {
                return false;
            };
            (SLOT_1..SLOT_1 + image.len() as u32).contains(at) && bytes.len() > STEP / 2
        };
        operations.iter().filter(in_image).count()
    };
    let (mut most, mut cuts) = (0, 0);
    for operation in 0..record.len() {
        for seed in 0..6 {
            let mut flash = fresh();
            let reached = record[operation].length() * seed as u32 / 6;
            let mix = match seed {
                0 => Mix::InOrder,
                seed => Mix::Seeded(seed),
            };
            flash.cut_power(PowerCut {
                operation: operation as u32,
                tear: Tear { reached, mix },
                flaky: false,
            });
            assert!(install(&mut flash, &network()).await.is_err());
            flash.restore_power();
            let again = network();
            let outcome = again
                .install(&mut flash, SLOT_0, "1.0.0", ONCE, &mut ())
                .await;
            assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
            assert_eq!(image_of(&flash, image.len()), image);
            // What had been received where power failed: all that is on flash, and a block that was being written.
            let received = (sectors(&record[..operation]) * STEP).min(image.len());
            let from = match asked(&again)[..] {
                [] => image.len(),
                [(from, _)] => from.unwrap_or(0),
                _ => panic!("{:?}", again.requests()),
            };
            let lost = received.saturating_sub(from);
            assert!(
                lost <= STEP,
                "{lost} of {received} again, cut in {:?}",
                record[operation].range()
            );
            most = most.max(lost);
            cuts += 1;
        }
    }
    println!("{cuts} power cuts, at most {most} bytes that were on flash fetched again");
}

/// Keeps the first progress of each attempt.
#[derive(Default)]
struct Attempts {
    starts: Vec<u32>,
    begun: bool,
}

impl Hooks for Attempts {
    fn on_start(&mut self, _: &s3ota::manifest::Manifest<'_>) {
        self.begun = true;
    }

    fn on_progress(&mut self, progress: Progress) {
        if std::mem::take(&mut self.begun) {
            self.starts.push(progress.written);
        }
    }

    fn on_complete(&mut self, _: &Installed) {}
}

#[tokio::test(start_paused = true)]
async fn a_line_that_breaks_every_few_kilobytes_gets_there_in_the_end() {
    let image = firmware("1.1.0");
    let bucket = Bucket::hashed("1.1.0", image.clone(), PORT);
    let breaking = AnswerFault::new(Object::Image, 0.., |exchange| {
        let head = exchange.answer.head().len();
        let mut answer = exchange.answer.bytes();
        answer.truncate(head + 9_000);
        Reply::SendAndClose(answer, false)
    });
    let network = Network::new(faulty(bucket, vec![breaking]));
    let mut flash = fresh();
    let mut attempts = Attempts::default();
    let timeouts = Timeouts {
        attempts: 2,
        ..Timeouts::default()
    };
    let outcome = network
        .install(&mut flash, SLOT_0, "1.0.0", timeouts, &mut attempts)
        .await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    assert_eq!(image_of(&flash, image.len()), image);
    // Far more attempts than two, each from where the one before had come to.
    assert!(attempts.starts.len() > 8, "{:?}", attempts.starts);
    assert!(attempts.starts.is_sorted(), "{:?}", attempts.starts);
}

#[tokio::test(start_paused = true)]
async fn without_a_hash_and_a_strong_tag_an_image_is_fetched_anew() {
    for tag in [None, Some("W/\"weak\"")] {
        let image = firmware("1.1.0");
        let bucket = Bucket::bare("1.1.0", image.clone(), PORT);
        let untagged = AnswerFault::new(Object::Image, 0..2, move |exchange| {
            let answer = match tag {
                Some(tag) => exchange.answer.with("ETag", tag),
                None => exchange.answer.without("ETag"),
            };
            let mut bytes = answer.bytes();
            if exchange.before == 0 {
                bytes.truncate(50_000);
            }
            Reply::SendAndClose(bytes, false)
        });
        let network = Network::new(faulty(bucket, vec![untagged]));
        let mut flash = fresh();
        install(&mut flash, &network).await.unwrap_err();
        let second = install(&mut flash, &network).await;
        assert!(matches!(second, Ok(Outcome::Installed(_))), "{second:?}");
        assert_eq!(asked(&network), [(None, None), (None, None)], "{tag:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_hash_no_tag_is_needed() {
    let image = firmware("1.1.0");
    let bucket = Bucket::hashed("1.1.0", image.clone(), PORT);
    let untagged = AnswerFault::new(Object::Image, 0..2, move |exchange| {
        let mut bytes = exchange.answer.without("ETag").bytes();
        if exchange.before == 0 {
            bytes.truncate(50_000);
        }
        Reply::SendAndClose(bytes, false)
    });
    let network = Network::new(faulty(bucket, vec![untagged]));
    let mut flash = fresh();
    install(&mut flash, &network).await.unwrap_err();
    let second = install(&mut flash, &network).await;
    assert!(matches!(second, Ok(Outcome::Installed(_))), "{second:?}");
    assert_eq!(asked(&network)[1], (Some(49_152), None));
}

#[tokio::test(start_paused = true)]
async fn an_image_replaced_between_two_attempts_is_never_mixed_with_the_new_one() {
    // Same version, same URL, other bytes: what people do while they try things out.
    let old = firmware("1.1.0");
    let new = ImageBuilder::new(Chip::Esp32C3, "1.1.0+another")
        .length(100_000)
        .build();
    assert_ne!(old, new);
    let mut flash = fresh();
    let before = Network::new(faulty(
        Bucket::bare("1.1.0", old, PORT),
        vec![cut_after(60_000)],
    ));
    install(&mut flash, &before).await.unwrap_err();
    let after = Network::new(faulty(Bucket::bare("1.1.0", new.clone(), PORT), vec![]));
    let second = install(&mut flash, &after).await;
    assert!(matches!(second, Ok(Outcome::Installed(_))), "{second:?}");
    assert_eq!(image_of(&flash, new.len()), new);
    assert!(asked(&after)[0].1.is_some(), "asked with If-Range");
}

#[tokio::test(start_paused = true)]
async fn another_release_in_between_starts_at_its_beginning() {
    let image = firmware("1.2.0");
    let mut flash = fresh();
    let cut = Network::new(faulty(
        Bucket::hashed("1.1.0", firmware("1.1.0"), PORT),
        vec![cut_after(60_000)],
    ));
    install(&mut flash, &cut).await.unwrap_err();
    let next = Network::new(faulty(
        Bucket::hashed("1.2.0", image.clone(), PORT),
        vec![cut_after(5_000)],
    ));
    install(&mut flash, &next).await.unwrap_err();
    // The journal is its own now, and it resumes where it was.
    let again = Network::new(faulty(
        Bucket::hashed("1.2.0", image, PORT),
        vec![cut_after(20_000)],
    ));
    install(&mut flash, &again).await.unwrap_err();
    assert_eq!(asked(&again)[0].0, Some(STEP));
    // Back to the first: nothing of it is believed any more.
    let first = Network::new(faulty(
        Bucket::hashed("1.1.0", firmware("1.1.0"), PORT),
        vec![],
    ));
    let outcome = install(&mut flash, &first).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    assert_eq!(asked(&next)[0], (None, None));
    assert_eq!(asked(&first), [(None, None)]);
    assert_eq!(boots(&flash).as_deref(), Some("1.1.0"));
}

#[tokio::test(start_paused = true)]
async fn what_is_on_flash_is_believed_only_as_far_as_its_hash_goes() {
    let image = firmware("1.1.0");
    for (damaged, sound) in [(40, None), (30_000, Some(28_672)), (49_151, Some(45_056))] {
        let network = Network::new(faulty(
            Bucket::hashed("1.1.0", image.clone(), PORT),
            vec![cut_after(50_000)],
        ));
        let mut flash = fresh();
        install(&mut flash, &network).await.unwrap_err();
        let mut bytes = flash.bytes().to_vec();
        bytes[SLOT_1 as usize + damaged] ^= 1;
        let mut flash = Flash::in_memory(bytes);
        let second = install(&mut flash, &network).await;
        assert!(matches!(second, Ok(Outcome::Installed(_))), "{second:?}");
        assert_eq!(asked(&network)[1].0, sound, "{damaged}");
        assert_eq!(image_of(&flash, image.len()), image);
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_with_any_byte_damaged_costs_time_and_nothing_else() {
    let image = firmware("1.1.0");
    let network = Network::new(faulty(
        Bucket::hashed("1.1.0", image.clone(), PORT),
        vec![cut_after(50_000)],
    ));
    let mut flash = fresh();
    install(&mut flash, &network).await.unwrap_err();
    let cut = flash.bytes().to_vec();
    let journal = (SLOT_1 + SLOT_SIZE - SECTOR) as usize;
    let written = cut[journal..][..SECTOR as usize]
        .iter()
        .rposition(|&byte| byte != 0xff)
        .unwrap();
    // Every seventh byte of what is written, and some of what is not.
    for at in (0..written + 64).step_by(7) {
        let network = Network::new(faulty(Bucket::hashed("1.1.0", image.clone(), PORT), vec![]));
        let mut bytes = cut.clone();
        bytes[journal + at] ^= 0x24;
        let mut flash = Flash::in_memory(bytes);
        let outcome = install(&mut flash, &network).await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        assert_eq!(image_of(&flash, image.len()), image, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_whole_is_not_fetched_again() {
    let image = firmware("1.1.0");
    let network = Network::new(faulty(Bucket::hashed("1.1.0", image.clone(), PORT), vec![]));
    let mut flash = fresh();
    let blank = flash.bytes()[OTADATA as usize..][..2 * SECTOR as usize].to_vec();
    let outcome = install(&mut flash, &network).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    // As if power had failed before the switch, with the first bytes of the image missing, torn and in place.
    let mut installed = flash.bytes().to_vec();
    installed[OTADATA as usize..][..blank.len()].copy_from_slice(&blank);
    for head in [[0xff; 32], [0xfd; 32], *image.first_chunk().unwrap()] {
        let network = Network::new(faulty(Bucket::hashed("1.1.0", image.clone(), PORT), vec![]));
        let mut bytes = installed.clone();
        bytes[SLOT_1 as usize..][..32].copy_from_slice(&head);
        let mut flash = Flash::in_memory(bytes);
        let outcome = install(&mut flash, &network).await;
        assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
        assert_eq!(asked(&network), []);
        assert_eq!(image_of(&flash, image.len()), image);
        assert_eq!(boots(&flash).as_deref(), Some("1.1.0"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_was_refused_leaves_nothing_to_go_on_from() {
    // The bytes are not those the manifest promises, but for the last few they look well.
    let image = firmware("1.1.0");
    let mut wrong = image.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let mut bucket = Bucket::hashed("1.1.0", image.clone(), PORT);
    bucket.image = wrong;
    let network = Network::new(faulty(bucket, vec![]));
    let mut flash = fresh();
    let refused = install(&mut flash, &network).await.unwrap_err();
    assert_eq!(refused.code(), "image.digest");
    let slot = &flash.bytes()[SLOT_1 as usize..][..SLOT_SIZE as usize];
    assert!(slot.iter().all(|&byte| byte == 0xff));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_fills_the_slot_takes_the_journal_s_place_at_the_end() {
    let image = ImageBuilder::new(Chip::Esp32C3, "1.1.0")
        .length(SLOT_SIZE as usize)
        .build();
    assert_eq!(image.len(), SLOT_SIZE as usize);
    let cut = image.len() - SECTOR as usize - 10;
    let network = Network::new(faulty(
        Bucket::hashed("1.1.0", image.clone(), PORT),
        vec![cut_after(cut)],
    ));
    let mut flash = fresh();
    install(&mut flash, &network).await.unwrap_err();
    let second = install(&mut flash, &network).await;
    assert!(matches!(second, Ok(Outcome::Installed(_))), "{second:?}");
    assert_eq!(image_of(&flash, image.len()), image);
    let from = asked(&network)[1].0.unwrap();
    assert!(cut - from < STEP, "from {from}");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_changed_its_mind_is_obeyed_though_the_image_is_half_here() {
    // The release is withdrawn while a device is on its way to it.
    let image = firmware("1.1.0");
    let network = Network::new(faulty(
        Bucket::hashed("1.1.0", image, PORT),
        vec![cut_after(60_000)],
    ));
    let mut flash = fresh();
    install(&mut flash, &network).await.unwrap_err();
    let old = Network::new(faulty(
        Bucket::hashed("1.0.0", firmware("1.0.0"), PORT),
        vec![],
    ));
    let outcome = install(&mut flash, &old).await;
    assert_eq!(outcome, Ok(Outcome::NoUpdate(NoUpdate::UpToDate)));
    assert_eq!(asked(&old), []);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_url_is_used_for_the_rest() {
    // Pre-signed URLs: the first expires in the middle, the next manifest has another.
    let image = firmware("1.1.0");
    let bucket = Arc::new(Mutex::new(Bucket::hashed("1.1.0", image.clone(), PORT)));
    let signed = |n: usize| {
        let manifest = full_manifest("1.1.0", PORT, &image);
        let text = String::from_utf8(manifest).unwrap();
        text.replace("image.bin", &format!("image.bin?X-Amz-Signature={n}"))
            .into_bytes()
    };
    bucket.lock().unwrap().manifest = signed(1);
    let served = bucket.clone();
    let network = Network::new(move |request, _| {
        let bucket = served.lock().unwrap();
        let answer = bucket.answer(request);
        if Object::of(request) == Object::Image && request.path.ends_with("=1") {
            let head = answer.head().len();
            return Reply::SendAndClose(answer.bytes()[..head + 60_000].to_vec(), false);
        }
        answer.into()
    });
    let mut flash = fresh();
    install(&mut flash, &network).await.unwrap_err();
    bucket.lock().unwrap().manifest = signed(2);
    let outcome = install(&mut flash, &network).await;
    assert!(matches!(outcome, Ok(Outcome::Installed(_))), "{outcome:?}");
    assert_eq!(asked(&network)[1].0, Some(57_344));
    assert_eq!(image_of(&flash, image.len()), image);
}
