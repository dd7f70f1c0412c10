//! The result of one benchmark as Markdown, which is also what the terminal shows.

use std::fmt;

use crate::rounds::{Results, Rounds};

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

    /// All rows, compared with one of them, which `short` names.
    pub(crate) fn of_results(
        results: &Results,
        subject: &str,
        short: &str,
        reference: &str,
    ) -> Self {
        let mut table = Self::of_rounds(subject, short);
        for (name, rounds) in &results.0 {
            table.rounds(name, rounds, results.ratio(name, reference));
        }
        table
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.push(cells.into());
    }

    pub(crate) fn rounds(&mut self, name: &str, rounds: &Rounds, ratio: Option<f64>) {
        let figure = |value: f64, digits: usize| {
            if value.is_nan() {
                "-".to_owned()
            } else {
                format!("{value:.digits$}")
            }
        };
        let medians = rounds.medians();
        let busy = figure(medians.busy * 100.0, 0);
        self.row([
            name.to_owned(),
            rounds.per_second(),
            figure(ratio.unwrap_or(f64::NAN), 2),
            figure(medians.p50_ms, 2),
            figure(medians.p99_ms, 2),
            figure(medians.cpu_micros, 1),
            if busy == "-" { busy } else { busy + " %" },
            figure(medians.resident_mb, 1),
        ]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.0.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.0[0].len()).map(width).collect();
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

/// Whether something that should be small is.
pub(crate) fn verdict(value: f64, goal: f64) -> &'static str {
    if value < goal { "reached" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["server", "req/s"]);
        table.row(["nginx".to_owned(), "1".to_owned()]);
        let expected = "| server | req/s |\n|--------|------:|\n| nginx  |     1 |\n";
        assert_eq!(table.to_string(), expected);
    }
}
