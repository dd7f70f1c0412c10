//! The redirect cache: links by domain and slug, and slugs that no link has.
//!
//! ```text
//!  read      soft life (45 s)        twice that                     hard life (1 day)
//!   |  fresh     |  aging: used, and  |  outdated: read again before  |  missing
//!   |            |  read again behind |  use; used if that fails      |
//! ```
//!
//! Invariants, on each replica:
//! - Links redirect for the hard life although Postgres is away. A link that was never read, or a slug
//!   that was unknown a moment ago, needs Postgres: the request says so at once.
//! - One lookup runs per slug, however many requests wait for it, and it ends even if they do not wait.
//!   The number of lookups is bounded, and so is the wait of a request.
//! - An edit on this replica is visible to the next request: `forget` runs before the mutation
//!   returns, and no request joins a lookup that began before it. Edits on other replicas arrive by
//!   `NOTIFY`; the soft life bounds the staleness when one is lost. After a gap in the notifications
//!   every link is outdated (`forget_all`), not forgotten: Postgres may be gone again.
//! - A lookup that was under way during an edit leaves nothing stale behind. It may have read the row
//!   from before the edit and would cache it after `forget` has run. So every edit increments a
//!   counter, and a lookup whose counter has changed is repeated or not cached:
//!
//! ```text
//! lookup:  counter = 7 ──── SELECT (old row) ─────────── counter = 8: do not keep
//! edit:                            COMMIT, counter = 8, forget
//! ```

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use moka::sync::Cache;
use quartet_common::clock::Clock;
use sqlx::PgPool;

use super::edits::Edits;
use crate::{
    config,
    domain::values::short_urls::{ShortUrl, ShortUrlRef},
    error::Error,
    metrics::LinksMetrics,
    store::{
        links::LinkId,
        redirects::{self, RedirectRow},
    },
};

/// A lookup that is overtaken by edits this often is used once and not cached.
const LOAD_ATTEMPTS: usize = 3;
/// How long a request with an outdated link waits for a new one.
const REFRESH_WAIT: Duration = Duration::from_millis(250);
/// How long a request waits for a link that is not cached, beside the wait for a connection.
const LOAD_WAIT: Duration = Duration::from_secs(2);
/// The pause after an attempt to read a link again.
const RETRY_MS: i64 = 1000;
/// Lookups that run or wait for a connection; further ones fail at once.
const MAX_LOADS: usize = 512;
/// What a cached link takes beside its slug and its target.
const ENTRY_BYTES: usize = 320;

/// Clones share the cache.
#[derive(Clone, Debug)]
pub(crate) struct RedirectCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: PgPool,
    clock: Clock,
    metrics: LinksMetrics,
    soft_ms: i64,
    hard_ms: i64,
    connection_wait: Duration,
    known: Cache<ShortUrl, Arc<CachedRoute>>,
    unknown: Cache<ShortUrl, ()>,
    /// How often edits may have been missed. Links that were read before the last time are outdated.
    gaps: AtomicU64,
    edits: Edits,
    loads: Mutex<Loads>,
}

/// The lookups that requests may join.
#[derive(Debug, Default)]
struct Loads {
    by_url: HashMap<ShortUrl, (u64, Load)>,
    /// All that run, joined or not.
    running: usize,
    /// How many there have been; each is known by its number.
    begun: u64,
}

/// A link as it is cached.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) link_id: LinkId,
    /// Visible ASCII.
    pub(crate) target: Bytes,
    pub(crate) status: u16,
    pub(crate) enabled: bool,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) has_max_clicks: bool,
}

#[derive(Debug)]
struct CachedRoute {
    route: Arc<Route>,
    read: ReadMark,
    /// When it was last tried to read the link again.
    tried_at: AtomicI64,
}

/// The moment before a link was read.
#[derive(Clone, Copy, Debug)]
struct ReadMark {
    at: i64,
    gaps: u64,
    edits: u64,
}

enum CacheLookup {
    Fresh(Arc<Route>),
    /// `claimed`: this request is the one that reads the link again.
    Aging {
        route: Arc<Route>,
        claimed: bool,
    },
    Outdated {
        route: Arc<Route>,
        claimed: bool,
    },
    Unknown,
    Missing,
}

type LoadResult = Result<Option<Arc<Route>>, LoadError>;
type Load = Shared<BoxFuture<'static, LoadResult>>;

#[derive(Clone, Debug)]
enum LoadError {
    Database(Arc<sqlx::Error>),
    Late,
}

impl RedirectCache {
    pub(crate) fn new(
        settings: &config::Redirects,
        db: PgPool,
        clock: Clock,
        metrics: LinksMetrics,
    ) -> Self {
        let hard_life = Duration::from_secs(settings.cache_keep_seconds);
        let known = Cache::<ShortUrl, Arc<CachedRoute>>::builder()
            .max_capacity(settings.cache_bytes)
            .weigher(|url, entry| {
                let bytes = url.as_ref().slug.len() + entry.route.target.len() + ENTRY_BYTES;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .time_to_live(hard_life)
            .build();
        let unknown = Cache::builder()
            .max_capacity(settings.unknown_entries)
            .time_to_live(Duration::from_secs(settings.unknown_ttl_seconds))
            .build();
        let ms = |seconds: u64| i64::try_from(seconds * 1000).unwrap_or(i64::MAX);
        Self(Arc::new(Inner {
            db,
            clock,
            metrics,
            soft_ms: ms(settings.cache_refresh_seconds),
            hard_ms: ms(settings.cache_keep_seconds),
            connection_wait: settings.connection_wait(),
            known,
            unknown,
            gaps: AtomicU64::default(),
            edits: Edits::default(),
            loads: Mutex::default(),
        }))
    }

    /// Forgets a slug whose link was created, changed or deleted.
    pub(crate) fn forget(&self, url: ShortUrlRef<'_>) {
        self.0.edits.record(url);
        self.0.loads().by_url.remove(&url.to_owned());
        self.0.unknown.invalidate(&url);
        self.0.known.invalidate(&url);
    }

    /// Trusts nothing that is cached, when edits may have been missed.
    pub(crate) fn forget_all(&self) {
        self.0.gaps.fetch_add(1, Ordering::AcqRel);
        self.0.edits.record_all();
        self.0.loads().by_url.clear();
        self.0.unknown.invalidate_all();
    }

    /// The link of a slug if it is cached and fresh.
    pub(crate) fn peek(&self, url: ShortUrlRef<'_>, now: DateTime<Utc>) -> Option<Arc<Route>> {
        let entry = self.0.known.get(&url)?;
        self.0
            .is_fresh(&entry, now.timestamp_millis())
            .then(|| Arc::clone(&entry.route))
    }

    /// The link of a slug, from the cache or the database.
    ///
    /// # Errors
    /// `Database` when the link is not cached and cannot be read.
    pub(crate) async fn get(
        &self,
        url: ShortUrlRef<'_>,
        now: DateTime<Utc>,
    ) -> Result<Option<Arc<Route>>, Error> {
        match self.0.find(url, now.timestamp_millis()) {
            CacheLookup::Fresh(route) => Ok(Some(route)),
            CacheLookup::Aging { route, claimed } => {
                if claimed {
                    // Runs on its own.
                    drop(self.load(url));
                }
                Ok(Some(route))
            }
            CacheLookup::Outdated { route, claimed } => {
                if claimed && let Ok(loaded) = within(REFRESH_WAIT, self.load(url)).await {
                    return Ok(loaded);
                }
                self.0.metrics.redirects_outdated.inc();
                Ok(Some(route))
            }
            CacheLookup::Unknown => Ok(None),
            CacheLookup::Missing => {
                let limit = self.0.connection_wait + LOAD_WAIT;
                within(limit, self.load(url)).await.map_err(Error::from)
            }
        }
    }

    /// Reads a link from the database, or joins the request that does so already.
    fn load(&self, url: ShortUrlRef<'_>) -> Load {
        let url = url.to_owned();
        let mut loads = self.0.loads();
        if let Some((_, load)) = loads.by_url.get(&url) {
            return load.clone();
        }
        if loads.running >= MAX_LOADS {
            let busy = LoadError::Database(Arc::new(sqlx::Error::PoolTimedOut));
            return async { Err(busy) }.boxed().shared();
        }
        // A task of its own: a request that is dropped leaves the others their answer.
        loads.running += 1;
        loads.begun += 1;
        let running = RunningLoad {
            inner: Arc::clone(&self.0),
            url: url.clone(),
            number: loads.begun,
        };
        let number = loads.begun;
        let task = tokio::spawn(load(running));
        let load = async { task.await.unwrap_or(Err(LoadError::Late)) };
        let load = load.boxed().shared();
        loads.by_url.insert(url, (number, load.clone()));
        load
    }
}

impl Inner {
    fn find(&self, url: ShortUrlRef<'_>, now: i64) -> CacheLookup {
        let Some(entry) = self.known.get(&url) else {
            return if self.unknown.contains_key(&url) {
                CacheLookup::Unknown
            } else {
                CacheLookup::Missing
            };
        };
        let route = Arc::clone(&entry.route);
        if self.is_fresh(&entry, now) {
            return CacheLookup::Fresh(route);
        }
        // A clock that was set back makes a route old, not young.
        let age = (now - entry.read.at).abs();
        if age >= self.hard_ms {
            return CacheLookup::Missing;
        }
        if age < 2 * self.soft_ms && entry.read.gaps == self.gaps.load(Ordering::Acquire) {
            let claimed = entry.claim(now);
            return CacheLookup::Aging { route, claimed };
        }
        let claimed = entry.claim(now);
        CacheLookup::Outdated { route, claimed }
    }

    fn is_fresh(&self, entry: &CachedRoute, now: i64) -> bool {
        // A clock that was set back must not make a route fresh for longer.
        (now - entry.read.at).abs() < self.soft_ms
            && entry.read.gaps == self.gaps.load(Ordering::Acquire)
    }

    /// Caches what a lookup found, unless an edit has overtaken it.
    fn keep(&self, url: ShortUrlRef<'_>, read: ReadMark, route: Option<&Arc<Route>>) {
        if let Some(route) = route {
            let entry = CachedRoute {
                route: Arc::clone(route),
                read,
                tried_at: AtomicI64::new(read.at),
            };
            self.unknown.invalidate(&url);
            self.known.insert(url.to_owned(), Arc::new(entry));
        } else {
            self.known.invalidate(&url);
            self.unknown.insert(url.to_owned(), ());
        }
        if self.edits.of(url) != read.edits {
            self.known.invalidate(&url);
            self.unknown.invalidate(&url);
        }
    }

    fn loads(&self) -> MutexGuard<'_, Loads> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedRoute {
    /// Whether the caller is the one that reads the link again.
    fn claim(&self, now: i64) -> bool {
        let tried_at = self.tried_at.load(Ordering::Relaxed);
        // Also when the clock was set back since.
        (now - tried_at).abs() >= RETRY_MS
            && self
                .tried_at
                .compare_exchange(tried_at, now, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

/// A lookup, removed however it ends.
struct RunningLoad {
    inner: Arc<Inner>,
    url: ShortUrl,
    number: u64,
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        let mut loads = self.inner.loads();
        loads.running -= 1;
        // After an edit, another lookup may have its place.
        let own = loads.by_url.get(&self.url);
        if own.is_some_and(|(number, _)| *number == self.number) {
            loads.by_url.remove(&self.url);
        }
    }
}

async fn load(running: RunningLoad) -> LoadResult {
    let (inner, url) = (&*running.inner, running.url.as_ref());
    let mut attempts = LOAD_ATTEMPTS;
    loop {
        let read = ReadMark {
            at: inner.clock.now().timestamp_millis(),
            gaps: inner.gaps.load(Ordering::Acquire),
            edits: inner.edits.of(url),
        };
        inner.metrics.redirect_loads.inc();
        let row = find(inner, url).await;
        let row = row.map_err(|error| LoadError::Database(Arc::new(error)))?;
        let route = row.map(|row| Arc::new(Route::from(row)));
        attempts -= 1;
        if inner.edits.of(url) == read.edits {
            inner.keep(url, read, route.as_ref());
            return Ok(route);
        }
        if attempts == 0 {
            return Ok(route);
        }
    }
}

async fn find(inner: &Inner, url: ShortUrlRef<'_>) -> Result<Option<RedirectRow>, sqlx::Error> {
    let mut db = redirects::acquire(&inner.db, inner.connection_wait).await?;
    redirects::by_slug(&mut db, url.domain, url.slug).await
}

async fn within(limit: Duration, load: Load) -> LoadResult {
    let waited = tokio::time::timeout(limit, load).await;
    waited.unwrap_or(Err(LoadError::Late))
}

impl From<RedirectRow> for Route {
    fn from(row: RedirectRow) -> Self {
        Self {
            link_id: row.id,
            target: row.url.into(),
            status: status_code(row.redirect_status),
            enabled: row.enabled,
            expires_at: row.expires_at,
            has_max_clicks: row.max_clicks.is_some(),
        }
    }
}

/// The table holds 301, 302, 307 and 308 only.
pub(crate) fn status_code(stored: i16) -> u16 {
    u16::try_from(stored).unwrap_or(302)
}

/// All requests that wait for one lookup receive its error, and `sqlx::Error` cannot be cloned.
impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        let LoadError::Database(error) = error else {
            return Self::Database(sqlx::Error::PoolTimedOut);
        };
        let text = error.to_string();
        Self::Database(if quartet_db::is_transient(&error) {
            sqlx::Error::Io(std::io::Error::other(text))
        } else {
            sqlx::Error::Configuration(text.into())
        })
    }
}

#[cfg(test)]
mod tests;
