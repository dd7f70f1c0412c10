//! The redirect cache: links by slug, and slugs that no link has.
//!
//! Invariants, on each replica:
//! - One lookup runs per slug, however many requests wait for it (`try_get_with`).
//! - An edit on this replica is visible to the next request: `forget` runs before the mutation
//!   returns. Edits on other replicas arrive by `NOTIFY`; the time to live bounds the staleness when
//!   a notification is lost.
//! - A lookup that was under way during an edit leaves nothing stale behind. It may have read the row
//!   from before the edit and would cache it after `forget` has run. So every edit increments a
//!   counter, and a lookup whose counter has changed is repeated or not cached:
//!
//! ```text
//! lookup:  counter = 7 ──── SELECT (old row) ─────────── counter = 8: do not keep
//! edit:                            COMMIT, counter = 8, forget
//! ```

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use http::HeaderValue;
use moka::{future::Cache, sync::Cache as SyncCache};
use prometheus_client::metrics::counter::Counter;
use sqlx::PgPool;

use crate::{
    config,
    domain::values::{slugs::Slug, targets},
    error::Error,
    store::{
        links::LinkId,
        redirects::{self, RedirectRow},
    },
};

/// Edit counters. One for all slugs would make each edit repeat every lookup under way.
const SHARDS: usize = 256;
/// A lookup that is overtaken by edits this often is used once and not cached.
const LOAD_ATTEMPTS: usize = 3;

/// Clones share the cache.
#[derive(Clone, Debug)]
pub(crate) struct RedirectCache {
    known: Cache<Box<str>, Arc<Route>>,
    unknown: SyncCache<Box<str>, ()>,
    edits: Arc<Edits>,
    loads: Counter,
}

/// A link as it is cached.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) link_id: LinkId,
    pub(crate) location: HeaderValue,
    pub(crate) status: u16,
    pub(crate) enabled: bool,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) has_max_clicks: bool,
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("no link has the slug")]
    Unknown,
    #[error(transparent)]
    Database(sqlx::Error),
}

impl RedirectCache {
    pub(crate) fn new(settings: &config::Redirects, loads: Counter) -> Self {
        let known = Cache::builder()
            .max_capacity(settings.cache_entries)
            .time_to_live(Duration::from_secs(settings.cache_ttl_seconds))
            .build();
        let unknown = SyncCache::builder()
            .max_capacity(settings.unknown_entries)
            .time_to_live(Duration::from_secs(settings.unknown_ttl_seconds))
            .build();
        Self {
            known,
            unknown,
            edits: Arc::default(),
            loads,
        }
    }

    /// Forgets a slug whose link was created, changed or deleted.
    pub(crate) async fn forget(&self, slug: &str) {
        self.edits.record(slug);
        self.unknown.invalidate(slug);
        self.known.invalidate(slug).await;
    }

    /// Forgets everything, when edits may have been missed.
    pub(crate) fn forget_all(&self) {
        self.edits.record_all();
        self.unknown.invalidate_all();
        self.known.invalidate_all();
    }

    /// The link of a slug, from the cache or the database.
    pub(crate) async fn get(
        &self,
        pool: &PgPool,
        slug: &Slug,
    ) -> Result<Option<Arc<Route>>, Error> {
        let slug = slug.as_str();
        if let Some(route) = self.known.get(slug).await {
            return Ok(Some(route));
        }
        if self.unknown.contains_key(slug) {
            return Ok(None);
        }
        let before = self.edits.of(slug);
        let load = self.load(pool, slug);
        let loaded = self.known.try_get_with(slug.into(), load).await;
        let route = match loaded.as_ref().map_err(Arc::as_ref) {
            Ok(route) => Some(Arc::clone(route)),
            Err(LoadError::Unknown) => {
                self.unknown.insert(slug.into(), ());
                None
            }
            Err(LoadError::Database(error)) => return Err(Error::Database(copy(error))),
        };
        if self.edits.of(slug) != before {
            self.known.invalidate(slug).await;
            self.unknown.invalidate(slug);
        }
        Ok(route)
    }

    async fn load(&self, pool: &PgPool, slug: &str) -> Result<Arc<Route>, LoadError> {
        let mut attempts = LOAD_ATTEMPTS;
        loop {
            let before = self.edits.of(slug);
            self.loads.inc();
            let row = find(pool, slug).await.map_err(LoadError::Database)?;
            attempts -= 1;
            if self.edits.of(slug) == before || attempts == 0 {
                return row
                    .and_then(Route::new)
                    .map(Arc::new)
                    .ok_or(LoadError::Unknown);
            }
        }
    }
}

impl Route {
    fn new(row: RedirectRow) -> Option<Self> {
        Some(Self {
            link_id: row.id,
            location: targets::location(&row.url)?,
            status: status_code(row.redirect_status),
            enabled: row.enabled,
            expires_at: row.expires_at,
            has_max_clicks: row.max_clicks.is_some(),
        })
    }
}

/// The table holds 301, 302, 307 and 308 only.
pub(crate) fn status_code(stored: i16) -> u16 {
    u16::try_from(stored).unwrap_or(302)
}

async fn find(pool: &PgPool, slug: &str) -> Result<Option<RedirectRow>, sqlx::Error> {
    redirects::by_slug(&mut *pool.acquire().await?, slug).await
}

/// All requests that wait for one lookup receive its error, and `sqlx::Error` cannot be cloned.
fn copy(error: &sqlx::Error) -> sqlx::Error {
    let text = error.to_string();
    if quartet_db::is_transient(error) {
        sqlx::Error::Io(std::io::Error::other(text))
    } else {
        sqlx::Error::Configuration(text.into())
    }
}

/// Counts the edits of slugs, by shard.
#[derive(Debug)]
struct Edits {
    shards: Vec<AtomicU64>,
    hasher: RandomState,
}

impl Default for Edits {
    fn default() -> Self {
        let shards = std::iter::repeat_with(AtomicU64::default)
            .take(SHARDS)
            .collect();
        Self {
            shards,
            hasher: RandomState::new(),
        }
    }
}

impl Edits {
    fn of(&self, slug: &str) -> u64 {
        self.shard(slug).load(Ordering::Acquire)
    }

    fn record(&self, slug: &str) {
        self.shard(slug).fetch_add(1, Ordering::AcqRel);
    }

    fn record_all(&self) {
        for shard in &self.shards {
            shard.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn shard(&self, slug: &str) -> &AtomicU64 {
        let hash = self.hasher.hash_one(slug);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        &self.shards[index]
    }
}
