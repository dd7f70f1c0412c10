//! What asks for reloads, and how the last one ended.
//!
//! One job reads the files and puts them in force. It is asked with a ticket, and says up to which ticket
//! it has read the files, so that requests at the same time share one attempt, and none gets the outcome of an
//! attempt that had read the files before it asked.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use quartet_common::config::ConfigError;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// Of the settings that a reload has changed, and of the errors of one that was refused.
const MAX_LISTED: usize = 100;

#[derive(Debug)]
pub(crate) struct Reloads {
    asked: Notify,
    tickets: AtomicU64,
    done: watch::Sender<LastAttempt>,
    in_force_since: Mutex<DateTime<Utc>>,
    started: Instant,
}

/// The last attempt.
#[derive(Clone, Debug, Default)]
struct LastAttempt {
    /// Requests up to this ticket were made before the files were read.
    covers: u64,
    attempt: Option<Arc<Attempt>>,
}

/// An attempt to put the files in force.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Attempt {
    pub(crate) at: DateTime<Utc>,
    pub(crate) trigger: Trigger,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What an attempt was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trigger {
    /// A file has changed.
    File,
    Signal,
    Admin,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Outcome {
    Applied {
        /// Of the configuration in force since then.
        hash: Arc<str>,
        /// Settings whose values differ from those before.
        changed: Vec<String>,
    },
    /// The configuration before stays in force.
    Refused { errors: Vec<Fault> },
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Fault {
    /// The setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// With the place: a file with line and column, or a variable.
    pub(crate) message: String,
    #[serde(skip)]
    pub(crate) code: &'static str,
}

impl Reloads {
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        Self {
            asked: Notify::new(),
            tickets: AtomicU64::new(0),
            done: watch::Sender::default(),
            in_force_since: Mutex::new(now),
            started: Instant::now(),
        }
    }

    /// Asks for an attempt, and waits for its outcome. `None`: there was none within `limit`.
    pub(crate) async fn request(&self, limit: Duration) -> Option<Arc<Attempt>> {
        let mut done = self.done.subscribe();
        let ticket = self.tickets.fetch_add(1, Ordering::SeqCst) + 1;
        self.asked.notify_one();
        let covered = timeout(limit, done.wait_for(|done| done.covers >= ticket)).await;
        covered.ok()?.ok()?.attempt.clone()
    }

    /// Waits until an attempt is asked for.
    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// The requests so far; of an attempt, to be taken before the files are read.
    pub(crate) fn requested(&self) -> u64 {
        self.tickets.load(Ordering::SeqCst)
    }

    pub(crate) fn finished(&self, covers: u64, attempt: Attempt) {
        if let Outcome::Applied { .. } = attempt.outcome {
            *self.since() = attempt.at;
        }
        let attempt = Some(Arc::new(attempt));
        self.done.send_replace(LastAttempt { covers, attempt });
    }

    /// Since the start, there may have been none.
    pub(crate) fn last(&self) -> Option<Arc<Attempt>> {
        self.done.borrow().attempt.clone()
    }

    pub(crate) fn in_force_since(&self) -> DateTime<Utc> {
        *self.since()
    }

    /// Since the start of the process.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    fn since(&self) -> std::sync::MutexGuard<'_, DateTime<Utc>> {
        self.in_force_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    pub(crate) fn applied(hash: &str, mut changed: Vec<String>) -> Self {
        changed.truncate(MAX_LISTED);
        let hash = hash.into();
        Self::Applied { hash, changed }
    }

    pub(crate) fn refused(error: ConfigError) -> Self {
        let errors = error.each().into_iter().take(MAX_LISTED);
        Self::Refused {
            errors: errors.map(Fault::of).collect(),
        }
    }
}

impl Fault {
    fn of(error: ConfigError) -> Self {
        let message = error.to_string();
        let (key, code) = match error {
            ConfigError::Read { .. } => (None, "unreadable_file"),
            ConfigError::Syntax { .. } | ConfigError::Several(_) => (None, "invalid_syntax"),
            ConfigError::Unknown { key, .. } => (Some(key), "unknown_setting"),
            ConfigError::Invalid { key, .. } => (Some(key), "invalid_setting"),
        };
        Self { key, message, code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt() -> Attempt {
        Attempt {
            at: DateTime::UNIX_EPOCH,
            trigger: Trigger::Admin,
            outcome: Outcome::applied("a", Vec::new()),
        }
    }

    #[tokio::test]
    async fn a_request_is_answered_by_an_attempt_that_read_the_files_after_it() {
        let reloads = Arc::new(Reloads::new(DateTime::UNIX_EPOCH));
        let ask = |reloads: Arc<Reloads>| async move { reloads.request(Duration::MAX).await };
        let before = reloads.requested();
        let first = tokio::spawn(ask(Arc::clone(&reloads)));
        reloads.asked().await;
        // The files were read before the request.
        reloads.finished(before, attempt());
        assert!(!first.is_finished());
        let second = tokio::spawn(ask(Arc::clone(&reloads)));
        reloads.asked().await;
        let covers = reloads.requested();
        reloads.finished(covers, attempt());
        let (first, second) = (
            first.await.unwrap().unwrap(),
            second.await.unwrap().unwrap(),
        );
        assert!(Arc::ptr_eq(&first, &second));
        assert!(reloads.request(Duration::ZERO).await.is_none());
    }
}
