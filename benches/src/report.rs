//! The result of one benchmark as Markdown, which is also what the terminal shows.

use std::fmt;

use crate::plan::Measure;
use crate::rounds::Rounds;

/// A table whose first column has names and the others figures.
#[derive(Clone, Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|&text| text.to_owned()).collect()])
    }

    /// Rows are rounds, compared with those of a reference.
    pub(crate) fn of_rounds(subject: &str, reference: &str) -> Self {
        let ratio = format!("to {reference}");
        Self::new(&[
            subject,
            "per second",
            &ratio,
            "p50 ms",
            "p99 ms",
            "CPU us each",
            "core busy",
            "resident MB",
        ])
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.0.push(cells);
    }

    pub(crate) fn rounds(&mut self, name: &str, rounds: &Rounds, ratio: Option<f64>) {
        self.row(vec![
            name.to_owned(),
            rounds.per_second(),
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            format!("{:.2}", rounds.median(|round| round.p50_ms)),
            format!("{:.2}", rounds.median(|round| round.p99_ms)),
            format!("{:.1}", rounds.median(|round| round.cpu_micros)),
            format!("{:.0} %", rounds.median(|round| round.busy) * 100.0),
            format!("{:.1}", rounds.median(|round| round.resident_mb)),
        ]);
    }

    /// A row of which only the rate is known.
    pub(crate) fn rate(&mut self, name: &str, rounds: &Rounds) {
        let mut row = vec![name.to_owned(), rounds.per_second(), "1.00".to_owned()];
        row.resize(self.0[0].len(), "-".to_owned());
        self.row(row);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.0[0].len())
            .map(|column| {
                let cells = self.0.iter().filter_map(|row| row.get(column));
                cells
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        for (number, row) in self.0.iter().enumerate() {
            write!(f, "| {:<1$} |", row[0], widths[0])?;
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                write!(f, " {cell:>width$} |")?;
            }
            writeln!(f)?;
            if number == 0 {
                write!(f, "|{}|", "-".repeat(widths[0] + 2))?;
                for width in &widths[1..] {
                    write!(f, "{}:|", "-".repeat(width + 1))?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

/// The result of one benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) measure: Measure,
    pub(crate) title: &'static str,
    /// What was done, in one paragraph.
    pub(crate) how: String,
    pub(crate) table: Table,
    /// One sentence each: ratios, checks, what was skipped.
    pub(crate) notes: Vec<String>,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n\n{}\n\n{}", self.title, self.how, self.table)?;
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["server", "req/s"]);
        table.row(vec!["nginx".to_owned(), "1".to_owned()]);
        let expected = "| server | req/s |\n|--------|------:|\n| nginx  |     1 |\n";
        assert_eq!(table.to_string(), expected);
    }
}
