//! What the command prints: lines for people, or one JSON object per event.
//!
//! Every step is reported twice, once for each reader: [`Output::say`] prints for people only, [`Output::event`] for programs
//! only. Both end in `terminal.rs`, which makes texts from a bucket harmless.

pub mod help;
pub mod table;
pub mod terminal;
mod wrap;

use std::fmt::Display;
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{DecimalBytes, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use self::table::Table;
use self::terminal::Painted;
use crate::error::CliError;

/// Where a command reports what it does.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    /// Nobody reads it.
    silent: bool,
}

impl Output {
    /// Output for programs or for people.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            silent: false,
        }
    }

    /// Output for nobody: of steps that are a means to something else.
    pub fn silent() -> Self {
        Self {
            json: false,
            silent: true,
        }
    }

    /// Whether people read it.
    fn is_for_people(&self) -> bool {
        !self.json && !self.silent
    }

    /// Whether only a program reads it.
    pub fn is_for_programs(&self) -> bool {
        self.json
    }

    /// A line for people.
    pub fn say(&self, line: impl Display) {
        if self.is_for_people() {
            terminal::print(line);
        }
    }

    /// Sentences for people, which wrap where the terminal ends. Not for what is to be pasted.
    pub fn prose(&self, text: impl Display) {
        if self.is_for_people() {
            terminal::print_prose(text);
        }
    }

    /// A line for people after a mark, which may be coloured. Lines have no other colours.
    pub fn say_marked(&self, indent: &str, mark: &Painted, line: impl Display) {
        if self.is_for_people() {
            terminal::print_marked(indent, mark, line);
        }
    }

    /// A text for people or their tools, byte for byte.
    pub fn raw(&self, text: &str) {
        if self.is_for_people() {
            terminal::write(text.as_bytes());
        }
    }

    /// A table for people.
    pub fn table(&self, table: &Table) {
        if self.is_for_people() && !table.is_empty() {
            table.print();
        }
    }

    /// A heading for people.
    pub fn heading(&self, text: impl Display) {
        if self.is_for_people() {
            terminal::print("");
            let width = terminal::width().unwrap_or(usize::MAX);
            for line in wrap::at_spaces(&text.to_string(), width, width) {
                let line = line.trim_end();
                terminal::print_painted(&Painted::new(Style::new().bold(), line).for_stdout());
            }
        }
    }

    /// An event for programs: `fields`, an object, with its name as `event`.
    pub fn event(&self, name: &str, fields: Value) {
        if self.json {
            let mut object = serde_json::Map::new();
            object.insert("event".to_owned(), json!(name));
            if let Value::Object(fields) = fields {
                object.extend(fields);
            }
            terminal::print_json(&Value::Object(object));
        }
    }

    /// A failure, which ends the command.
    pub fn error(&self, error: &CliError) {
        self.trouble("error", Style::new().red().bold(), error);
    }

    /// A warning, which does not end the command.
    pub fn warning(&self, warning: &CliError) {
        self.trouble("warning", Style::new().yellow().bold(), warning);
    }

    fn trouble(&self, event: &str, style: Style, trouble: &CliError) {
        if self.json {
            let mut fields = json!({ "code": trouble.code, "message": trouble.message });
            if let Some(hint) = &trouble.hint {
                fields["hint"] = json!(hint);
            }
            self.event(event, fields);
        } else if !self.silent {
            terminal::tell("", &Painted::new(style, event), ":", &trouble.message);
            if let Some(hint) = &trouble.hint {
                let arrow = Painted::new(Style::new().cyan(), "→");
                terminal::tell("  ", &arrow, "", hint);
            }
        }
    }

    /// A wrong command line.
    pub fn usage_error(&self, message: &str) {
        self.error(&CliError::new("cli.usage", message));
    }

    /// Reports the progress of `label` towards `total` bytes: a bar on a terminal, a line for each quarter elsewhere, events for
    /// programs.
    pub fn progress(&self, label: &'static str, total: u64) -> Progress {
        self.progress_towards(label, total, true)
    }

    /// The same of something that has no bytes: see [`Progress::set_share`].
    pub fn progress_in_percent(&self, label: &'static str) -> Progress {
        self.progress_towards(label, SHARES, false)
    }

    fn progress_towards(&self, label: &'static str, total: u64, is_bytes: bool) -> Progress {
        let teller = if self.silent {
            Teller::Nobody
        } else if self.json {
            Teller::Events {
                told: Instant::now(),
                last: None,
            }
        } else if terminal::shows_bars() {
            let bar = ProgressBar::new(total);
            let template = match terminal::width() {
                Some(..100) => "  {prefix:<10} {wide_bar} {percent:>3}%",
                _ if !is_bytes => "  {prefix:<10} {bar:32} {percent:>3}%  {eta} left",
                _ => {
                    "  {prefix:<10} {bar:32} {percent:>3}%  {decimal_bytes} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left"
                }
            };
            let style = ProgressStyle::with_template(template);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(label);
            Teller::Bar(bar)
        } else {
            Teller::Lines { quarters: 0 }
        };
        Progress {
            out: *self,
            label,
            total,
            is_bytes,
            teller,
        }
    }
}

/// The parts of something that has no bytes.
const SHARES: u64 = 1000;

/// The progress of something.
pub struct Progress {
    out: Output,
    label: &'static str,
    total: u64,
    is_bytes: bool,
    teller: Teller,
}

enum Teller {
    Nobody,
    Bar(ProgressBar),
    Lines { quarters: u64 },
    Events { told: Instant, last: Option<u64> },
}

impl Progress {
    /// Sets the number of bytes done.
    pub fn set(&mut self, done: u64) {
        let Self {
            out,
            label,
            total,
            is_bytes,
            teller,
        } = self;
        match teller {
            Teller::Nobody => {}
            Teller::Bar(bar) => bar.set_position(done),
            Teller::Lines { quarters } => {
                let reached = done.saturating_mul(4).checked_div(*total).unwrap_or(4);
                if reached > *quarters {
                    *quarters = reached;
                    let percent = reached * 25;
                    if !*is_bytes {
                        out.say(format_args!("  {label:<10} {percent:>3}%"));
                        return;
                    }
                    let of = match terminal::width() {
                        Some(..60) => String::new(),
                        _ => format!(" of {}", bytes(*total)),
                    };
                    out.say(format_args!(
                        "  {label:<10} {percent:>3}%  {}{of}",
                        bytes(done)
                    ));
                }
            }
            // The first, the last, and a few per second.
            Teller::Events { told, last } => {
                let first_or_last = last.is_none() || done == *total;
                if *last != Some(done)
                    && (first_or_last || told.elapsed() >= Duration::from_millis(250))
                {
                    *told = Instant::now();
                    *last = Some(done);
                    out.event(
                        "progress",
                        json!({ "what": label, "done": done, "total": total }),
                    );
                }
            }
        }
    }

    /// Sets the share that is done, from 0 to 1.
    pub fn set_share(&mut self, share: f64) {
        self.set((share * SHARES as f64) as u64);
    }

    /// Ends it, and removes the bar.
    pub fn finish(self) {
        if let Teller::Bar(bar) = self.teller {
            bar.finish_and_clear();
        }
    }
}

/// Bytes for people, as the progress bar writes them: `1.20 MB`.
pub fn bytes(n: u64) -> String {
    DecimalBytes(n).to_string()
}

/// A number of things: `1 image`, `2 images`. For words that take an s.
pub fn count(n: impl Into<u128>, what: &str) -> String {
    match n.into() {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// A fact for people: its name in a column of its own, and its value. On a narrow terminal the value wraps.
pub fn fact(name: &str, column: usize, value: impl Display) -> String {
    table::fact(name, column, &value.to_string(), terminal::width())
}

/// A word for a POSIX shell.
pub fn for_shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':');
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sends logs to stderr: none by default, since everything important is printed; some with `-v`, all with `-vv`. `RUST_LOG`
/// overrides both.
pub fn init_logging(verbose: u8) {
    let default = match verbose {
        0 => "off",
        // The S3 service logs every 304 and 404 as an error.
        1 => "info,s3s=off",
        _ => "debug,s3s=off",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(terminal::Logs)
        .init();
}
