//! An event, as its publisher writes it and as it travels: `CloudEvents` 1.0 in JSON.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The media type of a batch of events.
pub(crate) const BATCH_TYPE: &str = "application/cloudevents-batch+json";
/// The media type of one event.
pub(crate) const SINGLE_TYPE: &str = "application/cloudevents+json";
/// Of each of the names of an event.
const MAX_NAME_BYTES: usize = 200;
/// Of the data of an event, so that a batch has a bound: events say what has happened, and do not
/// carry documents.
pub(crate) const MAX_DATA_BYTES: usize = 16 * 1024;

/// An event to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// What has happened, such as `user.deleted`.
    pub kind: &'static str,
    /// The id of what it has happened to. Events of one subject are delivered in order, if their
    /// transactions lock the row of the subject.
    pub subject: String,
    /// At most 16 KiB of JSON.
    pub data: Value,
}

/// An event that was published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    specversion: String,
    /// Unique for a source.
    pub id: String,
    /// The service that published the event, such as `/v1/core`.
    pub source: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub subject: String,
    pub time: DateTime<Utc>,
    #[serde(default = "json_type")]
    datacontenttype: String,
    /// The span that published the event (Distributed Tracing extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(default)]
    pub data: Value,
}

fn json_type() -> String {
    "application/json".to_owned()
}

/// Why a received event is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    #[error("`specversion` must be 1.0")]
    Version,
    #[error("`{0}` must have 1 to {MAX_NAME_BYTES} bytes")]
    Name(&'static str),
}

impl Event {
    /// An event of `CloudEvents` 1.0 with JSON data.
    pub fn new(
        id: impl ToString,
        source: &str,
        kind: &str,
        subject: &str,
        time: DateTime<Utc>,
    ) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id: id.to_string(),
            source: source.to_owned(),
            kind: kind.to_owned(),
            subject: subject.to_owned(),
            time,
            datacontenttype: json_type(),
            traceparent: None,
            data: Value::Null,
        }
    }

    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// The event as JSON, with its time in the form that every reader of RFC 3339 knows.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!(self);
        json["time"] = json!(self.time.to_rfc3339_opts(SecondsFormat::Micros, true));
        json
    }

    /// # Errors
    /// The first rule that is broken.
    pub(crate) fn check(&self) -> Result<(), InvalidEvent> {
        if self.specversion != "1.0" {
            return Err(InvalidEvent::Version);
        }
        for (name, value) in [
            ("id", &self.id),
            ("source", &self.source),
            ("type", &self.kind),
            ("subject", &self.subject),
        ] {
            if value.is_empty() || value.len() > MAX_NAME_BYTES {
                return Err(InvalidEvent::Name(name));
            }
        }
        Ok(())
    }
}
