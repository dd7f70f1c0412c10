//! The table of [`requests`](super::requests).

mod bodies;
mod heads;
mod targets;

use super::requests::Row;

const fn row(
    what: &'static str,
    sent: &'static str,
    statuses: &'static [u16],
    forwarded: &'static [&'static str],
) -> Row {
    Row {
        what,
        sent,
        statuses,
        forwarded,
    }
}

/// Refused at once.
const fn bad(what: &'static str, sent: &'static str) -> Row {
    row(what, sent, &[400], &[])
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = heads::framing();
    rows.extend(heads::lines());
    rows.extend(targets::request_line());
    rows.extend(targets::targets());
    rows.extend(targets::host());
    rows.extend(bodies::chunks());
    rows.extend(bodies::one_after_the_other());
    rows
}
