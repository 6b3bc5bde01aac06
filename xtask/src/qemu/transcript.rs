//! The output of all programs, with speaker and time: for the terminal, and complete in a file.

use std::fmt::Display;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Result, paths};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The emulated chip, on its serial port.
    Device,
    /// The emulator itself, on its stderr.
    Emulator,
    /// The S3 server.
    Server,
    /// This program: it publishes, and cuts the power.
    Harness,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Device => "device",
            Who::Emulator => "qemu",
            Who::Server => "server",
            Who::Harness => "harness",
        }
    }

    /// The colour, as an ANSI sequence selects it.
    fn colour(self) -> &'static str {
        match self {
            Who::Device => "\x1b[36m",
            Who::Emulator => "\x1b[31m",
            Who::Server => "\x1b[35m",
            Who::Harness => "\x1b[1;33m",
        }
    }
}

/// The transcript of a run.
///
/// Scenarios that run at the same time are kept apart: each has its own [`Part`], which goes to the file as a whole.
#[derive(Debug)]
pub struct Transcript {
    began: Instant,
    file: Mutex<File>,
    coloured: bool,
}

impl Transcript {
    /// Starts one in a file.
    pub fn create(path: &Path) -> Result<Self> {
        path.parent().map_or(Ok(()), paths::make_dir)?;
        let file = File::create(path).map_err(|error| paths::about(path, &error))?;
        Ok(Self {
            began: Instant::now(),
            file: Mutex::new(file),
            coloured: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        })
    }

    /// A line for the terminal and the file.
    pub fn say(&self, line: impl Display) {
        let mut file = self.file();
        print(line.to_string());
        // If the disk is full, the terminal still has it.
        let _ = writeln!(file, "{line}");
    }

    /// A part with a heading. A `live` one is shown as it runs, others only if they fail.
    pub fn part(&self, heading: impl Display, live: bool) -> Part<'_> {
        let mut part = Part {
            transcript: self,
            text: String::new(),
            shown: String::new(),
            live,
        };
        part.add(format!("\n── {heading}"), format!("\n── {heading}"));
        part
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The output of one scenario.
#[derive(Debug)]
pub struct Part<'t> {
    transcript: &'t Transcript,
    /// For the file.
    text: String,
    /// For the terminal.
    shown: String,
    live: bool,
}

impl Part<'_> {
    /// Adds a line.
    pub fn line(&mut self, who: Who, text: impl Display) {
        let at = self.transcript.began.elapsed();
        let text = text.to_string();
        let coloured = self.transcript.coloured;
        self.add(
            format_line(at, who, &text, false),
            format_line(at, who, &text, coloured),
        );
    }

    /// Ends the part. If it failed, it is shown on the terminal, unless it has been already.
    pub fn end(self, failed: bool) {
        // One at a time, on the terminal and in the file.
        let mut file = self.transcript.file();
        let _ = file.write_all(self.text.as_bytes());
        if failed && !self.live {
            print(self.shown);
        }
    }

    fn add(&mut self, text: String, shown: String) {
        if self.live {
            print(shown);
        } else {
            self.shown.push_str(&shown);
            self.shown.push('\n');
        }
        self.text.push_str(&text);
        self.text.push('\n');
    }
}

/// Prints to stdout. If it is closed, the run continues without it.
fn print(text: String) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end_matches('\n'));
}

/// `  12.345  device   text`.
fn format_line(at: Duration, who: Who, text: &str, coloured: bool) -> String {
    let seconds = at.as_secs_f64();
    let name = who.name();
    if coloured {
        let colour = who.colour();
        format!("\x1b[2m{seconds:9.3}\x1b[0m  {colour}{name:<7}\x1b[0m  {text}")
    } else {
        format!("{seconds:9.3}  {name:<7}  {text}")
    }
}

/// `text` without colour sequences and other control characters.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\x1b' && characters.next_if_eq(&'[').is_some() {
            // Parameters, up to the letter that ends the sequence (ECMA-48, 5.4).
            for parameter in characters.by_ref() {
                if ('\x40'..='\x7e').contains(&parameter) {
                    break;
                }
            }
        } else if !character.is_control() || character == '\t' {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_when_and_who_in_columns() {
        let at = Duration::from_millis(12_345);
        assert_eq!(
            format_line(at, Who::Device, "INFO - hello", false),
            "   12.345  device   INFO - hello"
        );
        assert_eq!(
            plain(&format_line(at, Who::Server, "GET", true)),
            format_line(at, Who::Server, "GET", false)
        );
    }

    #[test]
    fn colours_of_the_bootloader_are_taken_off() {
        assert_eq!(
            plain("\x1b[0;32mI (24) boot: hello\x1b[0m\r"),
            "I (24) boot: hello"
        );
        assert_eq!(plain("no end \x1b[0;3"), "no end ");
        assert_eq!(plain("\u{fffd}x\x07"), "\u{fffd}x");
    }

    #[test]
    fn parts_that_go_on_at_once_are_whole_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/transcript.txt");
        let transcript = Transcript::create(&path).unwrap();
        let (mut one, mut two) = (transcript.part("one", false), transcript.part("two", false));
        one.line(Who::Device, "a");
        two.line(Who::Device, "b");
        one.line(Who::Server, "c");
        two.end(false);
        one.end(false);
        let text = std::fs::read_to_string(&path).unwrap();
        let words: Vec<_> = text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| line.rsplit("  ").next().unwrap())
            .collect();
        assert_eq!(words, ["── two", "b", "── one", "a", "c"]);
    }
}
