//! What the store has of a certificate: one row, written as a whole.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::schedule::Window;
use crate::config::acme::OrderedCertificate;

/// Errors of authorities are kept up to this length.
const MAX_ERROR_CHARS: usize = 1_000;

/// In JSON. Fields of later versions are ignored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Row {
    #[serde(default)]
    pub(super) certificate: Option<StoredCertificate>,
    #[serde(default)]
    pub(super) renewal: Option<Renewal>,
    #[serde(default)]
    pub(super) order: Option<OpenOrder>,
    #[serde(default)]
    pub(super) failure: Option<Failure>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct StoredCertificate {
    /// In PEM.
    pub(super) chain: String,
    /// As the sealer has written it.
    pub(super) key: String,
    pub(super) profile: Option<String>,
    /// Whose certificate it is.
    pub(super) directory_url: String,
    pub(super) issued_at: DateTime<Utc>,
}

/// What the authority suggests.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Renewal {
    /// `None`: it suggests nothing.
    pub(super) window: Option<Window>,
    pub(super) explanation_url: Option<String>,
    /// When it is asked again.
    pub(super) ask_at: DateTime<Utc>,
}

/// An order whose certificate is not there yet.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct OpenOrder {
    pub(super) url: String,
    /// That the certificate is for, as the sealer has written it.
    pub(super) key: String,
    pub(super) hosts: Vec<String>,
    pub(super) profile: Option<String>,
    pub(super) directory_url: String,
}

/// The attempts since the last success.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    pub(super) count: u32,
    pub(super) outcome: String,
    pub(super) error: String,
    pub(super) at: DateTime<Utc>,
    /// No gateway tries before.
    pub(super) retry_at: DateTime<Utc>,
}

impl Row {
    /// A row that cannot be read is as good as none: it is written again, and what is in use stays.
    pub(super) fn parse(text: Option<&str>, name: &str) -> Self {
        let Some(text) = text else {
            return Self::default();
        };
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::error!(target: "quartet", certificate = name, error = error.to_string(),
                "the stored row of a certificate cannot be read");
            Self::default()
        })
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and times are JSON")
    }
}

impl OpenOrder {
    /// Whether it is for what is configured now.
    pub(super) fn is_for(&self, certificate: &OrderedCertificate, directory_url: &str) -> bool {
        self.hosts == certificate.hosts
            && self.profile == certificate.profile
            && self.directory_url == directory_url
    }
}

/// An error as it is stored and shown.
pub(super) fn shortened(error: &str) -> String {
    let visible = error
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    visible.take(MAX_ERROR_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_versions_are_read() {
        let text = r#"{"certificate":null,"order":{"url":"u","key":"k","hosts":["a.b"],
            "profile":null,"directory_url":"d","later":1},"later":{"a":1}}"#;
        let row = Row::parse(Some(text), "web");
        assert_eq!(row.order.as_ref().unwrap().hosts, ["a.b"]);
        let again = Row::parse(Some(&row.to_text()), "web");
        assert_eq!(again.order, row.order);
        assert!(Row::parse(Some("{"), "web").order.is_none());
        assert!(Row::parse(None, "web").certificate.is_none());
    }

    #[test]
    fn errors_are_kept_on_one_line_of_bounded_length() {
        assert_eq!(shortened("a\nb"), "a b");
        assert_eq!(shortened(&"\u{e9}".repeat(2_000)).chars().count(), 1_000);
    }
}
