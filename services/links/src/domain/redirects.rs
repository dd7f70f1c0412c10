//! Redirects: from a slug to an address, from memory where that is possible.

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
use uuid::Uuid;

use super::{slugs::Slug, targets};
use crate::{
    config,
    error::Error,
    store::{self, redirects::RedirectRow},
};

/// Edits are told apart by this many shards, so that one does not disturb all loads.
const SHARDS: usize = 256;
/// A load during which its slug was edited is done again, this often.
const LOAD_TRIES: usize = 3;

/// Finds out where slugs lead. Clones share the memory.
#[derive(Clone, Debug)]
pub(crate) struct Redirects {
    pool: PgPool,
    known: Cache<Box<str>, Arc<Route>>,
    unknown: SyncCache<Box<str>, ()>,
    edits: Arc<Edits>,
    /// Lookups that went to the database.
    pub(crate) loads: Counter,
}

/// What is remembered of a link.
#[derive(Debug)]
struct Route {
    link_id: Uuid,
    location: HeaderValue,
    status: u16,
    enabled: bool,
    expires_at: Option<DateTime<Utc>>,
    is_limited: bool,
}

/// What a request for a slug comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Found(Found),
    Unknown,
    Disabled,
    Expired,
    /// Every use is taken.
    Exhausted,
    /// The link counts its uses, and this request is not a person's.
    PeopleOnly,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) link_id: Uuid,
    pub(crate) location: HeaderValue,
    pub(crate) status: u16,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("there is no such slug")]
    Unknown,
    #[error(transparent)]
    Database(sqlx::Error),
}

impl Redirects {
    pub(crate) fn new(pool: PgPool, settings: &config::Redirects) -> Self {
        let known = Cache::builder()
            .max_capacity(settings.cache_entries)
            .time_to_live(Duration::from_secs(settings.cache_ttl_seconds))
            .build();
        let unknown = SyncCache::builder()
            .max_capacity(settings.unknown_entries)
            .time_to_live(Duration::from_secs(settings.unknown_ttl_seconds))
            .build();
        Self {
            pool,
            known,
            unknown,
            edits: Arc::default(),
            loads: Counter::default(),
        }
    }

    /// Where a visit goes. A link with a maximum gives its address to people only, and
    /// takes one of its uses in the database each time, past the cache.
    ///
    /// # Errors
    /// When the slug is not remembered and the database fails.
    pub(crate) async fn follow(
        &self,
        slug: &Slug,
        is_person: bool,
        now: DateTime<Utc>,
    ) -> Result<Answer, Error> {
        let Some(route) = self.route(slug).await? else {
            return Ok(Answer::Unknown);
        };
        if !route.enabled {
            return Ok(Answer::Disabled);
        }
        if route.expires_at.is_some_and(|at| at <= now) {
            return Ok(Answer::Expired);
        }
        if !route.is_limited {
            return Ok(Answer::Found(route.found()));
        }
        if !is_person {
            return Ok(Answer::PeopleOnly);
        }
        let taken = store::redirects::take_use(&self.pool, route.link_id, now).await?;
        Ok(taken
            .and_then(|row| Some((targets::location(&row.url)?, row.redirect_status)))
            .map_or(Answer::Exhausted, |(location, status)| {
                let status = status_code(status);
                Answer::Found(Found {
                    location,
                    status,
                    ..route.found()
                })
            }))
    }

    /// Forgets a slug whose link was made, edited or deleted.
    pub(crate) async fn forget(&self, slug: &str) {
        self.edits.note(slug);
        self.unknown.invalidate(slug);
        self.known.invalidate(slug).await;
    }

    /// Forgets everything, when edits may have been missed.
    pub(crate) fn forget_all(&self) {
        self.edits.note_all();
        self.unknown.invalidate_all();
        self.known.invalidate_all();
    }

    async fn route(&self, slug: &Slug) -> Result<Option<Arc<Route>>, Error> {
        let slug = slug.as_str();
        if let Some(route) = self.known.get(slug).await {
            return Ok(Some(route));
        }
        if self.unknown.contains_key(slug) {
            return Ok(None);
        }
        let before = self.edits.of(slug);
        let loaded = self.known.try_get_with(slug.into(), self.load(slug)).await;
        let route = match loaded.as_ref().map_err(Arc::as_ref) {
            Ok(route) => Some(Arc::clone(route)),
            Err(LoadError::Unknown) => {
                self.unknown.insert(slug.into(), ());
                None
            }
            Err(LoadError::Database(error)) => return Err(Error::Database(copy(error))),
        };
        // An edit that came in between may have been overwritten by what was loaded.
        if self.edits.of(slug) != before {
            self.known.invalidate(slug).await;
            self.unknown.invalidate(slug);
        }
        Ok(route)
    }

    /// One of these runs at a time for a slug, however many requests wait for it.
    async fn load(&self, slug: &str) -> Result<Arc<Route>, LoadError> {
        let mut tries = LOAD_TRIES;
        loop {
            let before = self.edits.of(slug);
            self.loads.inc();
            let row = store::redirects::by_slug(&self.pool, slug)
                .await
                .map_err(LoadError::Database)?;
            tries -= 1;
            if self.edits.of(slug) == before || tries == 0 {
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
            is_limited: row.max_clicks.is_some(),
        })
    }

    fn found(&self) -> Found {
        Found {
            link_id: self.link_id,
            location: self.location.clone(),
            status: self.status,
            expires_at: self.expires_at,
        }
    }
}

/// The table holds 301, 302, 307 and 308 only.
fn status_code(stored: i16) -> u16 {
    u16::try_from(stored).unwrap_or(302)
}

/// Whoever waits for the same load gets the same error, and errors cannot be cloned.
fn copy(error: &sqlx::Error) -> sqlx::Error {
    let text = error.to_string();
    if quartet_db::is_transient(error) {
        sqlx::Error::Io(std::io::Error::other(text))
    } else {
        sqlx::Error::Configuration(text.into())
    }
}

/// Counts edits, so that a load can tell whether one came in between.
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

    fn note(&self, slug: &str) {
        self.shard(slug).fetch_add(1, Ordering::AcqRel);
    }

    fn note_all(&self) {
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
