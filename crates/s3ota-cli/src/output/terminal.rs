//! The only way to the terminal: nothing else in the command writes to stdout or stderr.
//!
//! Texts from a bucket, a server or a file may contain characters that a terminal obeys instead of showing them. ESC and C1 begin
//! commands that rename the window, write to the shell's input or overwrite earlier lines; `\r` overwrites a line; bidirectional
//! overrides and characters without width make a text read as another one (CVE-2021-42574). So every text is made harmless
//! here, at the bottom, where no command can bypass it: such a character is shown as `\u{1b}`. Colours are added after that.
//!
//! In JSON the same characters become JSON escapes. A program reads the true text, and a terminal obeys none of it.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::Duration;

use console::{Style, Term};
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use crate::output::wrap;

/// Why stdout and stderr take nothing more, since that happened.
static LOST: [OnceLock<io::Error>; 2] = [OnceLock::new(), OnceLock::new()];

/// Writes to stdout. After the first failure the rest is dropped: the command goes on with its work, and [`lost`] tells at its end.
fn stdout(bytes: &[u8]) {
    write_or_lose(&mut io::stdout().lock(), bytes, &LOST[0]);
}

/// The same to stderr.
fn stderr(text: &str) {
    write_or_lose(&mut io::stderr().lock(), text.as_bytes(), &LOST[1]);
}

fn write_or_lose(stream: &mut impl Write, bytes: &[u8], lost: &OnceLock<io::Error>) {
    if lost.get().is_none()
        && let Err(error) = stream.write_all(bytes).and_then(|()| stream.flush())
    {
        let _ = lost.set(error);
    }
}

/// Why some of the output is lost: the disk is full, or its reader has gone away (`| head`). `None` if all of it was written.
pub fn lost() -> Option<&'static io::Error> {
    LOST.iter().find_map(OnceLock::get)
}

/// Ends once output is lost.
pub async fn until_lost() {
    while lost().is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Prints a text to stdout and ends the line. Line breaks in it are the command's own.
pub fn print(text: impl Display) {
    stdout(format!("{}\n", lines(&text.to_string())).as_bytes());
}

/// Prints lines to stdout, each of which wraps at spaces where the terminal ends, with its indentation.
pub fn print_prose(text: impl Display) {
    let text = text.to_string();
    let wrapped = lines(&text)
        .split('\n')
        .fold(String::new(), |mut all, line| {
            let indent = line.len() - line.trim_start_matches(' ').len();
            let (margin, line) = line.split_at(indent);
            let line = hanging(line, width(), indent, indent);
            let _ = writeln!(all, "{margin}{line}");
            all
        });
    stdout(wrapped.replace(wrap::NO_BREAK, " ").as_bytes());
}

/// Prints text to stdout after a coloured mark. On a narrow terminal it wraps, and goes on below its beginning.
pub fn print_marked(indent: &str, mark: &Painted, text: impl Display) {
    let text = text.to_string();
    let hang = indent.len() + mark.width() + 1;
    let text = hanging(&one_line(&text), width(), hang, hang);
    stdout(format!("{indent}{} {text}\n", mark.for_stdout()).as_bytes());
}

/// Prints a line that is painted already, made of [`Painted`] only.
pub(crate) fn print_painted(line: &str) {
    stdout(format!("{line}\n").as_bytes());
}

/// Prints an object for programs: one line of JSON.
pub fn print_json(value: &Value) {
    stdout(format!("{}\n", json(&value.to_string())).as_bytes());
}

/// Writes bytes to stdout as they are, for the next tool. On a terminal they are made harmless.
pub fn write(bytes: &[u8]) {
    if io::stdout().is_terminal() {
        stdout(lines(&String::from_utf8_lossy(bytes)).as_bytes());
    } else {
        stdout(bytes);
    }
}

/// Writes to stderr for people, after a coloured mark. Further lines of the text are indented, so that none can pass for one of
/// the command's own.
pub fn tell(indent: &str, mark: &Painted, colon: &str, text: &str) {
    let width = columns(&Term::stderr());
    let mut room = indent.len() + mark.width() + colon.len() + 1;
    let hang = indent.len() + 2;
    let mut told = String::new();
    for (number, line) in lines(text).split('\n').enumerate() {
        if number > 0 {
            room = hang;
            let _ = write!(told, "\n{:hang$}", "");
        }
        told.push_str(&hanging(line, width, room, hang));
    }
    stderr(&format!("{indent}{}{colon} {told}\n", mark.for_stderr()));
}

/// A line that goes on below after `hang` columns where the terminal ends. `first` columns of it are taken already.
fn hanging(line: &str, width: Option<usize>, first: usize, hang: usize) -> String {
    let Some(width) = width else {
        return line.to_owned();
    };
    let lines = wrap::at_spaces(
        line,
        width.saturating_sub(first),
        width.saturating_sub(hang),
    );
    lines.join(&format!("\n{:hang$}", ""))
}

/// Writes to stderr for people, with the line breaks as they are: questions and usage.
pub fn tell_plain(text: &str) {
    stderr(&format!("{}\n", lines(text)));
}

/// Prints the usage, or what is wrong with the command line: in colours, unless something in it has to be made harmless.
pub fn usage(usage: &clap::Error) {
    let text = usage.render();
    let has_colours = match usage.use_stderr() {
        true => console::colors_enabled_stderr(),
        false => console::colors_enabled(),
    };
    let painted = text.ansi().to_string();
    let text = match has_colours && is_painted_only(&painted) {
        true => painted,
        false => lines(&text.to_string()).into_owned(),
    };
    // The examples do not break anywhere else.
    let text = text.replace(wrap::NO_BREAK, " ");
    match usage.use_stderr() {
        true => stderr(&text),
        false => stdout(text.as_bytes()),
    }
}

/// Whether the only effect of a text on a terminal is colours.
fn is_painted_only(text: &str) -> bool {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default();
    let harmless = |text: &str| lines(text) == text;
    harmless(first)
        && parts.all(|part| {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
            rest.strip_prefix('m').is_some_and(harmless)
        })
}

/// Whether there is a user who can be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a yes-or-no question. Anything but a yes is a no.
pub fn agrees(question: &str) -> bool {
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{} [y/N] ", one_line(question));
    let _ = stderr.flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Asks for a secret, which is not shown while it is typed. `None` if there is no user to ask.
pub fn ask_secret(question: &str) -> Option<io::Result<String>> {
    let terminal = Term::stderr();
    terminal.is_term().then(|| {
        terminal.write_str(&one_line(question))?;
        terminal.read_secure_line()
    })
}

/// The columns for what is printed: COLUMNS if it is set, or else those of the terminal; `None` where stdout is a file or a pipe.
pub fn width() -> Option<usize> {
    columns(&Term::stdout())
}

fn columns(terminal: &Term) -> Option<usize> {
    let said = std::env::var("COLUMNS").ok();
    let said = said.and_then(|columns| columns.trim().parse().ok());
    let seen = || terminal.is_term().then(|| usize::from(terminal.size().1));
    // A terminal that does not know its width says 0.
    let known = |columns: &usize| *columns > 0;
    said.filter(known).or_else(|| seen().filter(known))
}

/// Whether stderr is a terminal, which can show a moving bar.
pub fn shows_bars() -> bool {
    io::stderr().is_terminal()
}

/// Reports panics in the same way: they may contain a server's words.
pub fn tame_panics() {
    std::panic::set_hook(Box::new(|panic| {
        tell(
            "",
            &Painted::new(Style::new().red().bold(), "bug"),
            ":",
            &panic.to_string(),
        );
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            tell_plain(&trace.to_string());
        }
    }));
}

/// Text in a colour. The text is harmless, and the colour is the command's.
#[derive(Debug, Clone, Default)]
pub struct Painted {
    text: String,
    style: Style,
}

impl Painted {
    /// One line of text in a style.
    pub fn new(style: Style, text: &str) -> Self {
        Self {
            text: one_line(text).into_owned(),
            style,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text alone.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A part of the text in the same style.
    pub fn with_text(&self, text: &str) -> Self {
        Self::new(self.style.clone(), text)
    }

    /// How many columns it takes.
    pub fn width(&self) -> usize {
        wrap::width(&self.text)
    }

    /// For stdout: with its colour if that is a terminal.
    pub fn for_stdout(&self) -> String {
        self.style.apply_to(&self.text).to_string()
    }

    /// For stderr: with its colour if that is a terminal.
    fn for_stderr(&self) -> String {
        self.style
            .clone()
            .for_stderr()
            .apply_to(&self.text)
            .to_string()
    }
}

impl From<String> for Painted {
    fn from(text: String) -> Self {
        Self::new(Style::new(), &text)
    }
}

impl From<&str> for Painted {
    fn from(text: &str) -> Self {
        Self::new(Style::new(), text)
    }
}

/// The writer for logs: to stderr, each event harmless.
#[derive(Debug, Clone, Copy)]
pub struct Logs;

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Logs {
    /// Writes a whole event, with the end of its line.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        writeln!(io::stderr(), "{}", indented(&lines(text)))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A text that a terminal shows and does not obey; its lines stay lines.
pub fn lines(text: &str) -> Cow<'_, str> {
    replace(text, |c, out| match c {
        '\n' => out.push('\n'),
        c => shown(c, out),
    })
}

/// The same in one line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    replace(text, |c, out| match c {
        '\n' => out.push(' '),
        c => shown(c, out),
    })
}

fn shown(c: char, out: &mut String) {
    match c {
        '\t' => out.push(' '),
        c => out.extend(c.escape_unicode()),
    }
}

/// JSON that a terminal does not obey. Such characters occur only in its strings, where an escape means the same.
fn json(text: &str) -> Cow<'_, str> {
    replace(text, |c, out| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    })
}

fn replace(text: &str, with: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 32);
    for c in text.chars() {
        if is_obeyed(c) {
            with(c, &mut out);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n  ")
}

/// Whether a terminal does anything but show a character: Unicode's controls (C0, DEL, C1), line and paragraph separators, and
/// characters without a shape that only change how others are shown (the general categories Cc, Zl, Zp and, except for visible
/// signs, Cf; and the blank fillers of Hangul). Variation selectors, which emoji need, stay.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            // Without width, and direction marks.
            | '\u{200b}'..='\u{200f}'
            // Line and paragraph separators, then embeddings and overrides.
            | '\u{2028}'..='\u{202e}'
            // Invisible operators, isolates, and their predecessors.
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\rb\u{202e}c\u{2066}d\u{200b}e\u{2028}f\u{7f}g\u{e0041}\u{8}";

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_an_escape() {
        let shown = lines(HOSTILE);
        assert!(!shown.contains(is_obeyed), "{shown}");
        assert!(shown.starts_with(r"a\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{d}b\u{202e}c"));
        assert_eq!(lines("one\ntwo\tthree"), "one\ntwo three");
        assert_eq!(one_line("one\ntwo"), "one two");
        for harmless in ["Zoë 🦀 ❤\u{fe0f} שלום ١٢٣", "", "a b"] {
            assert_eq!(lines(harmless), harmless);
        }
    }

    #[test]
    fn json_says_the_same_to_programs_and_nothing_to_a_terminal() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "\"\\u202e"] });
        let text = value.to_string();
        let harmless = json(&text);
        assert!(!harmless.contains(is_obeyed), "{harmless}");
        assert_eq!(serde_json::from_str::<Value>(&harmless).unwrap(), value);
    }

    #[test]
    fn paint_is_put_on_text_that_is_harmless() {
        let painted = Painted::new(Style::new().red().force_styling(true), HOSTILE);
        let text = painted.for_stdout();
        let inner = text.strip_prefix("\u{1b}[31m").unwrap();
        let inner = inner.strip_suffix("\u{1b}[0m").unwrap();
        assert!(!inner.contains(is_obeyed), "{inner}");
    }

    #[test]
    fn coloured_help_differs_from_what_hides_in_an_argument() {
        assert!(is_painted_only("plain\n"));
        assert!(is_painted_only(
            "\u{1b}[1m\u{1b}[38;5;9merror:\u{1b}[0m no\n"
        ));
        for hidden in [
            HOSTILE,
            "\u{1b}[1mx\u{1b}[2J",
            "\u{1b}[0m\u{9b}2J",
            "\u{1b}c",
            "\u{1b}[1m\u{202e}",
        ] {
            assert!(!is_painted_only(hidden), "{hidden:?}");
        }
    }

    #[test]
    fn nothing_but_this_file_writes_to_the_terminal() {
        // Anything that writes elsewhere, or paints text that was not made harmless, bypasses this file.
        let ways = [
            "println!(",
            "print!(",
            "dbg!(",
            "io::stdout()",
            "io::stderr()",
            "Term::",
            "console::style",
        ];
        let mut folders = vec![std::path::PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src"
        ))];
        let mut seen = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                // The template's files are another program's.
                if path.ends_with("project/template") {
                    continue;
                }
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "rs")
                    && !path.ends_with("terminal.rs")
                {
                    seen += 1;
                    let source = std::fs::read_to_string(&path).unwrap();
                    for way in ways {
                        assert!(!source.contains(way), "{}: {way}", path.display());
                    }
                }
            }
        }
        assert!(seen > 50, "only {seen} sources");
    }
}
