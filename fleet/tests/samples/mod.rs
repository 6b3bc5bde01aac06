//! A fleet of ten thousand, and one that is hostile.

use s3ota_fleet::answers::{
    Counts, Errors, Mix, Point, Progress, Release, Report, Rollout, Silent, Status, Verdict,
};

/// The fleet.
pub fn report() -> Report {
    let counts = |counts: &[(&str, u64)]| -> Counts {
        let counts = counts
            .iter()
            .map(|(name, number)| ((*name).into(), *number));
        counts.collect()
    };
    let status = Status {
        at: "2026-11-28T14:05:31Z".into(),
        devices: 10_000,
        seen: counts(&[("24h", 9_412), ("7d", 9_730), ("30d", 9_991)]),
        versions: counts(&[
            ("1.4.0", 6_103),
            ("1.3.2", 3_502),
            ("1.3.0", 301),
            ("1.2.0", 94),
        ]),
        chips: counts(&[("esp32c3", 7_200), ("esp32s3", 1_900), ("esp32", 900)]),
        boot: counts(&[("plain", 9_100), ("rollback", 900)]),
        channels: counts(&[("stable", 9_800), ("beta", 200)]),
        on_trial: 31,
        rolled_back: 12,
        stuck: 5,
        failing: 48,
        errors: counts(&[
            ("net.timeout", 30),
            ("flash.write", 11),
            ("tls.certificate", 7),
        ]),
        silent: 270,
        silent_after: 7 * 86_400,
        silent_devices: (0..20)
            .map(|number| Silent {
                device: format!("sensor-{number:04}"),
                since: format!("2026-11-{:02}T03:00:00Z", number / 2 + 1),
                version: "1.2.0".into(),
            })
            .collect(),
        without_id: 1_204,
        rollout: Some(Progress {
            channel: "stable".into(),
            version: "1.4.0".into(),
            percent: Some(75.0),
            devices: 9_800,
            running: 6_103,
            share: 6_103.0 / 9_800.0,
        }),
    };
    let release = |version: &str, first: u64, most: u64, days: u64| {
        let at = |hour: u64| format!("2026-11-{:02}T{:02}:00:00Z", first + hour / 24, hour % 24);
        let hours = days * 24;
        let running = |hour: u64| most - most * (hours - hour) * (hours - hour) / (hours * hours);
        Release {
            version: version.into(),
            since: Some(at(0)),
            devices: 10_000,
            tried: most + 20,
            running: most,
            confirmed: most - 31,
            failed: 14,
            failure_rate: 14.0 / (most + 20) as f64,
            curve: (0..hours)
                .step_by(6)
                .map(|hour| Point {
                    at: at(hour),
                    running: running(hour),
                })
                .collect(),
        }
    };
    let rollout = Rollout {
        release: release("1.4.0", 21, 6_103, 7),
        before: Some(release("1.3.2", 2, 9_200, 18)),
        verdict: Verdict::Healthy,
        sentence: "1.4.0 fails on 0.2 % of the devices that tried it, as 1.3.2 did before it"
            .into(),
    };
    let mut mix = Vec::new();
    let mut errors = Vec::new();
    for day in 1..=28 {
        let newest = if day < 21 { 0 } else { (day - 20) * 6_103 / 8 };
        let old = 3_000 / day;
        let numbers = [("1.4.0", newest), ("1.2.0", old), ("1.3.0", old / 2)];
        let rest = 10_000 - numbers.iter().map(|(_, number)| number).sum::<u64>();
        let day = format!("2026-11-{day:02}");
        for (version, devices) in numbers.into_iter().chain([("1.3.2", rest)]) {
            if devices > 0 {
                let (day, version) = (day.clone(), version.into());
                mix.push(Mix {
                    day,
                    version,
                    devices,
                });
            }
        }
        for (number, code) in ["net.timeout", "flash.write", "tls.certificate"]
            .into_iter()
            .enumerate()
        {
            let devices = (newest / 97 * (number as u64 + 3)) % 40 / (number as u64 + 1);
            if devices > 0 {
                let (day, code) = (day.clone(), code.into());
                errors.push(Errors { day, code, devices });
            }
        }
    }
    Report {
        status,
        rollout: Some(rollout),
        mix,
        errors,
    }
}

/// What a device may call itself.
pub const HOSTILE: [&str; 6] = [
    "<script>document.title='run'</script>",
    "\"><img src=x onerror=document.title='run'>",
    "</style><svg onload=document.title='run'>",
    "a\u{1b}]0;title\u{7}\u{202e}b",
    "' style='background:url(https://elsewhere.example/x)",
    "{{constructor}}, \"a\"\r\n-->",
];

/// The fleet with names of that kind.
pub fn hostile() -> Report {
    let mut report = report();
    let counts = || -> Counts { HOSTILE.map(|it| (it.to_owned(), 7)).into() };
    let status = &mut report.status;
    for counted in [
        &mut status.versions,
        &mut status.chips,
        &mut status.channels,
        &mut status.errors,
        &mut status.boot,
    ] {
        *counted = counts();
    }
    status.at = HOSTILE[0].into();
    status.silent_devices = HOSTILE
        .map(|it| Silent {
            device: it.into(),
            since: it.into(),
            version: it.into(),
        })
        .into();
    let rollout = report.rollout.as_mut().unwrap();
    rollout.release.version = HOSTILE[1].into();
    rollout.sentence = HOSTILE[2].into();
    let day = || "2026-11-20".to_owned();
    report.mix.extend(HOSTILE.map(|it| Mix {
        day: day(),
        version: it.into(),
        devices: 1,
    }));
    report.errors.extend(HOSTILE.map(|it| Errors {
        day: it.into(),
        code: it.into(),
        devices: 1,
    }));
    report
}
