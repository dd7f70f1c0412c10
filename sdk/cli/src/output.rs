//! Tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write as _};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::failure::Failure;

/// Whether escape sequences may be used: on a terminal whose owner does not mind.
pub(crate) fn paints(stream: &impl IsTerminal) -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !unwanted
}

/// A text without what would steer the terminal: names and titles are other people's.
pub(crate) fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Rows under headings; in a pipe without lines around them.
pub(crate) fn table(headings: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    let mut table = plain();
    table.set_header(headings.iter().copied());
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell)));
    }
    for (index, heading) in headings.iter().enumerate() {
        if matches!(*heading, "SIZE" | "CLICKS" | "PEOPLE")
            && let Some(column) = table.column_mut(index)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    line(&table.trim_fmt())
}

/// The values of one thing, each beside its name.
pub(crate) fn record(values: &[(&str, String)]) -> Result<(), Failure> {
    let mut table = plain();
    for (name, value) in values {
        table.add_row([(*name).to_owned(), clean(value)]);
    }
    line(&table.trim_fmt())
}

fn plain() -> Table {
    let mut table = Table::new();
    let preset = if io::stdout().is_terminal() {
        presets::UTF8_FULL_CONDENSED
    } else {
        presets::NOTHING
    };
    table.load_style(preset);
    table
}

pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    line(&text.map_err(|error| Failure::Refused(error.to_string()))?)
}

/// One object in one line, for streams of them.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value);
    line(&text.map_err(|error| Failure::Refused(error.to_string()))?)
}

/// Our own words. What comes from the server goes through [`clean`] first.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    raw(format!("{text}\n").as_bytes())
}

pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Closed,
        _ => Failure::local("write the output")(error),
    })
}

/// A size in the unit that suits it.
pub(crate) fn size(bytes: i64) -> String {
    let bytes = u64::try_from(bytes).unwrap_or_default();
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(
            clean("a\x1b[2Jb\nc\u{202e}d"),
            "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d"
        );
        assert_eq!(clean("Zürich 東京"), "Zürich 東京");
    }
}
