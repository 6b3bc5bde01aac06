//! Wear: whatever a bucket, a network or a clock does for a day, it costs a slot at most two erasures an hour and eight in all.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use s3ota::{Agent, Chip, Config, Schedule, Timeouts, Updater, Wear, Workspace};
use s3ota_image::app::ImageBuilder;
use s3ota_sim::{Flash, Operation, Setup};
use tokio::time::timeout;

use crate::field::*;
use scripted_server::bucket::{Bucket, Object};
use scripted_server::network::{Ending, Fault, Network, PORT, Way};
use scripted_server::{Reply, Request, firmware};

/// The slot that is written to.
const SLOT: std::ops::Range<u32> = 0x20_0000..0x3f_0000;
const SECTOR: usize = 4096;
const LENGTH: usize = 60_000;

/// The image of a version. Two of them differ from the first sector on.
fn image(version: &str) -> Vec<u8> {
    ImageBuilder::new(Chip::Esp32C3, version)
        .length(LENGTH)
        .build()
}

/// A release as its owner signed it, on the server.
fn release(version: &str, serial: u64) -> Bucket {
    let signed = Owner::new(1).signs(&release_of(version, image(version)), |document| {
        document.serial = Some(serial);
    });
    at_port(&signed, PORT)
}

/// One that was never signed, for devices without keys.
fn bare(version: &str) -> Bucket {
    Bucket::bare(version, image(version), PORT)
}

/// How often each hour erased the sector of the slot that it erased most, and all hours together; and sectors of otadata.
struct Cost {
    hours: Vec<usize>,
    day: usize,
    otadata: usize,
}

/// A day of a device that looks every hour, as often as the agent lets it.
async fn day(network: Network, signed: bool) -> Cost {
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let keys = [Owner::new(1).key()];
    let config = Config {
        release_keys: if signed { &keys } else { &[] },
        ..network.config("1.0.0", Timeouts::default())
    };
    let mut workspace = Box::new(Workspace::new());
    let updater = Updater::new(config, network.device(&mut flash, 0x1_0000), &mut workspace);
    let mut agent = Agent::new(updater, Schedule::default());
    let mut cost = Cost {
        hours: Vec::new(),
        day: 0,
        otadata: 0,
    };
    let mut sectors: HashMap<u32, usize> = HashMap::new();
    for _ in 0..24 {
        agent.updater().device().flash.record();
        let hour = timeout(Duration::from_secs(3600), agent.run(&mut (), pending)).await;
        let is_updated = hour.is_ok();
        let mut hour: HashMap<u32, usize> = HashMap::new();
        for operation in agent.updater().device().flash.take_record() {
            let Operation::Erase { from, to } = operation else {
                continue;
            };
            for sector in (from..to).step_by(SECTOR) {
                if SLOT.contains(&sector) {
                    *hour.entry(sector).or_default() += 1;
                    *sectors.entry(sector).or_default() += 1;
                } else {
                    cost.otadata += 1;
                }
            }
        }
        cost.hours.push(hour.into_values().max().unwrap_or(0));
        if is_updated {
            break;
        }
    }
    cost.day = sectors.into_values().max().unwrap_or(0);
    cost
}

/// The last byte of an answer is wrong.
fn wrong_at_its_end(bucket: &Bucket, request: &Request) -> Reply {
    let mut bytes = bucket.answer(request).bytes();
    if Object::of(request) == Object::Image
        && let Some(last) = bytes.last_mut()
    {
        *last ^= 1;
    }
    Reply::Send(bytes)
}

/// The answer up to so many bytes behind its head, and then the end of the connection.
fn cut(bucket: &Bucket, request: &Request, length: usize) -> Reply {
    let answer = bucket.answer(request);
    let mut bytes = answer.bytes();
    bytes.truncate(answer.head().len() + length);
    Reply::SendAndClose(bytes, false)
}

type Script = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

/// What is done to the device, whether the attacker has the owner's signatures, and whether the line breaks.
fn hostile() -> Vec<(&'static str, bool, Option<Fault>, Script)> {
    let versions = ["1.1.0", "1.2.0", "1.3.0", "1.4.0"];
    let signed: Vec<_> = (1..)
        .zip(versions)
        .map(|(n, version)| release(version, n))
        .collect();
    let next = |of: &AtomicUsize| of.fetch_add(1, Ordering::Relaxed);
    let (first, asked) = (release("1.1.0", 1), AtomicUsize::new(0));
    let mut days: Vec<(_, _, _, Script)> = Vec::new();
    let wrong = first.clone();
    days.push((
        "an image that is wrong at its end",
        true,
        None,
        Box::new(move |request| wrong_at_its_end(&wrong, request)),
    ));
    let (held, rounds) = (first.clone(), Mutex::new(0));
    days.push((
        "cut one sector later each time, and the rest wrong",
        true,
        None,
        Box::new(move |request| {
            if Object::of(request) == Object::Manifest || request.field("Range").is_some() {
                return wrong_at_its_end(&held, request);
            }
            let mut rounds = rounds.lock().unwrap();
            *rounds = (*rounds + 1) % 14;
            cut(&held, request, *rounds * SECTOR + 100)
        }),
    ));
    let held = signed.clone();
    days.push((
        "another signed release each time, each wrong at its end",
        true,
        None,
        Box::new(move |request| {
            let n = match Object::of(request) {
                Object::Manifest => next(&asked),
                Object::Image => asked.load(Ordering::Relaxed),
            };
            // The newest last, so that none is refused as replayed.
            wrong_at_its_end(&held[(n / 3).min(3)], request)
        }),
    ));
    let asked = AtomicUsize::new(0);
    days.push((
        "another version each time, unsigned, cut",
        false,
        None,
        Box::new(move |request| {
            let n = match Object::of(request) {
                Object::Manifest => next(&asked),
                Object::Image => asked.load(Ordering::Relaxed).saturating_sub(1),
            };
            let bucket = bare(&format!("1.{}.0", n + 1));
            match Object::of(request) {
                Object::Manifest => bucket.answer(request).into(),
                Object::Image => cut(&bucket, request, 20_000),
            }
        }),
    ));
    let asked = AtomicUsize::new(0);
    let held = bare("1.1.0");
    days.push((
        "another image under one manifest each time, no ranges",
        false,
        None,
        Box::new(move |request| match Object::of(request) {
            Object::Manifest => held.answer(request).into(),
            Object::Image => {
                let mut other = held.clone();
                let n = next(&asked);
                other.image[5000 + n % 1000] ^= 1;
                let mut bytes = other.answer(request).without("ETag").bytes();
                bytes.truncate(bytes.len() - 3000);
                Reply::SendAndClose(bytes, false)
            }
        }),
    ));
    let held = first.clone();
    days.push((
        "a server that stalls in the middle",
        true,
        Some(Fault::Cut(Way::ToDevice, 30_000, Ending::Silence)),
        Box::new(move |request| held.answer(request).into()),
    ));
    let held = first.clone();
    days.push((
        "a line that breaks in the middle, a server without ranges",
        true,
        Some(Fault::Cut(Way::ToDevice, 40_000, Ending::Reset)),
        Box::new(move |request| {
            let mut request = request.clone();
            request.head = request.head.replace("Range:", "X:");
            held.answer(&request).into()
        }),
    ));
    days
}

#[tokio::test(start_paused = true)]
async fn hostile_day_costs_a_slot_two_erasures_an_hour_and_eight_in_all() {
    println!("{:60} {:>5} {:>4} {:>8}", "", "hour", "day", "otadata");
    for (what, signed, fault, script) in hostile() {
        let network = Network::new(move |request, _| script(request)).with_faults(move |_| fault);
        let cost = day(network, signed).await;
        let hour = cost.hours.iter().copied().max().unwrap_or(0);
        println!("{what:60} {hour:>5} {:>4} {:>8}", cost.day, cost.otadata);
        assert!(hour <= Wear::AN_HOUR, "{what}: {:?}", cost.hours);
        assert!(cost.day <= Wear::A_DAY, "{what}: {}", cost.day);
        assert!(cost.day > 0, "{what} costs nothing: is it tried at all?");
        // What is remembered is written behind the records; a day fills them a few times at most.
        assert!(cost.otadata <= 8, "{what}: otadata {}", cost.otadata);
    }
}

#[tokio::test(start_paused = true)]
async fn image_that_is_refused_is_fetched_twice_and_then_rests() {
    let held = release("1.1.0", 1);
    let network = Network::new(move |request, _| wrong_at_its_end(&held, request));
    let mut flash = Flash::in_memory(Setup::default().flash(&firmware("1.0.0")).unwrap());
    let keys = [Owner::new(1).key()];
    let config = Config {
        release_keys: &keys,
        ..network.config("1.0.0", Timeouts::default())
    };
    let mut workspace = Box::new(Workspace::new());
    let updater = Updater::new(config, network.device(&mut flash, 0x1_0000), &mut workspace);
    let mut agent = Agent::new(updater, Schedule::default());
    let _ = timeout(Duration::from_secs(24 * 3600), agent.run(&mut (), pending)).await;
    let images = network.requests();
    let images = images
        .iter()
        .filter(|request| Object::of(request) == Object::Image);
    // Twice, and then once after a rest of 1, 4 and 16 hours.
    assert_eq!(images.count(), 5);
}
