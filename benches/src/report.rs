//! The result of one benchmark as Markdown, which is also what the terminal shows.

use std::fmt;

use crate::plan::Measure;

/// A table whose first column holds names and the others figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|&text| text.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            lines()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| width(column).unwrap_or_default().max(3))
            .collect();
        for (number, line) in lines().enumerate() {
            for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(formatter, "| {cell:<width$} |")?;
                } else {
                    write!(formatter, " {cell:>width$} |")?;
                }
            }
            writeln!(formatter)?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width - 1);
                    let cell = if column == 0 {
                        format!("|-{dashes}--|")
                    } else {
                        format!("-{dashes}-:|")
                    };
                    write!(formatter, "{cell}")?;
                }
                writeln!(formatter)?;
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
    /// One sentence each: ratios, checks, what was left out.
    pub(crate) notes: Vec<String>,
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "## {}\n\n{}\n\n{}",
            self.title, self.how, self.table
        )?;
        for note in &self.notes {
            writeln!(formatter, "- {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["who", "req/s"]);
        table.row(vec!["nginx".to_owned(), "1".to_owned()]);
        let wanted = "| who   | req/s |\n|-------|------:|\n| nginx |     1 |\n";
        assert_eq!(table.to_string(), wanted);
    }
}
