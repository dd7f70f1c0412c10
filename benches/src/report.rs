//! The result of one benchmark as Markdown, which is also what the terminal shows.

use std::fmt;

use crate::rounds::Results;

/// A table whose first column has names and the others figures.
#[derive(Clone, Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    /// The columns are separated as in the result.
    pub(crate) fn new(head: &str) -> Self {
        Self(vec![head.split(" | ").map(str::to_owned).collect()])
    }

    /// The rounds of each row, and how they compare with those of one of them, which `short` names.
    pub(crate) fn of_results(
        results: &Results,
        subject: &str,
        short: &str,
        reference: &str,
    ) -> Self {
        let mut table = Self::new(&format!(
            "{subject} | per second | to {short} | p50 ms | p99 ms | CPU us each | core busy | resident MB"
        ));
        for (name, rounds) in &results.0 {
            let medians = rounds.medians();
            let ratio = results.ratio(name, reference);
            let row = table.row(name, 2, &[ratio, medians.p50_ms, medians.p99_ms]);
            row.insert(1, rounds.per_second());
            let unit = if medians.busy.is_nan() { "" } else { " %" };
            row.extend([
                figure(medians.cpu_micros, 1),
                figure(medians.busy * 100.0, 0) + unit,
                figure(medians.resident_mb, 1),
            ]);
        }
        table
    }

    /// Adds a row of a name and figures; more cells can be added to what is returned.
    pub(crate) fn row(&mut self, name: &str, digits: usize, figures: &[f64]) -> &mut Vec<String> {
        let figures = figures.iter().map(|&value| figure(value, digits));
        let cells = std::iter::once(name.to_owned()).chain(figures);
        self.0.push_mut(cells.collect())
    }

    /// Removes a figure that would mean nothing.
    pub(crate) fn blank(&mut self, row: usize, column: usize) {
        "-".clone_into(&mut self.0[row][column]);
    }
}

fn figure(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "-".to_owned();
    }
    format!("{value:.digits$}")
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
    /// Its title, and what was done.
    pub(crate) text: String,
    pub(crate) table: Table,
    /// One sentence each: ratios, checks, what was skipped.
    pub(crate) notes: Vec<String>,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.text, self.table)?;
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

/// Whether something that should be large is.
pub(crate) fn at_least(value: f64, goal: f64) -> &'static str {
    if value >= goal { "reached" } else { "missed" }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new("server | req/s");
        table.row("nginx", 0, &[1.0]);
        let expected = "| server | req/s |\n|--------|------:|\n| nginx  |     1 |\n";
        assert_eq!(table.to_string(), expected);
    }
}
