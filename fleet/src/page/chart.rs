//! The pictures: drawn as SVG without text, which may be stretched to any width, with the text beside them in HTML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use maud::{Markup, html};

use super::text::{clean, count, seconds};
use crate::answers::Release;
use crate::figures::{by_precedence, percent, share};

/// What stands for all that have no colour of their own.
const OTHERS: &str = "others";

/// The size of a picture's coordinates.
const WIDE: f64 = 1000.0;
const HIGH: f64 = 300.0;

/// How many days are labelled below a picture, at most.
const LABELS: usize = 5;

/// Numbers by day and by key.
pub(super) struct Series {
    /// The days, in order.
    days: Vec<String>,
    /// A key's number on each day; the key with the greatest numbers first.
    rows: Vec<(String, Vec<u64>)>,
}

impl Series {
    /// Sorts numbers by day and key into rows over these `days`. All but the `most` greatest keys are put into one.
    pub(super) fn new<'a>(
        days: &BTreeSet<&str>,
        numbers: impl Iterator<Item = (&'a str, &'a str, u64)>,
        most: usize,
    ) -> Self {
        let at: BTreeMap<_, _> = days
            .iter()
            .enumerate()
            .map(|(at, day)| (*day, at))
            .collect();
        let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (day, key, number) in numbers {
            let row = by_key
                .entry(clean(key))
                .or_insert_with(|| vec![0; days.len()]);
            if let Some(at) = at.get(day) {
                row[*at] += number;
            }
        }
        let mut rows: Vec<_> = by_key.into_iter().collect();
        let peak = |row: &[u64]| row.iter().copied().max().unwrap_or_default();
        rows.sort_by(|a, b| peak(&b.1).cmp(&peak(&a.1)).then(a.0.cmp(&b.0)));
        if rows.len() > most {
            let mut others = vec![0; days.len()];
            for (_, row) in rows.split_off(most) {
                others.iter_mut().zip(row).for_each(|(sum, it)| *sum += it);
            }
            rows.push((OTHERS.into(), others));
        }
        Self {
            days: days.iter().copied().map(clean).collect(),
            rows,
        }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Rows on top of one another, over time, with a legend.
pub(super) fn stacked(series: &Series, of: &str) -> Markup {
    if series.is_empty() {
        return nothing();
    }
    let days = series.days.len();
    // The highest version stays on top: it is what comes.
    let mut rows: Vec<_> = series.rows.iter().enumerate().collect();
    rows.sort_by(|(_, (a, _)), (_, (b, _))| by_precedence(a, b));
    let total = |day: usize| series.rows.iter().map(|(_, row)| row[day]).sum::<u64>();
    let most = (0..days).map(total).max().unwrap_or_default().max(1);
    let mut below = vec![0; days];
    let mut areas = Vec::new();
    for (colour, (name, row)) in rows {
        let above: Vec<u64> = below
            .iter()
            .zip(row)
            .map(|(below, it)| below + it)
            .collect();
        let place = |day: usize, number: u64| (across(day, days), up(number as f64, most as f64));
        let upper = (0..days).map(|day| place(day, above[day]));
        let lower = (0..days).rev().map(|day| place(day, below[day]));
        areas.push((colour, name, outline(upper.chain(lower)), row[days - 1]));
        below = above;
    }
    let ends = [series.days.first(), series.days.last()];
    let label = format!(
        "{of} by version from {} to {}",
        ends[0].map_or("", |day| day),
        ends[1].map_or("", |day| day)
    );
    html! {
        div .chart {
            (scale(&[count(most), count(most / 2), "0".into()]))
            (picture(&label, html! {
                @for (colour, name, path, last) in &areas {
                    path .(colour_of(*colour, name)) d=(format!("{path}Z")) { title { (name) ": " (count(*last)) " at the end" } }
                }
            }))
            (dates(&series.days))
        }
        ul .legend {
            @for (colour, name, _, last) in areas.iter().rev() {
                li { i .(colour_of(*colour, name)) {} (name) " " b { (count(*last)) } }
            }
        }
    }
}

/// How far releases came, by the time since each was published: the first one strong, the others faint.
pub(super) fn adoption(releases: &[&Release]) -> Markup {
    let curves: Vec<_> = releases.iter().map(|release| curve(release)).collect();
    let end = |curve: &[(f64, f64)]| curve.last().map_or(0.0, |(hours, _)| *hours);
    // The release before has had more time: what it did later is of no use here.
    let Some(hours) = curves
        .first()
        .map(|curve| end(curve))
        .filter(|end| *end > 0.0)
    else {
        return nothing();
    };
    let lines: Vec<_> = curves
        .iter()
        .zip(releases)
        .map(|(curve, release)| {
            let shown: Vec<_> = curve.iter().filter(|(at, _)| *at <= hours).collect();
            let points = shown
                .iter()
                .map(|(at, share)| (at / hours * WIDE, up(*share, 1.0)));
            let share = shown.last().map_or(0.0, |(_, share)| *share);
            (outline(points), share, &release.version)
        })
        .collect();
    html! {
        div .chart {
            (scale(&["100 %".into(), "50 %".into(), "0 %".into()]))
            (picture("the share of devices that have run the release, over time", html! {
                @for (number, (line, _, version)) in lines.iter().enumerate().rev() {
                    @if number == 0 {
                        path .area d=(format!("{line}L{WIDE:.0} {HIGH:.0}L0 {HIGH:.0}Z")) {}
                    }
                    path .(if number == 0 { "line" } else { "line before" }) d=(line) { title { (clean(version)) } }
                }
            }))
            div .dates { span { "0" } span { (after(hours / 2.0)) } span { (after(hours)) } }
        }
        ul .legend {
            @for (number, (_, share, version)) in lines.iter().enumerate() {
                li {
                    i .(if number == 0 { "is-release" } else { "is-before" }) {}
                    (clean(version)) " "
                    b { (percent(*share)) } " after " (after(hours))
                }
            }
        }
    }
}

/// One row for each key, one cell for each day; the more, the darker.
pub(super) fn heat(series: &Series) -> Markup {
    if series.is_empty() {
        return html! { p { "None." } };
    }
    let most = series.rows.iter().flat_map(|(_, row)| row).copied().max();
    let most = most.unwrap_or_default().max(1) as f64;
    // By root: one device of thousands should still be seen.
    let strength = |number: u64| (number as f64 / most).sqrt() * 0.85 + 0.15;
    html! {
        div .scroll {
            table .heat {
                tbody {
                    @for (name, row) in &series.rows {
                        tr {
                            th scope="row" { (name) }
                            @for (day, number) in series.days.iter().zip(row) {
                                @if *number == 0 {
                                    td {}
                                } @else {
                                    td title=(format!("{day}: {} devices", count(*number))) {
                                        i style=(format!("opacity:{:.2}", strength(*number))) {}
                                        span { (count(*number)) }
                                    }
                                }
                            }
                        }
                    }
                    tr { th {} td colspan=(series.days.len()) { (dates(&series.days)) } }
                }
            }
        }
    }
}

/// The points of a release's curve: hours since its beginning, and the share of devices.
fn curve(release: &Release) -> Vec<(f64, f64)> {
    let first = release.since.as_deref().and_then(seconds);
    let first = first.or_else(|| seconds(&release.curve.first()?.at));
    let points = release.curve.iter().filter_map(|point| {
        let hours = seconds(&point.at)?.checked_sub(first?)? as f64 / 3600.0;
        Some((hours, share(point.running, release.devices)))
    });
    points.collect()
}

/// The class of a row's colour.
fn colour_of(number: usize, name: &str) -> String {
    match name {
        OTHERS => "c-others".into(),
        _ => format!("c{number}"),
    }
}

fn across(day: usize, days: usize) -> f64 {
    match days {
        // One day alone is a bar.
        1 => 0.0,
        days => day as f64 / (days - 1) as f64 * WIDE,
    }
}

fn up(number: f64, most: f64) -> f64 {
    HIGH - number / most * HIGH
}

/// A path through points.
fn outline(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut path = String::new();
    for (number, (x, y)) in points.enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' });
    }
    path
}

/// A picture that stretches, with lines at the labels of its scale.
fn picture(label: &str, shapes: Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDE:.0} {HIGH:.0}")) preserveAspectRatio="none" role="img" aria-label=(label) {
            (shapes)
            @for y in [0.0, HIGH / 2.0, HIGH] {
                line .grid x1="0" x2=(WIDE) y1=(y) y2=(y) {}
            }
        }
    }
}

/// The scale beside a picture, from above.
fn scale(labels: &[String; 3]) -> Markup {
    html! { div .scale { @for label in labels { span { (label) } } } }
}

/// Some of the days, below a picture.
fn dates(days: &[String]) -> Markup {
    let steps = days.len().min(LABELS);
    let shown: Vec<_> = match steps {
        0 | 1 => days.iter().collect(),
        steps => (0..steps)
            .map(|step| &days[step * (days.len() - 1) / (steps - 1)])
            .collect(),
    };
    html! {
        div .dates {
            // The year is told by the first one.
            @for (number, day) in shown.into_iter().enumerate() {
                span { (if number == 0 { day } else { day.get(5..).unwrap_or(day) }) }
            }
        }
    }
}

/// `12 h`, `3.5 days`
fn after(hours: f64) -> String {
    match hours {
        hours if hours < 48.0 => format!("{hours:.0} h"),
        hours => {
            let days = (hours / 12.0).round() / 2.0;
            format!("{days} days")
        }
    }
}

fn nothing() -> Markup {
    html! { p { "Nothing to show yet." } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_rows_are_put_into_one_and_nothing_is_lost() {
        let numbers = [
            ("2026-11-02", "b", 5),
            ("2026-11-01", "a", 1),
            ("2026-11-01", "b", 2),
            ("2026-11-02", "c", 3),
        ];
        let days = numbers.iter().map(|(day, ..)| *day).collect();
        let series = Series::new(&days, numbers.into_iter(), 1);
        assert_eq!(series.days, ["2026-11-01", "2026-11-02"]);
        let rows = [("b".into(), vec![2, 5]), (OTHERS.into(), vec![1, 3])];
        assert_eq!(series.rows, rows);
    }

    #[test]
    fn versions_stand_in_their_order() {
        let mut versions = ["1.10.0", "unknown", "1.9.0", OTHERS, "2.0.0"];
        versions.sort_by(|a, b| by_precedence(a, b));
        assert_eq!(versions, [OTHERS, "unknown", "1.9.0", "1.10.0", "2.0.0"]);
    }

    #[test]
    fn a_picture_stays_within_its_frame() {
        let days: Vec<_> = (1..=30).map(|day| format!("2026-11-{day:02}")).collect();
        let days: BTreeSet<_> = days.iter().map(String::as_str).collect();
        let numbers = days
            .iter()
            .flat_map(|day| [(*day, "1.0.0", 7), (*day, "1.1.0", 9)]);
        let series = Series::new(&days, numbers, 6);
        let html = stacked(&series, "devices").into_string();
        for path in html.split(" d=\"").skip(1) {
            let path = path.split('"').next().unwrap();
            for place in path.split(['M', 'L', 'Z']).filter(|it| !it.is_empty()) {
                let (x, y) = place.split_once(' ').unwrap();
                assert!((0.0..=WIDE).contains(&x.parse().unwrap()), "{path}");
                assert!((0.0..=HIGH).contains(&y.parse().unwrap()), "{path}");
            }
        }
        assert_eq!(html.matches("<path").count(), 2);
    }
}
