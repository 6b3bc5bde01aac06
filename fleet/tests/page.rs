//! The page: that it needs nothing else, runs nothing, and is what the answers say.

mod samples;

use s3ota_fleet::answers::Report;
use s3ota_fleet::page::page;
use samples::{HOSTILE, hostile, report};

#[test]
fn what_devices_say_is_text_and_nothing_else() {
    let html = page(&hostile(), HOSTILE[0]);
    let tame = page(&report(), "s3://logs");
    for tag in ["<script", "<img", "<svg", "<style", "</style"] {
        let count = |html: &str| html.matches(tag).count();
        assert_eq!(count(&html), count(&tame), "{tag}");
    }
    let is_plain =
        |c: char| c == '\n' || !(c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
    assert!(html.chars().all(is_plain));
}

#[test]
fn the_page_needs_nothing_else() {
    let html = page(&report(), "s3://logs");
    for from_elsewhere in [
        "http:", "https:", "src=", "href=", "@import", "url(", "<script",
    ] {
        assert!(!html.contains(from_elsewhere), "{from_elsewhere}");
    }
    assert!(html.len() < 200_000, "{} bytes", html.len());
}

#[test]
fn a_fleet_of_nothing_has_a_page_too() {
    let html = page(&Report::default(), "");
    assert!(html.contains("Nothing to show yet."));
}

#[test]
fn the_figures_of_the_answers_are_on_the_page() {
    let html = page(&report(), "s3://logs/lamp");
    for text in [
        "s3://logs/lamp",
        "as of 2026-11-28 14:05",
        "<b>10,000</b><span>devices</span>",
        "<b>31</b><span>on trial</span>",
        "flash.write",
        "sensor-0000",
        "1.4.0",
        "healthy",
    ] {
        assert!(html.contains(text), "{text}");
    }
}
