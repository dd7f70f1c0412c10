//! Clicks: what the log holds of each answered redirect.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::visits::Visit;
use crate::{
    config::WhenLogIsFull,
    error::Error,
    wal::{AppendError, Wal},
};

const TELL_EVERY: Duration = Duration::from_secs(10);

/// The record's form in the log. Forms are added, never changed: a replica may have to
/// replay what an older one wrote.
#[derive(Debug, Serialize, Deserialize)]
enum Record {
    V1(Click),
}

/// One answered redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Click {
    /// A `UUIDv7`: names the click for ever and holds its time.
    pub(crate) id: Uuid,
    pub(crate) link_id: Uuid,
    pub(crate) visitor: Option<[u8; 16]>,
    pub(crate) country: Option<String>,
    pub(crate) referrer_host: Option<String>,
    pub(crate) device: String,
    pub(crate) bot: Option<String>,
}

/// Where clicks are kept until they are in the database. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct ClickLog {
    pub(crate) wal: Wal,
    pub(crate) when_full: WhenLogIsFull,
    told: Arc<Mutex<Option<Instant>>>,
    failing: Arc<AtomicBool>,
}

/// Whether the click is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Safe,
    /// The log could not take it, and the redirect is to be answered all the same.
    Lost,
}

impl Click {
    pub(crate) fn new(id: Uuid, link_id: Uuid, visit: Visit) -> Self {
        Self {
            id,
            link_id,
            visitor: visit.visitor,
            country: visit.country,
            referrer_host: visit.referrer_host,
            device: visit.device.as_str().to_owned(),
            bot: visit.bot.map(|reason| reason.as_str().to_owned()),
        }
    }

    /// The time inside the id, in whole milliseconds: the same however often it is read.
    pub(crate) fn at(&self) -> DateTime<Utc> {
        let time = self
            .id
            .get_timestamp()
            .map_or((0, 0), |time| time.to_unix());
        let seconds = i64::try_from(time.0).unwrap_or(0);
        DateTime::from_timestamp(seconds, time.1).unwrap_or_default()
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        postcard::to_stdvec(&Record::V1(self)).expect("a record is plain data")
    }

    /// `None` for a form that only a later release knows.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let Record::V1(click) = postcard::from_bytes(bytes).ok()?;
        Some(click)
    }
}

impl ClickLog {
    pub(crate) fn new(wal: Wal, when_full: WhenLogIsFull) -> Self {
        Self {
            wal,
            when_full,
            told: Arc::default(),
            failing: Arc::default(),
        }
    }

    /// Whether the last click could not be written: the disk or the log is full.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Makes a click safe. Afterwards the redirect may be answered.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot take it and redirects are to be refused then.
    pub(crate) async fn keep(&self, click: Click) -> Result<Kept, Error> {
        let outcome = self.wal.append(&click.encode()).await;
        self.failing.store(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Ok(()) => Ok(Kept::Safe),
            Err(error) if self.loses(&error) => {
                self.tell(&error);
                Ok(Kept::Lost)
            }
            Err(error) => Err(Error::LogUnavailable(error)),
        }
    }

    /// Says it now and then: a full disk would otherwise be filled with the news of it.
    fn tell(&self, error: &AppendError) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::error!(error = %describe(error), "clicks are being lost");
        }
    }

    fn loses(&self, error: &AppendError) -> bool {
        self.when_full == WhenLogIsFull::Redirect && !matches!(error, AppendError::Closed)
    }
}

fn describe(error: &AppendError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wal::MAX_PAYLOAD_BYTES;

    prop_compose! {
        fn any_click()(
            id in any::<u128>(), link_id in any::<u128>(), visitor in any::<Option<[u8; 16]>>(),
            country in prop::option::of("[A-Z]{2}"), referrer_host in prop::option::of("[a-z.]{1,253}"),
            bot in prop::option::of("[a-z_]{4,13}"),
        ) -> Click {
            Click {
                id: Uuid::from_u128(id), link_id: Uuid::from_u128(link_id), visitor, country,
                referrer_host, device: "desktop".into(), bot,
            }
        }
    }

    proptest! {
        #[test]
        fn records_survive_and_fit(click in any_click()) {
            let bytes = click.clone().encode();
            prop_assert!(bytes.len() <= MAX_PAYLOAD_BYTES);
            prop_assert_eq!(Click::decode(&bytes), Some(click));
        }

        #[test]
        fn nonsense_is_not_a_click(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // The first byte is the form: only 0 is known.
            if bytes.first() != Some(&0) {
                prop_assert_eq!(Click::decode(&bytes), None);
            }
        }
    }

    #[test]
    fn the_form_on_disk_stays_what_it_is() {
        let click = Click {
            id: Uuid::from_u128(1),
            link_id: Uuid::from_u128(2),
            visitor: None,
            country: Some("DE".into()),
            referrer_host: None,
            device: "other".into(),
            bot: None,
        };
        let mut expected = vec![0, 16];
        expected.extend([0; 15].iter().chain(&[1, 16]).chain(&[0; 15]).chain(&[2]));
        expected.extend([0, 1, 2, b'D', b'E', 0, 5]);
        expected.extend(b"other\0");
        assert_eq!(click.encode(), expected);
    }
}
