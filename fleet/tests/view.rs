//! From logs to answers.

mod common;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use common::{DAY, HOUR, START, asks, fleet, line, shuffled};
use s3ota_fleet::answers::{Device, Errors, Mix, Rollout, Status, Verdict, What};
use s3ota_fleet::ask::{Observer, Wish};
use s3ota_fleet::cache::{self, Cache};
use s3ota_fleet::progress::Progress;
use s3ota_fleet::questions::engine::Engine;
use s3ota_fleet::sightings::Sightings;
use s3ota_fleet::sources::bucket::Access;
use s3ota_fleet::sources::text;
use s3ota_fleet::view::{Logs, Read};
use tempfile::TempDir;

/// All answers.
#[derive(Debug, PartialEq)]
struct Answers {
    status: Status,
    rollouts: Vec<Rollout>,
    mix: Vec<Mix>,
    errors: Vec<Errors>,
    devices: Vec<Device>,
}

async fn all(observer: &Observer) -> Answers {
    let mut rollouts = Vec::new();
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        rollouts.push(observer.rollout(Some(version)).await.unwrap());
    }
    let mut devices = Vec::new();
    for id in observer.devices().await.unwrap().texts("device").unwrap() {
        devices.push(observer.device(&id).await.unwrap());
    }
    Answers {
        status: observer.status().await.unwrap(),
        rollouts,
        mix: observer.mix().await.unwrap(),
        errors: observer.errors().await.unwrap(),
        devices,
    }
}

struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        Self { dir }
    }

    fn log(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join("logs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.log(name), text).unwrap();
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    fn logs(&self) -> Logs {
        let folder = self.dir.path().join("logs").display().to_string();
        let mut logs = Logs::of(&[folder], Access::default()).unwrap();
        logs.cache = Some(self.cache());
        logs
    }

    async fn observe(&self, at: Option<u32>) -> (Observer, Read) {
        let progress = Progress::new(false);
        self.logs()
            .observe(at, Wish::default(), &progress)
            .await
            .unwrap()
    }

    async fn answers(&self) -> Answers {
        all(&self.observe(None).await.0).await
    }
}

/// The answers over every single line, without any reduction.
async fn unreduced(lines: &[String], at: Option<u32>, wish: Wish) -> Answers {
    let mut rows = Vec::new();
    let mut anonymous = Sightings::default();
    for text in lines {
        let mut seen = Sightings::default();
        text::stream(text.as_bytes(), &mut seen).unwrap();
        rows.extend(cache::batches(&seen).unwrap());
        for (time, requests) in seen.without_id() {
            anonymous.anonymous(time, requests);
        }
    }
    let engine = Engine::over_rows(rows, cache::anonymous_batch(&anonymous).unwrap()).unwrap();
    all(&Observer::new(engine, at, wish).await.unwrap()).await
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn the_answers_are_those_of_the_definitions() {
    let place = Place::new();
    place.write("a", fleet().iter().map(line).collect::<String>());
    let Answers {
        status,
        rollouts,
        mix,
        errors,
        devices,
    } = place.answers().await;
    assert_eq!(status.devices, 12);
    assert_eq!(status.without_id, 2);
    let end = START + 9 * 97 + 79 * 6 * HOUR + 2;
    assert_eq!(status.at, s3ota_fleet::sources::time::written(end));
    assert_eq!(
        (status.seen["24h"], status.seen["7d"], status.seen["30d"]),
        (10, 10, 12)
    );
    assert_eq!(
        (
            status.versions["1.0.0"],
            status.versions["1.1.0"],
            status.versions["1.2.0"]
        ),
        (1, 3, 8)
    );
    assert_eq!((status.chips["esp32c3"], status.chips["esp32s3"]), (6, 6));
    assert_eq!(status.boot["plain"], 12);
    assert_eq!(status.channels["stable"], 12);
    assert_eq!(
        (
            status.on_trial,
            status.rolled_back,
            status.stuck,
            status.failing
        ),
        (0, 1, 0, 2)
    );
    assert_eq!(
        (status.errors["boot.trial"], status.errors["image.digest"]),
        (1, 1)
    );
    assert_eq!(status.silent, 2);
    let silent: Vec<_> = status.silent_devices.iter().map(|it| &*it.device).collect();
    assert_eq!(silent, ["d10", "d11"]);
    let progress = status.rollout.unwrap();
    assert_eq!(
        (&*progress.channel, &*progress.version),
        ("stable", "1.2.0")
    );
    assert_eq!(
        (progress.devices, progress.running, progress.percent),
        (12, 8, None)
    );

    let [_, older, newer] = rollouts.as_slice() else {
        panic!()
    };
    let release = &older.release;
    assert_eq!(
        (
            release.tried,
            release.confirmed,
            release.failed,
            release.running
        ),
        (12, 11, 1, 3)
    );
    let release = &newer.release;
    assert_eq!(
        (
            release.tried,
            release.confirmed,
            release.failed,
            release.running
        ),
        (9, 8, 1, 8)
    );
    assert_eq!(newer.before.as_ref().map(|it| &*it.version), Some("1.1.0"));
    assert_eq!(newer.verdict, Verdict::Failing);
    let first = START + 9 * 4 * 6 * HOUR;
    assert_eq!(
        release.since.as_deref(),
        Some(&*s3ota_fleet::sources::time::written(first))
    );
    assert_eq!(release.curve[0].running, 1);
    assert_eq!(release.curve[1].running, 8);
    assert_eq!(release.curve.len(), 73 + 7);

    assert_eq!(mix.first().unwrap().devices, 12);
    assert_eq!(
        mix.iter()
            .filter(|it| it.day == mix.last().unwrap().day)
            .map(|it| it.devices)
            .sum::<u64>(),
        12
    );
    assert_eq!(
        errors.iter().filter(|it| it.code == "boot.trial").count(),
        16
    );

    let story: Vec<_> = devices[3].story.iter().map(|it| it.what.clone()).collect();
    let text = String::from;
    assert_eq!(
        story,
        [
            What::Seen {
                version: text("1.0.0")
            },
            What::Version {
                from: text("1.0.0"),
                to: text("1.1.0")
            },
            What::Trial {
                version: text("1.1.0")
            },
            What::Version {
                from: text("1.1.0"),
                to: text("1.0.0")
            },
            What::RolledBack { of: text("1.1.0") },
            What::Error {
                code: text("boot.trial")
            },
        ]
    );
    assert!(matches!(
        devices[10].story.last().unwrap().what,
        What::Silent { until: None }
    ));
    assert!(devices[0].story.iter().any(|it| it.what
        == What::Confirmed {
            version: text("1.1.0")
        }));
}

#[tokio::test]
async fn what_is_reduced_has_the_same_answers() {
    let lines: Vec<String> = fleet().iter().map(line).collect();
    let place = Place::new();
    place.write("a", lines.concat());
    for at in [
        None,
        Some(START + 7 * DAY - 1),
        Some(START + 3 * DAY + 12 * HOUR + 100),
        Some(START + 40 * DAY),
    ] {
        // Up to a moment within a day, the logs are read again.
        let until: Vec<String> = fleet()
            .iter()
            .filter(|it| at.is_none_or(|at| it.at <= at))
            .map(line)
            .collect();
        let wanted = unreduced(&until, at, Wish::default()).await;
        let reduced = all(&place.observe(at).await.0).await;
        assert_eq!(reduced, wanted, "{at:?}");
    }
    let wish = || Wish {
        silent_after: DAY,
        ..Wish::default()
    };
    let (observer, _) = place
        .logs()
        .observe(None, wish(), &Progress::new(false))
        .await
        .unwrap();
    assert_eq!(all(&observer).await, unreduced(&lines, None, wish()).await);
}

#[tokio::test]
async fn torn_late_repeated_and_foreign_lines_change_nothing() {
    let lines: Vec<String> = fleet().iter().map(line).collect();
    let clean = Place::new();
    clean.write("a", lines.concat());
    let wanted = clean.answers().await;

    let ours = |text: &str| line(&asks(START + HOUR, text)).replace("s3ota/0.1.0 ", "");
    let mut mess = lines.clone();
    // Those without an id are counted by line.
    mess.extend(
        lines
            .iter()
            .filter(|it| it.contains("dev="))
            .step_by(3)
            .cloned(),
    );
    mess.extend([
        ours("curl/8.5.0"),
        ours("Mozilla/5.0 (X11; Linux) s3ota/0.1.0 dev=x fw=9.9.9"),
        ours("\u{1b}[2J\u{1b}]0;owned\u{7}"),
        ours("<script>alert(1)</script>,=cmd|' /C calc'!A0"),
        "s3ota/0.1.0 dev=x fw=9.9.9\n".to_owned(),
        "\n\n - - -\n".to_owned(),
        format!("{}\n", "s3ota/ ".repeat(10_000)),
    ]);
    let mut mess = shuffled(mess, 7);
    let tear = mess.pop().unwrap();
    let place = Place::new();
    for (at, part) in mess.chunks(97).enumerate() {
        let text = part.concat();
        match at % 3 {
            0 => place.write(&format!("2026/11/20/{at}"), text),
            1 => place.write(&format!("2026/11/21/{at}.gz"), gzip(&text)),
            _ => place.write(&format!("2026/11/22/{at}"), text.trim_end_matches('\n')),
        }
    }
    // A line that was cut off, and once whole.
    place.write("torn", &tear[..tear.len() - 200]);
    place.write("whole", &tear);
    let mut bytes = vec![0xff, 0xfe, 0, b'"', b's', b'3', b'o', b't', b'a', b'/'];
    bytes.extend([0x80; 500]);
    place.write("binary", bytes);
    let torn = gzip(&lines.concat());
    place.write("torn.gz", &torn[..torn.len() / 2]);
    let (observer, read) = place.observe(None).await;
    assert_eq!(read.problems.len(), 1, "{:?}", read.problems);
    let mut answers = all(&observer).await;
    // A torn copy may repeat them.
    answers.status.without_id = wanted.status.without_id;
    assert_eq!(answers, wanted);
}

#[tokio::test]
async fn values_that_no_device_writes_are_unknown() {
    let place = Place::new();
    let lines = [
        asks(START, "dev=a\"b fw=1.0.0 state=valid"),
        asks(
            START,
            "dev=a fw=1\"0 state=nonsense last=ok chip=<script> boot=none",
        ),
        asks(
            START,
            "dev=b fw=1.0.0 fw=2.0.0 state=trial state=valid more=1",
        ),
        asks(START, "dev=~0123456789abcdef0123456789abcdef fw=1.0.0"),
    ];
    place.write("a", lines.iter().map(line).collect::<String>());
    let (observer, _) = place.observe(None).await;
    let status = observer.status().await.unwrap();
    assert_eq!(
        (status.devices, status.without_id, status.on_trial),
        (3, 1, 1)
    );
    assert_eq!(
        (status.versions["1.0.0"], status.versions["unknown"]),
        (2, 1)
    );
    let device = observer.device("a").await.unwrap();
    assert_eq!(
        (&*device.version, &*device.state, &*device.last),
        ("unknown", "unknown", "")
    );
    assert_eq!(
        observer.device("nobody").await.unwrap_err().code,
        "fleet.device"
    );
    let hostile = observer.device("' OR 1=1 --").await.unwrap_err();
    assert_eq!(hostile.code, "fleet.device");
}

#[tokio::test]
async fn the_order_in_one_second_does_not_depend_on_the_order_of_lines() {
    let requests = [
        asks(START, "dev=a fw=1.0.0 state=valid last=net.dns"),
        asks(START, "dev=a fw=1.0.0 state=valid last=ok@1.0.0"),
        asks(START, "dev=a fw=1.1.0 state=trial:1/3"),
    ];
    let mut seen = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let place = Place::new();
        place.write("a", order.map(|at| line(&requests[at])).concat());
        let device = place.observe(None).await.0.device("a").await.unwrap();
        assert_eq!((&*device.state, &*device.last), ("valid", "ok@1.0.0"));
        seen.push(device);
    }
    assert!(seen.iter().all(|it| *it == seen[0]));
}

#[tokio::test]
async fn only_what_is_new_is_read() {
    let lines: Vec<String> = fleet().iter().map(line).collect();
    let (early, late) = lines.split_at(lines.len() / 2);
    let place = Place::new();
    place.write("2026/11/20/a", early.concat());
    let (_, read) = place.observe(None).await;
    assert_eq!(read.tally.bytes, early.concat().len() as u64);
    let (_, read) = place.observe(None).await;
    assert_eq!(read.tally.bytes, 0);

    // A new file, one that grew in the middle of a line, and one that is another one now.
    place.write("2026/11/21/b", late[..100].concat());
    let rest = late[100..].concat();
    let (begun, end) = rest.split_at(rest.len() / 2);
    place.write("2026/11/21/c", begun);
    place.observe(None).await;
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(place.log("2026/11/21/c"))
        .unwrap();
    file.write_all(end.as_bytes()).unwrap();
    drop(file);
    let (observer, read) = place.observe(None).await;
    assert!((end.len()..end.len() + 1000).contains(&usize::try_from(read.tally.bytes).unwrap()));
    let answers = all(&observer).await;
    drop(observer);

    let fresh = Place::new();
    fresh.write("a", lines.concat());
    assert_eq!(answers, fresh.answers().await);

    place.write(
        "2026/11/21/c",
        line(&asks(START + 60 * DAY, "dev=new fw=3.0.0")),
    );
    let (observer, _) = place.observe(None).await;
    assert_eq!(observer.status().await.unwrap().devices, 13);
}

#[tokio::test]
async fn a_file_of_many_parts_is_read_on_all_cores() {
    let lines = fleet().iter().map(line).collect::<String>();
    let copies = (40 << 20) / lines.len() + 1;
    let clean = Place::new();
    clean.write("a", &lines);
    let place = Place::new();
    place.write("a", lines.repeat(copies));
    let (observer, read) = place.observe(None).await;
    assert_eq!(read.tally.lines, (copies * fleet().len()) as u64);
    let mut answers = all(&observer).await;
    assert_eq!(answers.status.without_id, 2 * copies as u64);
    answers.status.without_id = 2;
    assert_eq!(answers, clean.answers().await);
}

#[tokio::test]
async fn many_runs_leave_few_files_and_the_same_answers() {
    let lines: Vec<String> = fleet().iter().map(line).collect();
    let place = Place::new();
    for (at, part) in shuffled(lines.clone(), 3)
        .chunks(lines.len() / 30)
        .enumerate()
    {
        place.write(&format!("{at}"), part.concat());
        place.observe(None).await;
    }
    let files = fs::read_dir(place.cache()).unwrap().count();
    assert!(files < 40, "{files}");
    let fresh = Place::new();
    fresh.write("a", lines.concat());
    assert_eq!(place.answers().await, fresh.answers().await);
}

#[tokio::test]
async fn a_broken_cache_is_made_anew() {
    let place = Place::new();
    place.write("a", fleet().iter().map(line).collect::<String>());
    let wanted = place.answers().await;
    let files = || {
        fs::read_dir(place.cache())
            .unwrap()
            .map(|it| it.unwrap().path())
    };
    for path in files().filter(|it| it.extension().is_some_and(|it| it == "parquet")) {
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(place.answers().await, wanted, "{}", path.display());
    }
    fs::write(place.cache().join("cache.json"), "{").unwrap();
    assert_eq!(place.answers().await, wanted);
    // What a run leaves that is killed before it is done.
    fs::write(place.cache().join("99.sightings.parquet"), "half").unwrap();
    fs::write(place.cache().join("cache.new"), "half").unwrap();
    assert_eq!(place.answers().await, wanted);
    assert!(!place.cache().join("99.sightings.parquet").exists());
    assert!(!place.cache().join("cache.new").exists());
}

#[test]
fn a_cache_is_of_one_source() {
    let dir = TempDir::new().unwrap();
    let open = |source: &str| Cache::open(dir.path(), source);
    let mut cache = open("a").unwrap();
    cache.commit(Sightings::default(), Vec::new()).unwrap();
    drop(cache);
    assert_eq!(open("b").unwrap_err().code, "cache.source");
    assert!(open("a").is_ok());
}

#[tokio::test]
async fn logs_without_devices_are_an_error_with_a_next_step() {
    let place = Place::new();
    place.write("a", line(&asks(START, "dev=a")).replace("s3ota/", "curl/"));
    let observed = place
        .logs()
        .observe(None, Wish::default(), &Progress::new(false))
        .await;
    let error = observed.err().unwrap();
    assert_eq!(error.code, "logs.empty");
    assert!(error.hint.is_some());
    assert!(Logs::of(&[], Access::default()).is_err());
    assert!(Logs::of(&["/does/not/exist".to_owned()], Access::default()).is_err());
    assert!(Path::new(&place.cache()).exists());
}
