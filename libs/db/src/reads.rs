//! Reads that may be older than the latest write, from a standby where one is configured.
//!
//! The guarantee: what [`Reads::begin_as`] sees is at most `database.read_max_lag_seconds` old. It is
//! measured by positions in the write-ahead log, not by clocks: a check notes where the primary
//! writes, and the standby is as old as the latest position that it has replayed. A standby that lags
//! further, does not respond, or has not been checked lately is not asked; the primary is.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use quartet_common::{
    config::{ConfigError, Database},
    principal::Principal,
};
use secrecy::ExposeSecret;
use sqlx::PgPool;

use crate::{
    connections::read,
    databases::Databases,
    error::is_transient,
    statement::{begin_as, statement},
    transaction::Transaction,
};

/// Time between two checks of the standby.
pub const CHECK: Duration = Duration::from_secs(1);
/// How long a standby may keep a request waiting for a connection before the primary is asked.
const PATIENCE_SECONDS: u64 = 1;

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Reads {
    primary: PgPool,
    standby: Option<Arc<Standby>>,
}

#[derive(Debug)]
struct Standby {
    pool: PgPool,
    max_lag: Duration,
    progress: Mutex<Progress>,
    /// What was logged last.
    used: AtomicBool,
}

/// Positions of the primary that the standby has yet to reach, and the time of the latest one that
/// it has reached.
#[derive(Debug, Default)]
struct Progress {
    ahead: VecDeque<(Instant, i64)>,
    as_of: Option<Instant>,
}

impl Progress {
    /// The primary wrote at `position` when the check began, at `now`.
    fn note(&mut self, now: Instant, position: i64, max_lag: Duration) {
        self.ahead.push_back((now, position));
        // Older ones would not make the standby usable.
        while self
            .ahead
            .front()
            .is_some_and(|(at, _)| now - *at > max_lag)
        {
            self.ahead.pop_front();
        }
    }

    fn replayed(&mut self, position: i64) {
        while let Some((at, _)) = self.ahead.pop_front_if(|(_, ahead)| *ahead <= position) {
            self.as_of = Some(at);
        }
    }
}

impl Reads {
    /// Opens the pool of the standby, if there is one; connects to nothing.
    ///
    /// # Errors
    /// When its URL is not valid.
    pub fn open(
        databases: &Databases,
        primary: PgPool,
        settings: &Database,
        application: &str,
    ) -> Result<Self, ConfigError> {
        if settings.read_url.expose_secret().is_empty() {
            return Ok(Self {
                primary,
                standby: None,
            });
        }
        let patient = Database {
            url: settings.read_url.clone(),
            acquire_timeout_seconds: settings.acquire_timeout_seconds.min(PATIENCE_SECONDS),
            ..settings.clone()
        };
        let pool = databases.open("database.read_url", &patient, application)?;
        let standby = Standby {
            pool,
            max_lag: Duration::from_secs(settings.read_max_lag_seconds),
            progress: Mutex::default(),
            used: AtomicBool::new(false),
        };
        Ok(Self {
            primary,
            standby: Some(Arc::new(standby)),
        })
    }

    /// Whether there is a standby to check.
    pub fn has_standby(&self) -> bool {
        self.standby.is_some()
    }

    /// Begins a transaction that only reads, as [`begin_as`] on the primary does.
    ///
    /// # Errors
    /// When neither database responds.
    pub async fn begin_as(&self, principals: &[Principal]) -> Result<Transaction, sqlx::Error> {
        if let Some(standby) = &self.standby
            && standby.is_usable(Instant::now())
        {
            match begin_as(&standby.pool, principals).await {
                Err(error) if is_transient(&error) => standby.lost(&error),
                begun => return begun,
            }
        }
        begin_as(&self.primary, principals).await
    }

    /// Measures how old the standby is. To be called every [`CHECK`].
    ///
    /// # Errors
    /// When one of the two does not respond. The standby is then used until it may be too old.
    pub async fn check(&self) -> Result<(), sqlx::Error> {
        let Some(standby) = &self.standby else {
            return Ok(());
        };
        let began = Instant::now();
        let mut db = read(&self.primary).await?;
        let position = "SELECT (pg_current_wal_lsn() - '0/0')::bigint";
        let position: i64 = statement("standby.written", async {
            sqlx::query_scalar(position).fetch_one(&mut *db).await
        })
        .await?;
        drop(db);
        let mut db = read(&standby.pool).await?;
        // Not in recovery: no standby, but another way to a primary.
        let replayed = "SELECT CASE WHEN pg_is_in_recovery()
            THEN coalesce((pg_last_wal_replay_lsn() - '0/0')::bigint, 0) END";
        let replayed: Option<i64> = statement("standby.replayed", async {
            sqlx::query_scalar(replayed).fetch_one(&mut *db).await
        })
        .await?;
        standby.checked(began, position, replayed.unwrap_or(position));
        Ok(())
    }
}

impl Standby {
    fn is_usable(&self, now: Instant) -> bool {
        let as_of = self.lock().as_of;
        as_of.is_some_and(|as_of| now - as_of <= self.max_lag)
    }

    fn checked(&self, began: Instant, position: i64, replayed: i64) {
        let mut progress = self.lock();
        progress.note(began, position, self.max_lag);
        progress.replayed(replayed);
        drop(progress);
        let used = self.is_usable(Instant::now());
        if self.used.swap(used, Ordering::Relaxed) != used {
            if used {
                tracing::info!("reads go to the standby");
            } else {
                tracing::warn!("standby lags; reads go to the primary");
            }
        }
    }

    /// Until the next check finds it again.
    fn lost(&self, error: &sqlx::Error) {
        self.lock().as_of = None;
        if self.used.swap(false, Ordering::Relaxed) {
            tracing::warn!(%error, "standby does not respond; reads go to the primary");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
