//! Tables for people, as wide as the terminal.

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};

use crate::output::terminal::{self, Painted};

/// Rows of cells under a head. If the terminal is too narrow, the last column is cut.
#[derive(Debug)]
pub struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Painted>>,
}

/// The gap between two columns.
const GAP: &str = "  ";

/// The least width of the last column; the terminal wraps it then.
const LEAST: usize = 8;

impl Table {
    /// An empty table with these heads.
    pub fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, one cell for each head. Cells may be coloured.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Painted>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints it, as wide as stdout.
    pub fn print(&self) {
        for line in self.lines_within(terminal::width()) {
            terminal::print_painted(&line);
        }
    }

    fn lines_within(&self, limit: Option<usize>) -> Vec<String> {
        let head = self.head.iter();
        let head = head.map(|head| Painted::new(Style::new().dim(), &head.to_uppercase()));
        let head: Vec<Painted> = head.collect();
        let all: Vec<Vec<String>> = std::iter::once(&head)
            .chain(&self.rows)
            .map(|row| row.iter().map(Painted::for_stdout).collect())
            .collect();
        // Empty columns are not shown.
        let shown: Vec<usize> = (0..self.head.len())
            .filter(|&column| {
                self.rows
                    .iter()
                    .any(|row| row.get(column).is_some_and(|cell| !cell.is_empty()))
            })
            .collect();
        let width = |column: usize| {
            let cells = all.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| measure_text_width(cell))
                .max()
                .unwrap_or(0)
        };
        let mut widths: Vec<usize> = shown.iter().map(|&column| width(column)).collect();
        if let (Some(limit), Some((last, others))) = (limit, widths.split_last_mut()) {
            let taken: usize = others.iter().map(|width| width + GAP.len()).sum();
            *last = (*last).min(limit.saturating_sub(taken).max(LEAST));
        }
        all.iter()
            .map(|row| {
                let cells = shown.iter().zip(&widths).map(|(&column, &width)| {
                    let cell = row.get(column).map_or("", String::as_str);
                    pad_str(
                        &truncate_str(cell, width, "…"),
                        width,
                        Alignment::Left,
                        None,
                    )
                    .into_owned()
                });
                cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["channel", "version", "notes"]);
        table.row(["stable", "1.2.0", "a long note about it"]);
        table.row(["beta", "1.10.0-rc.1", ""]);
        table
    }

    #[test]
    fn columns_are_aligned() {
        assert_eq!(
            table().lines_within(None),
            [
                "CHANNEL  VERSION      NOTES",
                "stable   1.2.0        a long note about it",
                "beta     1.10.0-rc.1",
            ]
        );
    }

    #[test]
    fn the_last_column_is_cut_on_a_narrow_terminal() {
        let lines = table().lines_within(Some(32));
        assert_eq!(lines[1], "stable   1.2.0        a long no…");
        assert!(lines.iter().all(|line| measure_text_width(line) <= 32));
    }

    #[test]
    fn an_empty_column_is_not_shown() {
        let mut table = Table::new(&["a", "b"]);
        table.row(["1", ""]);
        assert_eq!(table.lines_within(None), ["A", "1"]);
    }
}
