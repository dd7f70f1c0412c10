//! The click log: where a click is safe before its redirect is sent.
//!
//! ```text
//! redirect -> append -> [ segment 1 | segment 2 | segment 3 ... ] -> flush job -> Postgres
//!                         deleted once stored      written here
//! ```
//!
//! A click is in one of three states: *appended* (its redirect may be sent), *stored* (Postgres has
//! it) or *dropped*. Dropping is allowed only by `clicks.when_log_is_full = "redirect"`; it is
//! counted, and logged at most every ten seconds, because a full disk must not be filled by reports
//! of itself. Without the log, a click would be lost whenever the process is killed between the
//! redirect and the next batch, or while Postgres is unavailable.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    config::{self, FsyncMode, WhenLogIsFull},
    domain::values::click::{Click, MAX_ENCODED_BYTES},
    error::Error,
    wal::{self, AppendError, Directory, Fsync, Wal},
};

const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The click log of this replica. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct ClickLog {
    wal: Wal,
    /// Locked for as long as the replica lives.
    directory: Arc<Directory>,
    when_full: WhenLogIsFull,
    reported_at: Arc<Mutex<Option<Instant>>>,
    /// Set before the directory is removed: from then on it is not missed.
    has_ended: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Appended {
    Persisted,
    /// The log could not be written, and the settings prefer the redirect to the click.
    Dropped,
}

impl ClickLog {
    /// Creates the log in a directory of its own below `clicks.log_dir`.
    pub(crate) fn create(settings: &config::Clicks, name: &str) -> io::Result<Self> {
        let directory = Directory::create(&settings.log_dir, name)?;
        let wal = Wal::create(directory.path().to_owned(), wal_settings(settings))?;
        Ok(Self {
            wal,
            directory: Arc::new(directory),
            when_full: settings.when_log_is_full,
            reported_at: Arc::default(),
            has_ended: Arc::default(),
        })
    }

    pub(crate) fn wal(&self) -> &Wal {
        &self.wal
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Finds out, without an append, whether one would succeed. A log whose directory was removed is
    /// created again: what was only there is lost, and would be without end.
    ///
    /// # Errors
    /// Why clicks cannot be logged, without internals.
    pub(crate) async fn probe(&self) -> Result<(), &'static str> {
        if self.has_ended.load(Ordering::Acquire) {
            return Ok(());
        }
        let directory = Arc::clone(&self.directory);
        let probed = tokio::task::spawn_blocking(move || probe(&directory)).await;
        match probed.map_err(io::Error::other).flatten() {
            Ok(false) => {}
            Ok(true) if self.wal.seal().await.is_ok() => {}
            Ok(true) => return Err("cannot be written"),
            Err(error) => {
                let directory = self.directory.path().display();
                tracing::warn!(%directory, %error, "the click log cannot be written");
                return Err("cannot be written");
            }
        }
        if self.wal.is_full(MAX_ENCODED_BYTES) {
            return Err("is full");
        }
        Ok(())
    }

    /// Writes a click to the log. Afterwards its redirect may be sent.
    ///
    /// # Errors
    /// `LogUnavailable` when the log cannot be written and clicks must not be dropped.
    pub(crate) async fn append(&self, click: &Click) -> Result<Appended, Error> {
        let appended = {
            let mut buffer = [0; MAX_ENCODED_BYTES];
            self.wal.append(click.encode(&mut buffer))
        };
        match appended.await {
            Ok(()) => Ok(Appended::Persisted),
            Err(error) if self.may_drop(&error) => {
                self.report(&error);
                Ok(Appended::Dropped)
            }
            Err(error) => Err(Error::LogUnavailable(error)),
        }
    }

    /// Removes the log, all of whose clicks must be stored.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.has_ended.store(true, Ordering::Release);
        self.directory.remove()
    }

    fn report(&self, error: &AppendError) {
        let mut reported_at = self
            .reported_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if reported_at.is_none_or(|at| at.elapsed() >= REPORT_INTERVAL) {
            *reported_at = Some(Instant::now());
            tracing::error!(error = %describe(error), "clicks are being dropped");
        }
    }

    fn may_drop(&self, error: &AppendError) -> bool {
        self.when_full == WhenLogIsFull::Redirect && !matches!(error, AppendError::Closed)
    }
}

/// Whether the directory had to be restored.
fn probe(directory: &Directory) -> io::Result<bool> {
    let is_in_place = directory.is_in_place();
    if !is_in_place {
        let path = directory.path().display();
        tracing::error!(directory = %path, "the directory of the click log was removed");
        directory.restore()?;
    }
    directory.probe()?;
    Ok(!is_in_place)
}

fn wal_settings(settings: &config::Clicks) -> wal::Settings {
    let interval = Duration::from_millis(settings.fsync_interval_ms);
    wal::Settings {
        fsync: match settings.fsync {
            FsyncMode::Group => Fsync::Group,
            FsyncMode::Interval => Fsync::Interval(interval),
            FsyncMode::Off => Fsync::Off,
        },
        segment_bytes: settings.segment_bytes,
        limit_bytes: settings.log_limit_bytes,
    }
}

fn describe(error: &AppendError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
