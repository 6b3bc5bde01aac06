//! How far the reading is: a bar on a terminal, and nothing elsewhere.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar with rate and time left.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// On stderr, if that is a terminal and `shown`.
    pub fn new(shown: bool) -> Self {
        let bar = ProgressBar::no_length();
        let target = match shown && std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        bar.set_draw_target(target);
        let template = "  reading logs  {wide_bar} {percent:>3}%  {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// What is to be read.
    pub fn begin(&self, bytes: u64) {
        self.0.set_length(bytes);
        self.0.reset();
    }

    /// What has been.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Removes the bar.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}
