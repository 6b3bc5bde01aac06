//! The report as one page of HTML, which needs nothing else: no script, no font, no picture from elsewhere.
//!
//! It is for a phone and a desktop, in light and dark, and for paper. What devices say of themselves goes through `text::clean`
//! and is escaped; and the page's own policy keeps a browser from fetching or running anything.

mod chart;
mod text;

use std::collections::BTreeSet;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::chart::Series;
use self::text::{clean, count, day, moment, percent, span};
use crate::answers::{Counts, Release, Report, Rollout, Silent, Status, UNKNOWN, Verdict};

/// Nothing is fetched, and nothing is run. The style is the page's own.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// How many versions have a colour of their own. The others share one.
const COLOURED: usize = 6;

/// How many rows a list has before the rest is counted only.
const ROWS: usize = 20;

/// The page. `title` says whose fleet it is: the bucket, or the folder of the logs.
pub fn page(report: &Report, title: &str) -> String {
    let Report {
        status,
        rollout,
        mix,
        errors,
    } = report;
    let title = clean(title);
    // Both pictures over time have the same days.
    let days = mix.iter().map(|it| &it.day[..]);
    let days: BTreeSet<_> = days.chain(errors.iter().map(|it| &it.day[..])).collect();
    let versions = mix
        .iter()
        .map(|it| (&it.day[..], &it.version[..], it.devices));
    let versions = Series::new(&days, versions, COLOURED);
    let codes = errors
        .iter()
        .map(|it| (&it.day[..], &it.code[..], it.devices));
    let codes = Series::new(&days, codes, ROWS);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Fleet · " (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    h1 { "Fleet" }
                    p { b { (title) } " · as of " (moment(&status.at)) }
                }
                main {
                    (tiles(status))
                    @if let Some(rollout) = rollout { (release(rollout, status)) }
                    section {
                        h2 { "Versions over time" }
                        p .note { "Devices by the version that they ran at the end of each day, as far as the logs tell." }
                        (chart::stacked(&versions, "devices"))
                    }
                    section {
                        h2 { "Errors" }
                        p .note { "How many devices told of each error, by day. The darker, the more." }
                        (chart::heat(&codes))
                    }
                    section .columns {
                        (bars("Versions", &status.versions, status.devices))
                        (bars("Failing now, by error", &status.errors, status.devices))
                        (bars("Channels", &status.channels, status.devices))
                        (bars("Chips", &status.chips, status.devices))
                        (bars("Bootloaders", &status.boot, status.devices))
                    }
                    (silent(status))
                }
                footer {
                    p {
                        "Every number counts devices by what they said of themselves in the bucket's access logs. "
                        @if status.without_id > 0 {
                            (count(status.without_id)) " requests came from devices that do not send their ids: they are not counted. "
                        }
                        "Times are UTC."
                    }
                    p { "Made by " code { "s3ota fleet --html" } "." }
                }
            }
        }
    };
    page.into_string()
}

/// The figures that are looked at first.
fn tiles(status: &Status) -> Markup {
    let seen = |time| status.seen.get(time).copied().unwrap_or_default();
    let after = span(status.silent_after);
    let tile = |kind: &str, number: u64, name: &str, note: &str| {
        let kind = if number == 0 { "" } else { kind };
        html! {
            li .(kind) {
                b { (count(number)) } span { (name) }
                @if !note.is_empty() { small { (note) } }
            }
        }
    };
    let of_all = |number| match status.devices {
        0 => String::new(),
        all => percent(number, all),
    };
    html! {
        ul .tiles {
            (tile("", status.devices, "devices", "in the logs"))
            (tile("", seen("24h"), "seen in 24 h", &of_all(seen("24h"))))
            (tile("", seen("7d"), "in 7 days", &of_all(seen("7d"))))
            (tile("", seen("30d"), "in 30 days", &of_all(seen("30d"))))
            (tile("busy", status.on_trial, "on trial", "not confirmed yet"))
            (tile("warn", status.rolled_back, "rolled back", "run the firmware before"))
            (tile("warn", status.failing, "failing", "in their last attempt"))
            (tile("bad", status.stuck, "stuck", "on one error, again and again"))
            (tile("warn", status.silent, "silent", &format!("for more than {after}")))
        }
    }
}

/// How the newest release does, beside the one before.
fn release(rollout: &Rollout, status: &Status) -> Markup {
    let Rollout {
        release,
        before,
        verdict,
        sentence,
    } = rollout;
    let (kind, word) = match verdict {
        Verdict::Healthy => ("good", "healthy"),
        Verdict::Watch => ("warn", "watch"),
        Verdict::Failing => ("bad", "failing"),
    };
    let progress = status.rollout.as_ref();
    let progress = progress.filter(|progress| progress.version == release.version);
    let releases: Vec<&Release> = std::iter::once(release).chain(before).collect();
    html! {
        section {
            h2 { "Release " (clean(&release.version)) }
            p .verdict { b .(kind) { (word) } " " (text::sentence(sentence)) }
            @if let Some(progress) = progress {
                p .note {
                    (count(progress.running)) " of " (count(progress.devices)) " devices on "
                    (clean(&progress.channel)) " run it: " (percent(progress.running, progress.devices))
                    @if let Some(percent) = progress.percent { ". It is rolled out to " (percent) " %" }
                    "."
                }
                div .progress {
                    div style=(format!("width:{:.2}%", progress.share.clamp(0.0, 1.0) * 100.0)) {}
                    @if let Some(percent) = progress.percent {
                        i style=(format!("left:{:.2}%", percent.clamp(0.0, 100.0))) title=(format!("rolled out to {percent} %")) {}
                    }
                }
            }
            h3 { "Adoption" }
            p .note { "The share of all devices that have run it, since " @match &release.since {
                Some(since) => { (moment(since)) }
                None => { "it was first seen" }
            } "." }
            (chart::adoption(&releases))
            div .scroll {
                table {
                    thead {
                        tr {
                            th {} th { "tried it" } th { "run it" } th { "confirmed" } th { "failed" } th { "failure rate" }
                        }
                    }
                    tbody {
                        @for release in &releases {
                            tr {
                                th scope="row" { (clean(&release.version)) }
                                td { (count(release.tried)) }
                                td { (count(release.running)) }
                                td { (count(release.confirmed)) }
                                td { (count(release.failed)) }
                                td { (percent(release.failed, release.tried)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Values by how many devices have them, the most first.
fn bars(title: &str, counts: &Counts, all: u64) -> Markup {
    let mut rows: Vec<_> = counts.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let others = rows.split_off(rows.len().min(ROWS));
    let most = rows.first().map_or(1, |(_, most)| (**most).max(1));
    html! {
        @if !rows.is_empty() {
            div {
                h2 { (title) }
                dl .bars {
                    @for (name, number) in rows {
                        dt { (clean(name)) }
                        dd {
                            span style=(format!("width:{:.2}%", *number as f64 / most as f64 * 100.0)) {}
                            b { (count(*number)) } small { (percent(*number, all)) }
                        }
                    }
                }
                @if !others.is_empty() {
                    p .note { "and " (count(others.len() as u64)) " others, on "
                        (count(others.iter().map(|(_, number)| **number).sum())) " devices" }
                }
            }
        }
    }
}

/// Who has not been seen for long.
fn silent(status: &Status) -> Markup {
    let shown = &status.silent_devices[..];
    let row = |it: &Silent| {
        html! {
            tr {
                td { code { (clean(&it.device)) } }
                td { (day(&it.since)) }
                td { (text::ago(&it.since, &status.at)) }
                td { (if it.version.is_empty() { UNKNOWN.into() } else { clean(&it.version) }) }
            }
        }
    };
    html! {
        @if !shown.is_empty() {
            section {
                h2 { "Silent devices" }
                p .note { "Not seen for more than " (span(status.silent_after)) ", the longest silent first." }
                div .scroll {
                    table .left {
                        thead { tr { th { "device" } th { "last seen" } th { "silent for" } th { "version" } } }
                        tbody { @for it in shown { (row(it)) } }
                    }
                }
                @if status.silent > shown.len() as u64 {
                    p .note { "and " (count(status.silent - shown.len() as u64)) " others" }
                }
            }
        }
    }
}
