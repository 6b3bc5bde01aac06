//! A run repeats, its truth adds up, and its log says the same to whoever parses it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use s3ota_manifest::Timestamp;
use s3ota_manifest::user_agent::{Last, MAX_USER_AGENT, State, UserAgent};
use s3ota_simulate::{LogFolder, Run, Scenario, Truth, Written, simulate};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;
/// 2026-11-29T08:00:00Z: days are not those of the calendar.
const END: u64 = 1_795_939_200;

fn scenario(devices: u32, days: u32, seed: u64) -> Scenario {
    let every = Duration::from_secs(6 * HOUR);
    Scenario::usual(devices, days, every, 900_000, seed, END).with_power_failure(0.2)
}

/// A run with its log in a folder, which is removed with this.
struct Played {
    run: Run,
    written: Written,
    dir: tempfile::TempDir,
}

fn play(scenario: &Scenario) -> Played {
    let dir = tempfile::tempdir().unwrap();
    let mut log = LogFolder::new(dir.path(), &scenario.bucket, scenario.seed);
    let run = simulate(scenario, Some(&mut log), &mut |_| {}).unwrap();
    let written = log.finish().unwrap();
    Played { run, written, dir }
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                all.insert(path.strip_prefix(dir).unwrap().to_owned(), bytes);
            }
        }
    }
    all
}

fn json(truth: &Truth) -> serde_json::Value {
    serde_json::to_value(truth).unwrap()
}

#[test]
fn the_same_seed_is_the_same_to_the_byte_and_another_is_not() {
    let [one, same, other] = [1, 1, 2].map(|seed| play(&scenario(150, 12, seed)));
    assert_eq!(json(&one.run.truth), json(&same.run.truth));
    assert_eq!(one.run.traffic, same.run.traffic);
    assert!(files(one.dir.path()) == files(same.dir.path()));
    assert_ne!(json(&one.run.truth), json(&other.run.truth));
    // A log or none: the fleet does not care.
    let silent = simulate(&scenario(150, 12, 1), None, &mut |_| {}).unwrap();
    assert_eq!(json(&silent.truth), json(&one.run.truth));
}

#[test]
fn a_device_more_changes_nothing_for_the_others() {
    let [few, more] = [40, 41]
        .map(|devices| {
            let run = simulate(&scenario(devices, 12, 3), None, &mut |_| {}).unwrap();
            // The stories end with the newest request, which may be that of the new device.
            run.truth
                .devices
                .into_iter()
                .map(|(id, it)| (id, (it.first_seen, it.version, it.state)))
        })
        .map(Iterator::collect::<BTreeMap<_, _>>);
    assert!(few.len() > 30);
    for (id, device) in &few {
        assert_eq!(more.get(id), Some(device), "{id}");
    }
}

#[test]
fn the_truth_adds_up() {
    let run = simulate(&scenario(2000, 30, 7), None, &mut |_| {}).unwrap();
    let status = &run.truth.status;
    let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
    for counts in [
        &status.versions,
        &status.chips,
        &status.boot,
        &status.channels,
    ] {
        assert_eq!(sum(counts), status.devices);
    }
    assert_eq!(sum(&status.errors), status.failing);
    assert_eq!(status.seen["30d"], status.devices);
    assert_eq!(status.seen["7d"] + status.silent, status.devices);
    assert!(status.seen["24h"] < status.seen["7d"]);
    assert!(status.devices < 2000 && status.without_id > 0);
    // All of it happens.
    let [silent, back, stuck, hashed] = [
        status.silent > 0,
        run.truth.rollouts["1.2.0"].release.failed > 0,
        status.stuck > 0 && status.errors.contains_key("flash.io"),
        status.silent_devices.len() == 20,
    ];
    assert!(silent && back && stuck && hashed, "{status:?}");
    for code in ["http.status", "release.downgrade", "net.dns", "net.connect"] {
        assert!(run.truth.errors.iter().any(|it| it.code == code), "{code}");
    }
    // The mix of the last day is the status.
    let last = run.truth.mix.last().map(|it| it.day.clone()).unwrap();
    let mix = run.truth.mix.iter().filter(|it| it.day == last);
    let mix: BTreeMap<_, _> = mix.map(|it| (it.version.clone(), it.devices)).collect();
    assert_eq!(mix, status.versions);
    for (version, rollout) in &run.truth.rollouts {
        let it = &rollout.release;
        assert_eq!(&it.version, version);
        assert_eq!(
            it.running,
            status.versions.get(version).copied().unwrap_or(0)
        );
        assert!(it.confirmed <= it.tried && it.failed <= it.tried && it.running <= it.tried);
        assert!(
            it.curve
                .is_sorted_by(|a, b| a.running <= b.running && a.at < b.at)
        );
        assert!(it.curve.first().unwrap().running >= 1);
    }
    // A quarter of the places is about a quarter of the devices.
    let share = status.rollout.as_ref().unwrap();
    assert_eq!(share.version, "1.3.0");
    assert!((0.2..0.26).contains(&share.share), "{share:?}");
}

/// A record of the log, as somebody reads it who knows AWS's page and nothing of this repository.
struct Record {
    time: u64,
    key: String,
    status: u16,
    sent: u64,
    agent: String,
}

const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";

/// The fields of a record: words, `[…]` and `"…"`. A quote ends a text if a space and a field without a quote follow.
fn parse(line: &str) -> Record {
    let mut fields: Vec<String> = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = match rest.as_bytes()[0] {
            b'[' => rest.find(']').unwrap() + 1,
            // The User-Agent is the last of them: a text ends with the last quote before the unquoted fields.
            b'"' if fields.len() == 16 => rest.rfind('"').unwrap() + 1,
            b'"' => rest[1..].find('"').unwrap() + 2,
            _ => rest.find(' ').unwrap_or(rest.len()),
        };
        fields.push(rest[..end].to_owned());
        rest = rest[end..].strip_prefix(' ').unwrap_or("");
    }
    assert_eq!(fields.len(), 26, "{line}");
    assert_eq!(fields[0].len(), 64);
    let time = fields[2].trim_matches(['[', ']']);
    let (date, zone) = time.split_once(' ').unwrap();
    assert_eq!(zone, "+0000");
    let month = MONTHS.find(&date[3..6]).unwrap() / 3 + 1;
    let date = format!(
        "{}-{month:02}-{}T{}Z",
        &date[7..11],
        &date[..2],
        &date[12..]
    );
    assert!(fields[3].parse::<std::net::Ipv4Addr>().is_ok());
    let request = fields[8].trim_matches('"');
    assert!(request.ends_with(" HTTP/1.1"), "{request}");
    assert_eq!(request.split(' ').nth(1), Some(&*format!("/{}", fields[7])));
    let number = |field: usize| match fields[field].as_str() {
        "-" => 0,
        number => number.parse().unwrap(),
    };
    assert!(
        number(14) <= number(13) && number(11) <= number(12).max(243),
        "{line}"
    );
    Record {
        time: Timestamp::parse(&date).unwrap().unix_seconds(),
        key: fields[7].clone(),
        status: fields[9].parse().unwrap(),
        sent: number(11),
        agent: fields[16].trim_matches('"').to_owned(),
    }
}

/// All records, each once.
fn records(dir: &Path) -> Vec<Record> {
    let mut lines = BTreeSet::new();
    for (path, bytes) in files(dir) {
        let parts: Vec<_> = path.iter().map(|it| it.to_str().unwrap()).collect();
        let [account, region, bucket, year, month, day, name] = parts[..] else {
            panic!("{path:?}")
        };
        assert_eq!(
            (account, region, bucket),
            ("111122223333", "us-east-1", "example-firmware")
        );
        assert!(
            name.starts_with(&format!("{year}-{month}-{day}-")) && name.len() == 36,
            "{name}"
        );
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with('\n'));
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.iter().map(|line| parse(line)).collect()
}

#[test]
fn whoever_reads_the_log_comes_to_the_truth() {
    let Played { run, written, dir } = play(&scenario(400, 30, 11));
    let records = records(dir.path());
    let all = run.traffic.requests() + run.traffic.foreign + run.traffic.uploads;
    assert_eq!(records.len() as u64, all);
    assert!(written.lines >= all);
    let mut devices: BTreeMap<String, BTreeMap<u64, UserAgent<'_>>> = BTreeMap::new();
    let (mut without_id, mut newest, mut sent) = (0, 0, 0);
    let mut errors: BTreeSet<(u64, &str, &str)> = BTreeSet::new();
    for record in &records {
        let Some(agent) = UserAgent::parse(&record.agent) else {
            continue;
        };
        assert!(record.agent.len() <= MAX_USER_AGENT);
        assert!(record.key.starts_with("lamp-") && record.status != 404);
        newest = newest.max(record.time);
        sent += record.sent;
        let Some(device) = agent.device else {
            without_id += 1;
            continue;
        };
        if let Some(Last::Error { code, .. }) = agent.last {
            errors.insert((record.time / DAY, code, device));
        }
        let told = devices.entry(device.to_owned()).or_default();
        assert!(
            told.insert(record.time, agent).is_none(),
            "two in one second"
        );
    }
    // Links break, and downloads resume.
    let resumed = records
        .iter()
        .filter(|it| it.status == 206 && it.key.ends_with(".delta"));
    assert!(resumed.count() > 10);
    let truth = &run.truth;
    let status = &truth.status;
    assert_eq!(sent, run.traffic.sent);
    assert_eq!(Timestamp::parse(&truth.at).unwrap().unix_seconds(), newest);
    assert_eq!(status.devices, devices.len() as u64);
    assert_eq!(status.without_id, without_id);
    assert!(devices.keys().any(|it| it.starts_with('~')), "hashed ids");

    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    let (mut stuck, mut back, mut failing, mut silent) = (0, 0, 0, 0);
    let mut mix: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    let first = records
        .iter()
        .filter(|it| it.agent.contains(" dev="))
        .map(|it| it.time / DAY);
    let first = first.min().unwrap();
    for told in devices.values() {
        let (at, last) = told.last_key_value().unwrap();
        *versions
            .entry(last.firmware.unwrap().to_owned())
            .or_default() += 1;
        stuck += u64::from(matches!(last.state, Some(State::Stuck(_))));
        back += u64::from(matches!(last.state, Some(State::Back(_))));
        failing += u64::from(matches!(last.last, Some(Last::Error { .. })));
        silent += u64::from(newest - at > 7 * DAY);
        for day in first..=newest / DAY {
            if let Some((_, then)) = told.range(..(day + 1) * DAY).next_back() {
                *mix.entry((day, then.firmware.unwrap())).or_default() += 1;
            }
        }
    }
    assert_eq!(status.versions, versions);
    assert_eq!(
        (
            status.stuck,
            status.rolled_back,
            status.failing,
            status.silent
        ),
        (stuck, back, failing, silent)
    );
    let day = |text: &str| {
        Timestamp::parse(&format!("{text}T00:00:00Z"))
            .unwrap()
            .unix_seconds()
            / DAY
    };
    let told: BTreeMap<_, _> = (truth.mix.iter())
        .map(|it| ((day(&it.day), it.version.as_str()), it.devices))
        .collect();
    assert_eq!(told, mix);
    let mut by_code: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for (day, code, _) in &errors {
        *by_code.entry((*day, code)).or_default() += 1;
    }
    let told: BTreeMap<_, _> = (truth.errors.iter())
        .map(|it| ((day(&it.day), it.code.as_str()), it.devices))
        .collect();
    assert_eq!(told, by_code);
    for (version, rollout) in &truth.rollouts {
        let figures = &rollout.release;
        let count = |is: &dyn Fn(&UserAgent<'_>) -> bool| {
            devices
                .values()
                .filter(|told| told.values().any(is))
                .count() as u64
        };
        let of = |it: &UserAgent<'_>| it.firmware == Some(version);
        let is_back = |it: &UserAgent<'_>| it.state == Some(State::Back(version));
        let failed = |it: &UserAgent<'_>| {
            is_back(it)
                || matches!(it.last, Some(Last::Error { version: Some(about), .. }) if about == version)
        };
        let done = |it: &UserAgent<'_>| it.last == Some(Last::Ok { version });
        assert_eq!(
            figures.tried,
            count(&|it| of(it) || failed(it) || done(it)),
            "{version}"
        );
        assert_eq!(figures.failed, count(&failed), "{version}");
        assert_eq!(
            figures.confirmed,
            count(&|it| of(it) && it.state == Some(State::Valid)),
            "{version}"
        );
    }
}

#[test]
fn after_a_power_failure_devices_come_back_apart() {
    let with = simulate(&scenario(2000, 6, 5), None, &mut |_| {}).unwrap();
    let back = with.load.power_failure.unwrap();
    assert!((300..=460).contains(&back.devices), "{}", back.devices);
    // Ten seconds until the first check, and as many at random, behind three to nine until the network is there.
    assert!(
        back.asked[0] >= 13 && back.asked[2] <= 32,
        "{:?}",
        back.asked
    );
    assert!(back.peak < back.devices / 4);
    assert!(back.curve.iter().take(12).all(|it| *it == 0));
}

#[test]
fn what_cannot_be_played_is_an_error() {
    for spoil in [
        (|it: &mut Scenario| it.devices = 0) as fn(&mut Scenario),
        |it| it.products.clear(),
        |it| it.changes.clear(),
        |it| it.changes[0].release = 99,
        |it| it.every = Duration::ZERO,
        |it| it.seconds = 4000 * DAY,
        |it| it.releases[1].version = "latest".to_owned(),
    ] {
        let mut scenario = scenario(10, 1, 1);
        spoil(&mut scenario);
        assert!(simulate(&scenario, None, &mut |_| {}).is_err());
    }
}
