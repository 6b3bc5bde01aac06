//! The way to the terminal: whatever comes from logs, files and servers passes through here and is harmless behind it.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use console::{Style, Term};

/// A text that a terminal shows and does not obey: anything that is not plainly visible is shown as `\u{1b}`.
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_plain =
        |c: char| c == ' ' || c.is_ascii_graphic() || (!c.is_ascii() && c.is_alphanumeric());
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) || "…·–’→█▉▊▋▌▍▎▏".contains(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    Cow::Owned(shown)
}

/// The columns of the terminal: COLUMNS if it is set; `None` where stdout is a file or a pipe.
pub fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS")
        .ok()
        .and_then(|it| it.trim().parse().ok());
    let seen = || {
        io::stdout()
            .is_terminal()
            .then(|| usize::from(Term::stdout().size().1))
    };
    said.filter(|it| *it > 0)
        .or_else(|| seen().filter(|it| *it > 0))
}

/// Prints lines that are harmless already.
pub fn print(lines: &[String]) {
    let mut text = lines.join("\n");
    text.push('\n');
    // A reader that has gone away wants no more.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints bytes for a program.
pub fn print_json(json: &str) {
    // In JSON such characters stand in texts only, where an escape means the same.
    let mut text = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if c.is_ascii() && (!c.is_ascii_control() || c == '\n') {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text.push('\n');
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Tells people of a failure or a warning, and of the next step.
pub fn tell(kind: &str, message: &str, hint: Option<&str>) {
    let style = match kind {
        "error" => Style::new().for_stderr().red().bold(),
        _ => Style::new().for_stderr().yellow().bold(),
    };
    let mut text = format!("{}: {}\n", style.apply_to(kind), plain(message));
    if let Some(hint) = hint {
        let arrow = Style::new().for_stderr().cyan();
        text.push_str(&format!("  {} {}\n", arrow.apply_to("→"), plain(hint)));
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_an_escape() {
        let hostile = "a\u{1b}]0;x\u{7}\u{9b}2J\rb\u{202e}c\u{200b}\nd";
        let shown = plain(hostile);
        assert!(shown.chars().all(|c| c.is_ascii_graphic()), "{shown}");
        assert_eq!(plain("Zoë 1.2.0~<script>"), "Zoë 1.2.0~<script>");
    }
}
