//! Feeds: the clicks of links that somebody watches, as they reach the database.
//!
//! A feed exists while it has watchers. It reads nothing until a batch is announced,
//! and then once for all watchers of a link, on this replica, whichever replica took
//! the clicks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Duration, Utc};
use prometheus_client::metrics::gauge::Gauge;
use sqlx::PgPool;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    error::Error,
    store::{self, clicks::WatchedRow},
};

/// Batches that a slow watcher may lag behind before it misses some.
const BACKLOG: usize = 64;
/// Clicks of one link that one batch shows at most; the totals count all.
const MAX_ROWS: i32 = 500;
/// Clocks of replicas may differ by this much.
const SKEW: Duration = Duration::seconds(60);
/// How far back is read for clicks that were announced while nobody listened.
pub(crate) const CATCH_UP: Duration = Duration::hours(1);

/// Who watches which link. Clones share the feeds.
#[derive(Clone, Debug)]
pub(crate) struct Feeds {
    pool: PgPool,
    feeds: Arc<Mutex<HashMap<Uuid, Feed>>>,
    /// Subscriptions that run on this replica.
    pub(crate) watchers: Gauge,
}

#[derive(Debug)]
struct Feed {
    sender: broadcast::Sender<Arc<Vec<WatchedRow>>>,
    cursor: Cursor,
}

/// The last batch that watchers have seen.
#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// Not known yet; whether a batch was announced meanwhile.
    Unset {
        missed: bool,
    },
    At(i64),
}

/// What somebody who watches a link receives: rows in the order of their batches.
#[derive(Debug)]
pub(crate) struct Watch {
    link_id: Uuid,
    receiver: broadcast::Receiver<Arc<Vec<WatchedRow>>>,
    feeds: Feeds,
    started: bool,
}

impl Feeds {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self {
            pool,
            feeds: Arc::default(),
            watchers: Gauge::default(),
        }
    }

    /// Begins to watch. Batches after `start`'s are received; `start` is called once the
    /// feed exists, so that none can slip through between.
    ///
    /// # Errors
    /// Those of `start`.
    pub(crate) async fn watch<F>(
        &self,
        link_id: Uuid,
        start: F,
        now: DateTime<Utc>,
    ) -> Result<(Watch, i64), Error>
    where
        F: Future<Output = Result<i64, Error>>,
    {
        let receiver = self.subscribe(link_id);
        let mut watch = Watch {
            link_id,
            receiver,
            feeds: self.clone(),
            started: false,
        };
        let batch = start.await?;
        if self.begin_at(link_id, batch) {
            self.read(&[link_id], now - CATCH_UP).await?;
        }
        watch.started = true;
        self.watchers.inc();
        Ok((watch, batch))
    }

    /// Reads what was announced, for the links that are watched here. `None`: any link.
    ///
    /// # Errors
    /// When the database fails; the next announcement makes up for it.
    pub(crate) async fn announce(
        &self,
        links: Option<&[Uuid]>,
        since: DateTime<Utc>,
    ) -> Result<(), Error> {
        let watched = self.watched(links);
        if watched.is_empty() {
            return Ok(());
        }
        self.read(&watched, since - SKEW).await
    }

    /// Ends the watching of a link that is gone.
    pub(crate) fn end(&self, link_id: Uuid) {
        self.lock().remove(&link_id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Feed>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribe(&self, link_id: Uuid) -> broadcast::Receiver<Arc<Vec<WatchedRow>>> {
        let mut feeds = self.lock();
        let feed = feeds.entry(link_id).or_insert_with(|| Feed {
            sender: broadcast::channel(BACKLOG).0,
            cursor: Cursor::Unset { missed: false },
        });
        feed.sender.subscribe()
    }

    /// Sets the cursor of a new feed; true when a batch was announced before.
    fn begin_at(&self, link_id: Uuid, batch: i64) -> bool {
        let mut feeds = self.lock();
        let Some(feed) = feeds.get_mut(&link_id) else {
            return false;
        };
        let Cursor::Unset { missed } = feed.cursor else {
            return false;
        };
        feed.cursor = Cursor::At(batch);
        missed
    }

    fn watched(&self, links: Option<&[Uuid]>) -> Vec<Uuid> {
        let mut feeds = self.lock();
        feeds.retain(|_, feed| feed.sender.receiver_count() > 0);
        let announced = |id: &Uuid| links.is_none_or(|links| links.contains(id));
        for (_, feed) in feeds.iter_mut().filter(|(id, _)| announced(id)) {
            if let Cursor::Unset { missed } = &mut feed.cursor {
                *missed = true;
            }
        }
        feeds.keys().copied().filter(announced).collect()
    }

    async fn read(&self, links: &[Uuid], since: DateTime<Utc>) -> Result<(), Error> {
        let cursors: Vec<(Uuid, i64)> = {
            let feeds = self.lock();
            let cursor = |id: &Uuid| match feeds.get(id)?.cursor {
                Cursor::At(batch) => Some((*id, batch)),
                Cursor::Unset { .. } => None,
            };
            links.iter().filter_map(cursor).collect()
        };
        let rows = store::clicks::after(&self.pool, &cursors, since, MAX_ROWS).await?;
        for rows in rows.chunk_by(|one, other| one.link_id == other.link_id) {
            self.publish(rows);
        }
        Ok(())
    }

    fn publish(&self, rows: &[WatchedRow]) {
        let mut feeds = self.lock();
        let Some(last) = rows.last() else { return };
        let Some(feed) = feeds.get_mut(&last.link_id) else {
            return;
        };
        let Cursor::At(seen) = feed.cursor else {
            return;
        };
        // Two readings may overlap: each row is shown once.
        let fresh: Vec<WatchedRow> = rows
            .iter()
            .filter(|row| row.batch > seen)
            .cloned()
            .collect();
        if !fresh.is_empty() {
            feed.cursor = Cursor::At(last.batch.max(seen));
            // Nobody receives when the last watcher has just gone.
            let _ = feed.sender.send(Arc::new(fresh));
        }
    }
}

impl Watch {
    /// The next rows; `None` when the link is gone. Who is too slow misses the oldest rows.
    pub(crate) async fn next(&mut self) -> Option<Arc<Vec<WatchedRow>>> {
        loop {
            match self.receiver.recv().await {
                Ok(rows) => return Some(rows),
                Err(broadcast::error::RecvError::Lagged(batches)) => {
                    tracing::debug!(batches, "a watcher is too slow and misses clicks");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.started {
            self.feeds.watchers.dec();
        }
        let mut feeds = self.feeds.lock();
        // This one still counts itself.
        if feeds
            .get(&self.link_id)
            .is_some_and(|feed| feed.sender.receiver_count() <= 1)
        {
            feeds.remove(&self.link_id);
        }
    }
}
