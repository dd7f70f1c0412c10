//! Tables of text that fit into the width of a terminal.

/// A column is never narrower, so that beginnings of names stay readable.
const MIN_WIDTH: usize = 6;
const GAP: &str = "  ";

/// Rows of cells; the first row has the names of the columns.
pub(super) struct Table {
    rows: Vec<Vec<Cell>>,
}

pub(super) struct Cell {
    text: String,
    is_number: bool,
    /// Of a terminal; `None`: the usual one.
    color: Option<u8>,
}

impl Cell {
    /// Control characters are replaced: names and errors come from configurations and upstreams, and must
    /// not steer the terminal.
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self {
            text: plain(text.as_ref()),
            is_number: false,
            color: None,
        }
    }

    pub(super) fn number(text: impl AsRef<str>) -> Self {
        Self {
            is_number: true,
            ..Self::text(text)
        }
    }

    pub(super) fn colored(self, color: Option<u8>) -> Self {
        Self { color, ..self }
    }
}

/// One line of visible characters.
pub(super) fn plain(text: &str) -> String {
    let replace = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(replace).collect()
}

impl Table {
    pub(super) fn new(columns: &[&str]) -> Self {
        Self {
            rows: vec![columns.iter().map(Cell::text).collect()],
        }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Within this number of characters, `None`: as wide as it is.
    pub(super) fn lines(&self, width: Option<usize>, color: bool) -> Vec<String> {
        let widths = self.widths(width);
        let numbers: Vec<bool> = match self.rows.get(1) {
            Some(row) => row.iter().map(|cell| cell.is_number).collect(),
            None => Vec::new(),
        };
        let mut lines = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (place, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                if place > 0 {
                    line.push_str(GAP);
                }
                let text = cut(&cell.text, width);
                let is_number = numbers.get(place).copied().unwrap_or(false);
                let is_last = place + 1 == row.len() && !is_number;
                let text = match (is_number, is_last) {
                    (true, _) => format!("{text:>width$}"),
                    (false, true) => text,
                    (false, false) => format!("{text:<width$}"),
                };
                let shown = if at == 0 { Some(2) } else { cell.color };
                line.push_str(&painted(&text, shown.filter(|_| color)));
            }
            lines.push(line.trim_end().to_owned());
        }
        lines
    }

    /// The widest columns lose what does not fit.
    fn widths(&self, most: Option<usize>) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths: Vec<usize> = (0..columns)
            .map(|place| {
                let cells = self.rows.iter().filter_map(|row| row.get(place));
                let widths = cells.map(|cell| cell.text.chars().count());
                widths.max().unwrap_or(0)
            })
            .collect();
        let gaps = GAP.len() * columns.saturating_sub(1);
        while let Some(most) = most
            && widths.iter().sum::<usize>() + gaps > most
            && let Some(widest) = widths.iter_mut().max()
            && *widest > MIN_WIDTH
        {
            *widest -= 1;
        }
        widths
    }
}

/// The beginning of a text that is too long.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let begin: String = text.chars().take(width.saturating_sub(1)).collect();
    begin + "…"
}

/// By the number of an attribute of ANSI terminals.
pub(super) fn painted(text: &str, attribute: Option<u8>) -> String {
    match attribute {
        Some(attribute) => format!("\u{1b}[{attribute}m{text}\u{1b}[0m"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_into_the_width_and_steers_no_terminal() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(vec![Cell::text("a\u{1b}[2Jb\n"), Cell::number("7")]);
        table.row(vec![Cell::text("a-very-long-name"), Cell::number("1234")]);
        let wide = [
            "NAME                 N",
            "a?[2Jb?              7",
            "a-very-long-name  1234",
        ];
        assert_eq!(table.lines(None, false), wide);
        let narrow = ["NAME           N", "a?[2Jb?        7", "a-very-lo…  1234"];
        assert_eq!(table.lines(Some(16), false), narrow);
        assert!(table.lines(Some(1), false)[2].starts_with("a-ver…"));
        assert!(table.lines(None, true)[0].contains("\u{1b}[2m"));
    }
}
