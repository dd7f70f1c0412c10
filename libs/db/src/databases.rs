//! The pools of a process, whose credentials may change while it runs.
//!
//! - A pool belongs to the setting that names its database; a changed URL concerns all pools of it.
//! - New connections use the new URL from then on. Postgres keeps sessions whose password has
//!   changed, so older connections finish what they do, and are closed when they come back.
//! - Without that, a rotated password would show hours later, when a connection is lost, in every
//!   replica at once.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use quartet_common::config::{ConfigError, Database};
use sqlx::{
    ConnectOptions as _, Connection as _, PgPool, pool::PoolConnectionMetadata,
    postgres::PgConnectOptions,
};

use crate::{
    migrations::SchemaError,
    pool::{options, pool_options},
};

/// Cheap to clone; clones share the pools.
#[derive(Clone, Default)]
pub struct Databases(Arc<Mutex<Vec<OpenPool>>>);

struct OpenPool {
    key: &'static str,
    settings: Database,
    application: String,
    pool: PgPool,
    rotated: Rotated,
}

/// Why another URL is not used.
#[derive(Debug, thiserror::Error)]
pub enum RotateFailure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Database(#[from] SchemaError),
}

impl OpenPool {
    fn replace(&mut self, settings: Database, options: PgConnectOptions) {
        self.settings = settings;
        self.pool.set_connect_options(options);
        self.rotated.now();
        // Those in use follow when they are released.
        for _ in 0..self.pool.num_idle() {
            let Some(mut idle) = self.pool.try_acquire() else {
                break;
            };
            idle.close_on_drop();
        }
    }
}

/// When the credentials of a pool have changed last.
#[derive(Clone, Default)]
struct Rotated(Arc<Mutex<Option<Instant>>>);

impl Rotated {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection was opened with the credentials of today.
    fn allows(&self, connection: &PoolConnectionMetadata) -> bool {
        let rotated = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rotated.is_none_or(|rotated| connection.age < rotated.elapsed())
    }
}

impl fmt::Debug for Databases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.lock().iter().map(|entry| &entry.application))
            .finish()
    }
}

impl Databases {
    /// A pool as [`pool`](crate::pool) makes it; `key` is the setting that holds `settings.url`.
    ///
    /// # Errors
    /// When the URL is not valid.
    pub fn open(
        &self,
        key: &'static str,
        settings: &Database,
        application: &str,
    ) -> Result<PgPool, ConfigError> {
        let rotated = Rotated::default();
        let allowing = rotated.clone();
        let pool = pool_options(settings, move |meta| allowing.allows(meta))
            .connect_lazy_with(options(settings, application)?);
        self.lock().push(OpenPool {
            key,
            settings: settings.clone(),
            application: application.to_owned(),
            pool: pool.clone(),
            rotated,
        });
        Ok(pool)
    }

    /// The settings whose pools can be given another URL.
    pub fn keys(&self) -> Vec<&'static str> {
        let mut keys: Vec<_> = self.lock().iter().map(|entry| entry.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Connects with other URLs from now on, each that of the setting beside it, and closes the
    /// connections of before. Not before the databases have accepted all of them: a password may
    /// reach the file earlier than Postgres. The pools of a key differ in the name of their
    /// application only, so that the first one is asked.
    ///
    /// # Errors
    /// When a URL is not valid or not accepted; nothing changes then.
    pub async fn rotate(&self, urls: &[(&str, &str)]) -> Result<(), RotateFailure> {
        let mut ready = Vec::new();
        for (key, url) in urls {
            let replacements = self.replacements(key, url)?;
            if let Some((_, settings, options)) = replacements.first() {
                let limit = Duration::from_secs(settings.acquire_timeout_seconds);
                let accepted = tokio::time::timeout(limit, options.connect()).await;
                let accepted = accepted.unwrap_or(Err(sqlx::Error::PoolTimedOut));
                let _ = accepted.map_err(SchemaError::from)?.close().await;
            }
            ready.extend(replacements);
        }
        let mut entries = self.lock();
        for (index, settings, options) in ready {
            entries[index].replace(settings, options);
        }
        Ok(())
    }

    /// What the pools of a key need for another URL, each with its place in the list.
    fn replacements(
        &self,
        key: &str,
        url: &str,
    ) -> Result<Vec<(usize, Database, PgConnectOptions)>, ConfigError> {
        let entries = self.lock();
        let of_key = entries.iter().enumerate().filter(|(_, it)| it.key == key);
        let replacements = of_key.map(|(index, entry)| {
            let settings = Database {
                url: url.into(),
                ..entry.settings.clone()
            };
            let options = options(&settings, &entry.application)?;
            Ok((index, settings, options))
        });
        replacements.collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<OpenPool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
