//! When a route was deprecated, and when it ends.

use chrono::{DateTime, Utc};
use http::HeaderValue;
use serde::Deserialize;

/// At least one of the dates is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lifecycle {
    pub(crate) deprecated_on: Option<DateTime<Utc>>,
    pub(crate) sunset_on: Option<DateTime<Utc>>,
    /// Values of `Link`.
    pub(crate) links: Vec<HeaderValue>,
    pub(crate) after_sunset: AfterSunset,
}

/// What becomes of requests after the sunset.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AfterSunset {
    /// Nothing changes.
    #[default]
    Serve,
    /// 410.
    Gone,
}
