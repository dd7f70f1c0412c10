//! The range of times that clients may send.

use chrono::{DateTime, Datelike, Utc};
use quartet_common::problem::Rule;

/// A time that Postgres can store and that ISO 8601 writes with a four-digit year.
pub(crate) fn bounded(at: DateTime<Utc>) -> Result<DateTime<Utc>, Rule> {
    if (1970..=9999).contains(&at.year()) {
        return Ok(at);
    }
    let detail = "must be between the years 1970 and 9999";
    Err(Rule::new("out_of_range", detail))
}
