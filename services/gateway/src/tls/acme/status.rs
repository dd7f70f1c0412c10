//! What is known of certificates, for people.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What this gateway has seen last.
#[derive(Clone, Debug, Default)]
pub(super) struct SlotStatus {
    pub(super) renew_at: Option<DateTime<Utc>>,
    /// Attempts in a row without a certificate.
    pub(super) failures: u32,
    /// The last error, of an order or of the store.
    pub(super) error: Option<String>,
    pub(super) retry_at: Option<DateTime<Utc>>,
    /// An order is under way here.
    pub(super) is_ordering: bool,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct AcmeStatus {
    pub(crate) hosts: Vec<String>,
    /// `missing`, `valid`, `expired` or `ordering`.
    pub(crate) state: String,
    pub(crate) not_after: Option<DateTime<Utc>>,
    pub(crate) renew_at: Option<DateTime<Utc>>,
    pub(crate) failures: u32,
    pub(crate) error: Option<String>,
    pub(crate) retry_at: Option<DateTime<Utc>>,
}
