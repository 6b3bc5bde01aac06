//! Tables for people, which fit the terminal.
//!
//! Where the terminal is too narrow for all of a table, in this order: hashes are shortened, texts wrap, the columns that matter
//! least are left out and named below the table, and at last every cell wraps. Nothing is cut off.

use console::Style;

use crate::output::terminal::{self, Painted};
use crate::output::wrap;

/// A column, and what becomes of it on a narrow terminal.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    head: &'static str,
    is_text: bool,
    rank: Option<u8>,
}

impl Column {
    /// A column that is always shown.
    pub const fn new(head: &'static str) -> Self {
        Self {
            head,
            is_text: false,
            rank: None,
        }
    }

    /// The same as a column of texts, which wrap.
    pub const fn text(self) -> Self {
        Self {
            is_text: true,
            ..self
        }
    }

    /// The same as one that may be left out: the lowest rank first.
    pub const fn rank(self, rank: u8) -> Self {
        Self {
            rank: Some(rank),
            ..self
        }
    }
}

/// Rows of cells under a head.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Painted>>,
}

/// The gap between two columns; it shrinks before words break.
const GAP: usize = 2;

/// A text wraps into this width or more, before other columns are left out for it.
const LEAST_TEXT: usize = 16;

/// The narrowest column that shows a wide character.
const LEAST: usize = 2;

/// How much of a hash is shown where there is no room for it, as in the names of images.
const SHORT_HASH: usize = 12;

impl Table {
    /// An empty table.
    pub fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell for each column. Cells may be coloured.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Painted>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints it.
    pub fn print(&self) {
        let head = |head: &str| Painted::new(Style::new().dim(), &head.to_uppercase());
        for line in self.lines_within(terminal::width(), head, Painted::for_stdout) {
            terminal::print_painted(&line);
        }
    }

    /// Its lines, without colours, for a text that is printed as a whole.
    pub fn lines(&self, indent: usize) -> Vec<String> {
        let limit = terminal::width().map(|width| width.saturating_sub(indent));
        self.lines_within(limit, |head| head.into(), |cell| cell.text().to_owned())
    }

    fn lines_within(
        &self,
        limit: Option<usize>,
        head: fn(&str) -> Painted,
        paint: fn(&Painted) -> String,
    ) -> Vec<String> {
        let layout = Layout::of(self, limit);
        let head: Vec<Painted> = self.columns.iter().map(|it| head(it.head)).collect();
        let mut lines = Vec::new();
        let has_head = self.columns.iter().any(|column| !column.head.is_empty());
        for row in has_head.then_some(&head).into_iter().chain(&self.rows) {
            lines.extend(layout.lines(row, paint));
        }
        if !layout.left_out.is_empty() {
            let note = format!(
                "(no room for: {}; --json has all)",
                layout.left_out.join(", ")
            );
            let note = wrap::anywhere(&note, limit.unwrap_or(usize::MAX));
            let dim = |line: &String| paint(&Painted::new(Style::new().dim(), line));
            lines.extend(note.iter().map(dim));
        }
        lines
    }
}

/// A fact: its name in a column of its own, and its value, which wraps.
pub fn fact(name: &str, column: usize, value: &str, limit: Option<usize>) -> String {
    let value = terminal::one_line(value);
    let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(column + 1));
    let lines = wrap::anywhere(&shortened(&value, room), room);
    let next_line = format!("\n{:column$} ", "");
    format!("{name:<column$} {}", lines.join(&next_line))
}

/// The columns that are shown, and their widths.
struct Layout {
    shown: Vec<(usize, usize)>,
    gap: usize,
    left_out: Vec<&'static str>,
}

impl Layout {
    fn of(table: &Table, limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(usize::MAX);
        let cells = |column: usize| table.rows.iter().filter_map(move |row| row.get(column));
        let natural = |column: usize, room: usize| {
            let head = wrap::width(table.columns[column].head);
            let width = |cell: &Painted| wrap::width(&shortened(cell.text(), room));
            cells(column).map(width).max().unwrap_or(0).max(head)
        };
        let all = |room: usize| -> Vec<(usize, usize)> {
            // Empty columns are not shown.
            let is_filled = |&column: &usize| cells(column).any(|cell| !cell.is_empty());
            let filled = (0..table.columns.len()).filter(is_filled);
            filled
                .map(|column| (column, natural(column, room)))
                .collect()
        };
        let mut shown = all(usize::MAX);
        if total(&shown, GAP) > limit {
            shown = all(SHORT_HASH);
        }
        // The longest word of a column: as long as possible, words stay whole.
        let word = |column: usize| {
            let text = |cell: &Painted| shortened(cell.text(), SHORT_HASH);
            let longest = |text: String| text.split(' ').map(wrap::width).max();
            cells(column)
                .filter_map(|cell| longest(text(cell)))
                .max()
                .unwrap_or(0)
                .max(LEAST)
        };
        let (mut left_out, mut gap) = (Vec::new(), GAP);
        while total(&shown, gap) > limit {
            let of = |&(column, _): &(usize, usize)| &table.columns[column];
            let least: usize = shown
                .iter()
                .filter(|it| of(it).is_text)
                .map(|&(_, width)| width.saturating_sub(LEAST_TEXT))
                .sum();
            if total(&shown, gap).saturating_sub(least) <= limit {
                let texts = |column: usize| table.columns[column].is_text;
                shrink(&mut shown, gap, limit, |column| {
                    texts(column).then(|| word(column))
                });
                shrink(&mut shown, gap, limit, |column| {
                    texts(column).then_some(LEAST)
                });
                break;
            }
            let ranked = |(at, it): (usize, &(usize, usize))| Some((of(it).rank?, at));
            match shown.iter().enumerate().filter_map(ranked).min() {
                Some((_, at)) => {
                    let (column, _) = shown.remove(at);
                    left_out.push(table.columns[column].head);
                }
                None => {
                    shrink(&mut shown, gap, limit, |column| Some(word(column)));
                    gap = if total(&shown, gap) > limit { 1 } else { gap };
                    shrink(&mut shown, gap, limit, |_| Some(LEAST));
                    break;
                }
            }
        }
        Self {
            shown,
            gap,
            left_out,
        }
    }

    /// The lines of a row.
    fn lines(&self, row: &[Painted], paint: fn(&Painted) -> String) -> Vec<String> {
        let nothing = Painted::default();
        let cells: Vec<(&Painted, Vec<String>, usize)> = self
            .shown
            .iter()
            .map(|&(column, width)| {
                let cell = row.get(column).unwrap_or(&nothing);
                let text = shortened(cell.text(), width);
                (cell, wrap::anywhere(&text, width), width)
            })
            .collect();
        let height = cells.iter().map(|(_, lines, _)| lines.len()).max();
        (0..height.unwrap_or(0))
            .map(|at| {
                let mut line = String::new();
                let mut gap = 0;
                for (cell, lines, width) in &cells {
                    let part = cell.with_text(lines.get(at).map_or("", String::as_str));
                    if !part.is_empty() {
                        line.push_str(&" ".repeat(gap));
                        line.push_str(&paint(&part));
                        gap = 0;
                    }
                    gap += width.saturating_sub(part.width()) + self.gap;
                }
                line
            })
            .collect()
    }
}

fn total(shown: &[(usize, usize)], gap: usize) -> usize {
    let widths: usize = shown.iter().map(|(_, width)| width).sum();
    widths + gap * shown.len().saturating_sub(1)
}

/// Takes columns from the widest cells, until the table fits or all are as narrow as `least` says. Where it says nothing, a column stays
/// as it is.
fn shrink(
    shown: &mut [(usize, usize)],
    gap: usize,
    limit: usize,
    least: impl Fn(usize) -> Option<usize>,
) {
    for (column, width) in shown.iter_mut() {
        if let Some(least) = least(*column) {
            *width = (*width).min(limit.max(least));
        }
    }
    while total(shown, gap) > limit {
        let may = |(column, width): &&mut (usize, usize)| {
            least(*column).is_some_and(|least| *width > least)
        };
        // Of two that are equally wide, the last.
        let widest = shown.iter_mut().filter(may);
        let Some((_, width)) = widest.max_by_key(|(_, width)| *width) else {
            return;
        };
        *width -= 1;
    }
}

/// A text whose only word is a hash that has no room: its beginning.
fn shortened(text: &str, room: usize) -> String {
    let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash && room < text.len() {
        format!("{}…", &text[..SHORT_HASH])
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(table: &Table, limit: impl Into<Option<usize>>) -> Vec<String> {
        let head = |head: &str| head.to_uppercase().into();
        let lines = table.lines_within(limit.into(), head, |cell| cell.text().to_owned());
        assert!(lines.iter().all(|line| !line.ends_with(' ')), "{lines:?}");
        lines
    }

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::new("channel"),
            Column::new("version"),
            Column::new("by").rank(1),
            Column::new("notes").text().rank(2),
        ]);
        table.row(["stable", "1.2.0", "zoë", "a long note about it"]);
        table.row(["beta", "1.10.0-rc.1", "日本", ""]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        let wanted = [
            "CHANNEL  VERSION      BY    NOTES",
            "stable   1.2.0        zoë   a long note about it",
            "beta     1.10.0-rc.1  日本",
        ];
        assert_eq!(lines(&table(), None), wanted);
        assert_eq!(lines(&table(), 48), wanted);
    }

    #[test]
    fn a_text_wraps_before_a_column_is_left_out() {
        assert_eq!(
            lines(&table(), 44),
            [
                "CHANNEL  VERSION      BY    NOTES",
                "stable   1.2.0        zoë   a long note",
                "                            about it",
                "beta     1.10.0-rc.1  日本",
            ]
        );
        assert_eq!(
            lines(&table(), 40),
            [
                "CHANNEL  VERSION      NOTES",
                "stable   1.2.0        a long note about",
                "                      it",
                "beta     1.10.0-rc.1",
                "(no room for: by; --json has all)",
            ]
        );
    }

    #[test]
    fn what_is_always_shown_wraps_in_the_end() {
        assert_eq!(
            lines(&table(), 16),
            [
                "CHANNEL  VERSION",
                "stable   1.2.0",
                "beta     1.10.0-",
                "         rc.1",
                "(no room for:",
                "by, notes;",
                "--json has all)",
            ]
        );
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_nothing_is_cut() {
        let mut table = Table::new(&[Column::new("a"), Column::new("b").text(), Column::new("c")]);
        let (long, wide) = ("x".repeat(150), "日本語 ".repeat(30));
        table.row([long.as_str(), wide.as_str(), "e\u{301}"]);
        for limit in 12..400 {
            let lines = lines(&table, limit);
            assert!(
                lines.iter().all(|line| wrap::width(line) <= limit),
                "{limit}: {lines:?}"
            );
            let text = lines.concat();
            assert_eq!(text.matches('x').count(), 150, "{limit}");
            assert_eq!(text.matches('語').count(), 30, "{limit}");
        }
    }

    #[test]
    fn a_hash_is_shortened_where_it_has_no_room() {
        let mut table = Table::new(&[Column::new("a"), Column::new("b")]);
        table.row(["sha256".to_owned(), "0123456789abcdef".repeat(4)]);
        assert_eq!(lines(&table, 80)[1].len(), 6 + 2 + 64);
        assert_eq!(lines(&table, 60)[1], "sha256  0123456789ab…");
        assert_eq!(
            fact("sha256", 9, &"0123456789abcdef".repeat(4), Some(40)),
            "sha256    0123456789ab…"
        );
        assert_eq!(
            fact("board", 9, "one that has a long name", Some(20)),
            "board     one that\n          has a long\n          name"
        );
    }

    #[test]
    fn an_empty_column_is_not_shown() {
        let mut table = Table::new(&[Column::new("a"), Column::new("b")]);
        table.row(["1", ""]);
        assert_eq!(lines(&table, None), ["A", "1"]);
    }
}
