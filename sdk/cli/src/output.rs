//! Standard output: tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write as _};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::failure::Failure;
use crate::terminal::clean;

/// A table with headings; without borders unless on a terminal.
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

/// The fields of one object, one per line.
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

/// One object on one line, for streams.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value);
    line(&text.map_err(|error| Failure::Refused(error.to_string()))?)
}

/// Writes a line. Text from the server has to go through [`clean`] first.
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

/// A size with a suitable unit, such as `1.5 MiB`.
pub(crate) fn size(bytes: i64) -> String {
    let bytes = u64::try_from(bytes).unwrap_or_default();
    indicatif::HumanBytes(bytes).to_string()
}
