//! The answers for people: lines that fit the terminal, with bars.

use console::Style;

use crate::answers::{Counts, Device, Errors, Mix, Release, Rollout, Status, Verdict, What};
use crate::figures::{number, percent, share};
use crate::terminal::plain;

/// Where the terminal has no width.
const WIDTH: usize = 80;

/// Bars are not longer than this, however wide the terminal is.
const LONGEST_BAR: usize = 48;

/// Of a long list, so many are shown.
const SHOWN: usize = 12;

/// The columns there are.
fn room(width: Option<usize>) -> usize {
    width.unwrap_or(WIDTH).max(20)
}

/// A bar of a share of some columns, in eighths of a column.
fn bar(share: f64, columns: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * columns as f64 * 8.0).round() as usize;
    // What is there can be seen.
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let mut bar = "█".repeat(eighths / 8);
    bar.extend(" ▏▎▍▌▋▊▉".chars().nth(eighths % 8).filter(|c| *c != ' '));
    bar
}

/// A text that has this many columns; a longer one is cut.
fn cell(text: &str, columns: usize) -> String {
    let text = plain(text);
    let length = text.chars().count();
    if length > columns {
        let cut: String = text.chars().take(columns.saturating_sub(1)).collect();
        return format!("{cut}…");
    }
    format!("{text}{}", " ".repeat(columns - length))
}

fn heading(text: &str) -> String {
    Style::new().bold().apply_to(text).to_string()
}

fn dim(text: &str) -> String {
    Style::new().dim().apply_to(text).to_string()
}

/// Rows of a name, a number, its share and a bar.
fn bars(
    title: &str,
    rows: &[(String, u64)],
    all: u64,
    width: usize,
    style: &Style,
    lines: &mut Vec<String>,
) {
    if rows.is_empty() {
        return;
    }
    lines.push(String::new());
    let names = rows
        .iter()
        .map(|row| plain(&row.0).chars().count())
        .max()
        .unwrap_or(0);
    let digits = rows
        .iter()
        .map(|row| number(row.1).len())
        .max()
        .unwrap_or(0);
    // Two before, two between, and a share such as `100.0 %`.
    let fixed = 2 + 2 + digits + 2 + 7 + 2;
    let names = names
        .max(title.len())
        .min(width.saturating_sub(fixed).max(8));
    let columns = width.saturating_sub(fixed + names).min(LONGEST_BAR);
    lines.push(heading(title));
    for (name, n) in rows {
        let share = share(*n, all);
        let line = format!(
            "  {}  {:>digits$}  {:>7}  ",
            cell(name, names),
            number(*n),
            percent(share)
        );
        let line = match columns {
            0..4 => line,
            columns => format!("{line}{}", style.apply_to(bar(share, columns))),
        };
        lines.push(line.trim_end().to_owned());
    }
}

/// The greatest counts first, and the rest in one.
fn most(counts: &Counts) -> Vec<(String, u64)> {
    let mut rows: Vec<_> = counts.iter().map(|(name, n)| (name.clone(), *n)).collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    if rows.len() > SHOWN {
        let rest = rows.split_off(SHOWN - 1);
        rows.push((
            format!("{} others", rest.len()),
            rest.iter().map(|row| row.1).sum(),
        ));
    }
    rows
}

/// `fleet status`
pub fn status(status: &Status, width: Option<usize>) -> Vec<String> {
    let width = room(width);
    let mut lines = Vec::new();
    let devices = match status.devices {
        1 => "1 device".to_owned(),
        n => format!("{} devices", number(n)),
    };
    let title = format!("{devices} as of {}", plain(&status.at));
    lines.extend(wrapped(&title, width).iter().map(|line| heading(line)));
    let seen = |name: &str| number(status.seen.get(name).copied().unwrap_or_default());
    let within = format!(
        "seen within 24 h: {}, 7 days: {}, 30 days: {}",
        seen("24h"),
        seen("7d"),
        seen("30d")
    );
    prose(&within, width, &mut lines);
    if status.without_id > 0 {
        let without = format!(
            "and {} requests of devices that send no id",
            number(status.without_id)
        );
        prose(&without, width, &mut lines);
    }
    if let Some(rollout) = &status.rollout {
        lines.push(String::new());
        lines.push(heading(&format!(
            "Rollout of {} on {}",
            plain(&rollout.version),
            plain(&rollout.channel)
        )));
        let of = format!(
            "{} of {} devices run it ({})",
            number(rollout.running),
            number(rollout.devices),
            percent(rollout.share)
        );
        let of = match rollout.percent {
            Some(percent) => format!("{of}; {percent} % may take it"),
            None => of,
        };
        prose(&of, width, &mut lines);
        let columns = width.saturating_sub(4).min(LONGEST_BAR);
        lines.push(format!(
            "  {}",
            Style::new().green().apply_to(bar(rollout.share, columns))
        ));
    }
    let blue = Style::new().cyan();
    bars(
        "VERSION",
        &most(&status.versions),
        status.devices,
        width,
        &blue,
        &mut lines,
    );
    bars(
        "CHIP",
        &most(&status.chips),
        status.devices,
        width,
        &blue,
        &mut lines,
    );
    if status.channels.len() > 1 {
        bars(
            "CHANNEL",
            &most(&status.channels),
            status.devices,
            width,
            &blue,
            &mut lines,
        );
    }
    bars(
        "BOOTLOADER",
        &most(&status.boot),
        status.devices,
        width,
        &blue,
        &mut lines,
    );
    let days = status.silent_after / 86_400;
    let trouble = [
        ("on trial".to_owned(), status.on_trial),
        ("went back".to_owned(), status.rolled_back),
        ("last update failed".to_owned(), status.failing),
        ("stuck on an error".to_owned(), status.stuck),
        (format!("silent for {days} days"), status.silent),
    ];
    bars(
        "STATE",
        &trouble,
        status.devices,
        width,
        &Style::new().yellow(),
        &mut lines,
    );
    bars(
        "ERROR",
        &most(&status.errors),
        status.devices,
        width,
        &Style::new().red(),
        &mut lines,
    );
    if !status.silent_devices.is_empty() {
        lines.push(String::new());
        lines.push(heading("SILENT SINCE"));
        for silent in &status.silent_devices {
            let line = format!(
                "  {}  {}  {}",
                plain(&silent.since),
                plain(&silent.version),
                plain(&silent.device)
            );
            lines.push(cell(&line, width).trim_end().to_owned());
        }
        let named = status.silent_devices.len() as u64;
        if named < status.silent {
            lines.push(dim(&format!(
                "  and {} more: --all names them",
                number(status.silent - named)
            )));
        }
    }
    lines
}

/// `fleet device`
pub fn device(device: &Device, width: Option<usize>) -> Vec<String> {
    let width = room(width);
    let mut lines = vec![heading(&plain(&device.device))];
    for (name, value) in [
        ("version", &device.version),
        ("chip", &device.chip),
        ("channel", &device.channel),
        ("state", &device.state),
        ("last update", &device.last),
        ("first seen", &device.first_seen),
        ("last seen", &device.last_seen),
    ] {
        if !value.is_empty() {
            lines.push(
                cell(&format!("  {name:<12} {value}"), width)
                    .trim_end()
                    .to_owned(),
            );
        }
    }
    lines.push(String::new());
    for event in &device.story {
        let (style, what) = match &event.what {
            What::Seen { version } => (
                Style::new(),
                format!("seen for the first time, with {version}"),
            ),
            What::Version { from, to } => {
                (Style::new().cyan(), format!("runs {to}, before {from}"))
            }
            What::Trial { version } => (Style::new().cyan(), format!("{version} is on trial")),
            What::Confirmed { version } => {
                (Style::new().green(), format!("{version} is confirmed"))
            }
            What::RolledBack { of } => (Style::new().red(), format!("went back from {of}")),
            What::Error { code } => (Style::new().red(), format!("an update failed: {code}")),
            What::Recovered => (Style::new().green(), "an update went well again".to_owned()),
            What::Silent { until: Some(until) } => {
                (Style::new().yellow(), format!("silent until {until}"))
            }
            What::Silent { until: None } => (Style::new().yellow(), "silent since".to_owned()),
        };
        let room = width.saturating_sub(event.at.len() + 4);
        let what = cell(&what, room);
        lines.push(format!(
            "  {}  {}",
            plain(&event.at),
            style.apply_to(what.trim_end())
        ));
    }
    lines
}

/// `fleet rollout`
pub fn rollout(rollout: &Rollout, width: Option<usize>) -> Vec<String> {
    let width = room(width);
    let release = &rollout.release;
    let since = release
        .since
        .as_deref()
        .map_or_else(String::new, |it| format!(", since {it}"));
    let mut lines = vec![heading(&plain(&format!("{}{since}", release.version)))];
    let columns = [
        "",
        release.version.as_str(),
        rollout.before.as_ref().map_or("", |it| &it.version),
    ];
    let columns = columns.map(|it| plain(it).into_owned());
    type Figure = fn(&Release) -> String;
    let of: [(&str, Figure); 5] = [
        ("tried it", |it| number(it.tried)),
        ("confirmed it", |it| number(it.confirmed)),
        ("run it now", |it| {
            format!("{} of {}", number(it.running), number(it.devices))
        }),
        ("failed", |it| number(it.failed)),
        ("failure rate", |it| percent(it.failure_rate)),
    ];
    let first = of
        .iter()
        .map(|row| (row.1)(release).len())
        .max()
        .unwrap_or(0)
        .max(columns[1].len());
    if rollout.before.is_some() {
        lines.push(dim(&format!(
            "  {:<13} {:>first$}  before: {}",
            "", columns[1], columns[2]
        )));
    }
    for (name, value) in of {
        let before = rollout.before.as_ref().map_or_else(String::new, value);
        lines.push(
            format!("  {name:<13} {:>first$}  {before}", value(release))
                .trim_end()
                .to_owned(),
        );
    }
    lines.extend(curve(release, width));
    let style = match rollout.verdict {
        Verdict::Healthy => Style::new().green().bold(),
        Verdict::Watch => Style::new().yellow().bold(),
        Verdict::Failing => Style::new().red().bold(),
    };
    let verdict = match rollout.verdict {
        Verdict::Healthy => "healthy",
        Verdict::Watch => "watch",
        Verdict::Failing => "failing",
    };
    lines.push(String::new());
    let wrapped = wrapped(&format!("{verdict}: {}", plain(&rollout.sentence)), width);
    for (at, line) in wrapped.into_iter().enumerate() {
        lines.push(match at {
            0 => line.replacen(verdict, &style.apply_to(verdict).to_string(), 1),
            _ => line,
        });
    }
    lines
}

/// The adoption curve, in some lines.
fn curve(release: &Release, width: usize) -> Vec<String> {
    let points = &release.curve;
    if points.is_empty() {
        return Vec::new();
    }
    let step = points.len().div_ceil(16);
    let last = points.len() - 1;
    let shown = points
        .iter()
        .enumerate()
        .filter(|(at, _)| at % step == 0 || *at == last);
    let digits = number(release.devices).len();
    let columns = width
        .saturating_sub(2 + 20 + 2 + digits + 2)
        .min(LONGEST_BAR);
    let style = Style::new().green();
    let mut lines = vec![String::new(), heading("HAVE RUN IT")];
    lines.extend(shown.map(|(_, point)| {
        let bar = bar(share(point.running, release.devices), columns);
        let line = format!(
            "  {}  {:>digits$}  ",
            plain(&point.at),
            number(point.running)
        );
        format!("{line}{}", style.apply_to(bar))
            .trim_end()
            .to_owned()
    }));
    lines
}

/// `fleet mix`
pub fn mix(mix: &[Mix], width: Option<usize>) -> Vec<String> {
    let rows = mix.iter().map(|it| (&*it.day, &*it.version, it.devices));
    days(
        rows.collect(),
        "DEVICES BY VERSION",
        &Style::new().cyan(),
        room(width),
    )
}

/// `fleet errors`
pub fn errors(errors: &[Errors], width: Option<usize>) -> Vec<String> {
    if errors.is_empty() {
        return vec!["No device told of an error.".to_owned()];
    }
    let rows = errors.iter().map(|it| (&*it.day, &*it.code, it.devices));
    days(
        rows.collect(),
        "DEVICES BY ERROR",
        &Style::new().red(),
        room(width),
    )
}

fn days(rows: Vec<(&str, &str, u64)>, title: &str, style: &Style, width: usize) -> Vec<String> {
    let names = rows
        .iter()
        .map(|row| plain(row.1).chars().count())
        .max()
        .unwrap_or(0);
    let digits = rows
        .iter()
        .map(|row| number(row.2).len())
        .max()
        .unwrap_or(0);
    let most = rows.iter().map(|row| row.2).max().unwrap_or(0);
    let fixed = 2 + 10 + 2 + 2 + digits + 2;
    let names = names.min(width.saturating_sub(fixed).max(8));
    let columns = width.saturating_sub(fixed + names).min(LONGEST_BAR);
    let mut lines = vec![heading(title)];
    let mut before = "";
    for (day, name, devices) in rows {
        let shown = if day == before { "" } else { day };
        before = day;
        let bar = bar(share(devices, most), columns);
        let line = format!(
            "  {shown:<10}  {}  {:>digits$}  ",
            cell(name, names),
            number(devices)
        );
        lines.push(
            format!("{line}{}", style.apply_to(bar))
                .trim_end()
                .to_owned(),
        );
    }
    lines
}

/// Sentences, indented.
fn prose(text: &str, width: usize, lines: &mut Vec<String>) {
    let room = width.saturating_sub(2);
    lines.extend(wrapped(text, room).iter().map(|line| format!("  {line}")));
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { break };
        let fits = line.chars().count() + 1 + word.chars().count() <= width;
        if line.is_empty() {
            line.push_str(word);
        } else if fits {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{Point, Progress, Silent};

    fn fleet() -> Status {
        let counts = |rows: &[(&str, u64)]| {
            rows.iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect()
        };
        Status {
            at: "2026-11-20T08:15:00Z".into(),
            devices: 12_345,
            seen: counts(&[("24h", 12_000), ("7d", 12_300), ("30d", 12_345)]),
            versions: counts(&[("1.2.0", 345), ("1.3.0", 12_000)]),
            chips: counts(&[("esp32c3", 12_345)]),
            errors: counts(&[("net.dns", 7), ("image.digest", 3)]),
            failing: 10,
            silent: 45,
            silent_after: 604_800,
            silent_devices: vec![Silent {
                device: "\u{1b}[2J<script>".repeat(8),
                since: "2026-10-20T08:15:00Z".into(),
                version: "1.2.0".into(),
            }],
            rollout: Some(Progress {
                channel: "stable".into(),
                version: "1.3.0".into(),
                percent: Some(100.0),
                devices: 12_345,
                running: 12_000,
                share: 0.972,
            }),
            ..Status::default()
        }
    }

    #[test]
    fn the_status_fits_every_terminal_and_obeys_nobody() {
        for width in 40..200 {
            for line in status(&fleet(), Some(width)) {
                assert!(line.chars().count() <= width, "{width}: {line}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
        let text = status(&fleet(), Some(80)).join("\n");
        assert!(
            text.contains("12,345 devices as of 2026-11-20T08:15:00Z"),
            "{text}"
        );
        assert!(text.contains("  12,000   97.2 %  ██"), "{text}");
        assert!(text.contains("and 44 more"), "{text}");
    }

    #[test]
    fn a_rollout_has_its_verdict_and_its_curve() {
        let release = Release {
            version: "1.3.0".into(),
            devices: 100,
            tried: 50,
            failed: 1,
            failure_rate: 0.02,
            curve: (0..200)
                .map(|hour| Point {
                    at: "2026-11-20T08:15:00Z".into(),
                    running: hour / 4,
                })
                .collect(),
            ..Release::default()
        };
        let answer = Rollout {
            before: Some(release.clone()),
            release,
            verdict: Verdict::Healthy,
            sentence: "1 of 50 devices that tried 1.3.0 failed (2.0 %). Go on.".into(),
        };
        for width in [40, 80, 200] {
            let lines = rollout(&answer, Some(width));
            assert!(lines.len() < 40);
            for line in &lines {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        let text = rollout(&answer, Some(80)).join("\n");
        assert!(text.contains("failure rate"), "{text}");
        assert!(text.contains("Go on."), "{text}");
    }

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(0.0, 10), "");
        assert_eq!(bar(0.5, 10), "█████");
        assert_eq!(bar(1.0, 10), "██████████");
        assert_eq!(bar(0.0001, 10), "▏");
        assert_eq!(bar(7.0, 2), "██");
        assert_eq!(number(1_234_567), "1,234,567");
    }
}
