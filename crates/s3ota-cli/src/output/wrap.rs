//! Lines that fit a width in columns. Wide characters take two, combining ones none.

use unicode_width::UnicodeWidthStr;

/// A space at which nothing breaks. It becomes a plain one when it is printed.
pub const NO_BREAK: char = '\u{a0}';

/// How many columns a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// Breaks prose at spaces: `first` columns for the first line, and `rest` for each further one. Longer words stay whole, as does what
/// is between backticks: URLs and commands must survive copying.
pub fn at_spaces(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = Lines::new(first, rest);
    for word in words(text) {
        lines.word(word);
    }
    lines.done
}

/// Breaks the text of a cell at spaces, and words that are longer than the cell anywhere: no line is wider than `limit`, which is two
/// columns at least.
pub fn anywhere(text: &str, limit: usize) -> Vec<String> {
    let limit = limit.max(2);
    let mut lines = Lines::new(limit, limit);
    for word in text.split(' ') {
        if width(word) <= limit {
            lines.word(word);
        } else {
            lines.broken(word);
        }
    }
    lines.done
}

/// Words, and quotations in backticks with the punctuation around them.
fn words(text: &str) -> Vec<&str> {
    // A single backtick quotes nothing.
    let has_pairs = text.matches('`').count().is_multiple_of(2);
    let mut words = Vec::new();
    let (mut begin, mut is_quoted) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '`' if has_pairs => is_quoted = !is_quoted,
            ' ' if !is_quoted => {
                words.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    words.push(&text[begin..]);
    words
}

/// Lines that grow word by word.
struct Lines {
    done: Vec<String>,
    /// The columns of the last line that are taken.
    used: usize,
    room: usize,
    rest: usize,
}

impl Lines {
    fn new(first: usize, rest: usize) -> Self {
        Self {
            done: vec![String::new()],
            used: 0,
            room: first,
            rest,
        }
    }

    fn push(&mut self, text: &str, width: usize) {
        if let Some(line) = self.done.last_mut() {
            line.push_str(text);
        }
        self.used += width;
    }

    fn new_line(&mut self) {
        self.done.push(String::new());
        self.used = 0;
        self.room = self.rest;
    }

    /// Adds a word, on the next line if there is no room on this one.
    fn word(&mut self, word: &str) {
        let width = width(word);
        if self.used > 0 && self.used + 1 + width > self.room {
            self.new_line();
        } else if self.used > 0 {
            self.push(" ", 1);
        }
        self.push(word, width);
    }

    /// Adds a word that has room on no line.
    fn broken(&mut self, word: &str) {
        if self.used > 0 {
            self.new_line();
        }
        for cluster in clusters(word) {
            let width = width(cluster);
            if self.used > 0 && self.used + width > self.room {
                self.new_line();
            }
            self.push(cluster, width);
        }
    }
}

/// Characters, each with those without width that follow it.
fn clusters(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let next = |&(at, c): &(usize, char)| at > 0 && width(c.encode_utf8(&mut [0; 4])) > 0;
        let end = rest.char_indices().find(next);
        let (cluster, after) = rest.split_at(end.map_or(rest.len(), |(at, _)| at));
        rest = after;
        (!cluster.is_empty()).then_some(cluster)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_breaks_at_spaces_and_keeps_commands_and_urls_whole() {
        let text = "publish it again with `s3ota publish FIRMWARE --channel beta`, or see https://example.com/a/long/way";
        assert_eq!(
            at_spaces(text, 12, 24),
            [
                "publish it",
                "again with",
                "`s3ota publish FIRMWARE --channel beta`,",
                "or see",
                "https://example.com/a/long/way",
            ]
        );
        assert_eq!(at_spaces("it's a ` b", 6, 6), ["it's a", "` b"]);
        assert_eq!(at_spaces("", 6, 6), [""]);
    }

    #[test]
    fn a_cell_is_never_wider_than_its_column() {
        for (text, limit, lines) in [
            ("one two three", 7, &["one two", "three"][..]),
            (
                "1.2.3-9-gabc1234 (yanked)",
                9,
                &["1.2.3-9-g", "abc1234", "(yanked)"],
            ),
            ("日本語の名前", 5, &["日本", "語の", "名前"]),
            (
                "e\u{301}e\u{301}e\u{301}",
                2,
                &["e\u{301}e\u{301}", "e\u{301}"],
            ),
            ("日", 1, &["日"]),
        ] {
            assert_eq!(anywhere(text, limit), lines, "{text}");
        }
        let hostile = "\u{301}".repeat(100_000);
        assert_eq!(anywhere(&hostile, 10).concat(), hostile);
        let long = "x".repeat(100_000);
        assert!(anywhere(&long, 10).iter().all(|line| line.len() <= 10));
    }
}
