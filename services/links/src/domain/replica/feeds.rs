//! Feeds: the clicks of watched links, as they reach the database.
//!
//! A feed exists while it has watchers on this replica. It reads nothing until a batch is announced
//! (by `NOTIFY`, from whichever replica stored it), and then once for all of its watchers.
//!
//! Each feed has a cursor, the last batch that its watchers have seen:
//!
//! ```text
//! subscribe ──> Unset ──(last batch is read)──> At(batch) ──(batch is read)──> At(later batch)
//!                 │                                ▲
//!                 └─(a batch is announced): missed ─┘ read at once
//! ```
//!
//! The receiver is subscribed *before* the last batch is read, and an announcement in between is
//! remembered as `missed`. Otherwise a batch that is committed between the two would be shown to no
//! one. Rows up to the cursor are skipped, so that overlapping reads show each click once. Batch
//! numbers of a link increase in commit order, because the transaction locks the link's totals.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Duration, Utc};
use prometheus_client::metrics::gauge::Gauge;
use sqlx::PgPool;
use tokio::sync::broadcast;

use super::backlog::{Backlog, Batch};
use crate::store::{
    self,
    clicks::{FeedCursor, WatchedRow},
    links::LinkId,
};

/// Batches that a slow subscription may lag behind before it misses some, if they are not too large for
/// the [`Backlog`].
const BACKLOG: usize = 64;
/// Clicks of one link that one read delivers. The totals count all.
const MAX_ROWS: i32 = 500;
/// Links that are read at once: after an outage, each may have as many clicks.
const MAX_LINKS: usize = 50;
/// Tolerated difference between the clocks of replicas.
const CLOCK_SKEW: Duration = Duration::seconds(60);
/// How far back to look for clicks whose announcement was missed.
pub(crate) const CATCH_UP: Duration = Duration::hours(1);

/// The feeds of this replica. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Feeds {
    feeds: Arc<Mutex<HashMap<LinkId, Feed>>>,
    backlog: Backlog,
    subscriptions: Gauge,
}

#[derive(Debug)]
struct Feed {
    sender: broadcast::Sender<Arc<Batch>>,
    cursor: Cursor,
}

#[derive(Clone, Copy, Debug)]
enum Cursor {
    /// Not known yet. `missed`: a batch was announced in the meantime.
    Unset {
        missed: bool,
    },
    At(i64),
}

/// A watched link.
#[derive(Debug)]
pub(crate) struct Watch {
    link_id: LinkId,
    /// The last batch before the watch began.
    start: i64,
    receiver: broadcast::Receiver<Arc<Batch>>,
    feeds: Feeds,
    /// Whether it is one of `subscriptions`.
    is_counted: bool,
}

impl Feeds {
    /// `backlog_bytes` is for what slow subscriptions have not read yet.
    pub(crate) fn new(backlog_bytes: usize, subscriptions: Gauge) -> Self {
        Self {
            feeds: Arc::default(),
            backlog: Backlog::new(backlog_bytes),
            subscriptions,
        }
    }

    /// Begins to watch a link. The watch delivers nothing before [`Self::start`].
    pub(crate) fn subscribe(&self, link_id: LinkId) -> Watch {
        let mut feeds = self.lock();
        let feed = feeds.entry(link_id).or_insert_with(|| Feed {
            sender: broadcast::channel(BACKLOG).0,
            cursor: Cursor::Unset { missed: false },
        });
        Watch {
            link_id,
            start: i64::MAX,
            receiver: feed.sender.subscribe(),
            feeds: self.clone(),
            is_counted: false,
        }
    }

    /// Starts a watch after `batch`, which was read after [`Self::subscribe`]. `now` is the time
    /// before both.
    pub(crate) async fn start(
        &self,
        db: &PgPool,
        mut watch: Watch,
        batch: i64,
        now: DateTime<Utc>,
    ) -> Result<Watch, sqlx::Error> {
        watch.start = batch;
        if self.set_cursor(watch.link_id, batch) {
            self.read(db, &[watch.link_id], now - CATCH_UP).await?;
        }
        self.subscriptions.inc();
        watch.is_counted = true;
        Ok(watch)
    }

    /// Delivers what was announced to the watchers of `links`, or of any link if `None`.
    ///
    /// # Errors
    /// When the database fails. The next announcement may pass over the same clicks: the caller has
    /// to catch up.
    pub(crate) async fn announce(
        &self,
        db: &PgPool,
        links: Option<&HashSet<LinkId>>,
        since: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let watched = self.watched(links);
        if watched.is_empty() {
            return Ok(());
        }
        self.read(db, &watched, since - CLOCK_SKEW).await
    }

    /// Ends the feed of a deleted link.
    pub(crate) fn end(&self, link_id: LinkId) {
        self.lock().remove(&link_id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LinkId, Feed>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the cursor of a new feed; returns whether a batch was announced before.
    fn set_cursor(&self, link_id: LinkId, batch: i64) -> bool {
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

    fn watched(&self, links: Option<&HashSet<LinkId>>) -> Vec<LinkId> {
        let mut feeds = self.lock();
        feeds.retain(|_, feed| feed.sender.receiver_count() > 0);
        let announced = |id: &LinkId| links.is_none_or(|links| links.contains(id));
        for (_, feed) in feeds.iter_mut().filter(|(id, _)| announced(id)) {
            if let Cursor::Unset { missed } = &mut feed.cursor {
                *missed = true;
            }
        }
        feeds.keys().copied().filter(announced).collect()
    }

    fn cursors(&self, links: &[LinkId]) -> Vec<FeedCursor> {
        let feeds = self.lock();
        let cursor = |id: &LinkId| match feeds.get(id)?.cursor {
            Cursor::At(batch) => Some(FeedCursor {
                link_id: *id,
                batch,
            }),
            Cursor::Unset { .. } => None,
        };
        links.iter().filter_map(cursor).collect()
    }

    async fn read(
        &self,
        db: &PgPool,
        links: &[LinkId],
        since: DateTime<Utc>,
    ) -> Result<(), sqlx::Error> {
        let cursors = self.cursors(links);
        let mut db = quartet_db::read(db).await?;
        for cursors in cursors.chunks(MAX_LINKS) {
            let rows = store::clicks::after(&mut db, cursors, since, MAX_ROWS).await?;
            for rows in rows.chunk_by(|one, other| one.link_id == other.link_id) {
                self.publish(rows);
            }
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
        // Another read may have delivered some of them in the meantime.
        let fresh: Vec<WatchedRow> = rows
            .iter()
            .filter(|row| row.batch > seen)
            .cloned()
            .collect();
        if !fresh.is_empty() {
            feed.cursor = Cursor::At(last.batch.max(seen));
            // Fails if the last watcher has disconnected.
            let _ = feed.sender.send(self.backlog.add(fresh));
        }
    }
}

impl Watch {
    /// The next clicks, by batch; `None` when the link is deleted. A watcher that is too slow misses
    /// the oldest batches.
    pub(crate) async fn next(&mut self) -> Option<Vec<WatchedRow>> {
        loop {
            match self.receiver.recv().await {
                Ok(batch) => {
                    let Some(rows) = batch.rows() else {
                        tracing::debug!(batches = 1, "slow subscription missed batches of clicks");
                        continue;
                    };
                    let rows = rows.iter().filter(|row| row.batch > self.start);
                    return Some(rows.cloned().collect());
                }
                Err(broadcast::error::RecvError::Lagged(batches)) => {
                    tracing::debug!(batches, "slow subscription missed batches of clicks");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.is_counted {
            self.feeds.subscriptions.dec();
        }
        let mut feeds = self.feeds.lock();
        // The receiver of this watch still counts.
        if feeds
            .get(&self.link_id)
            .is_some_and(|feed| feed.sender.receiver_count() <= 1)
        {
            feeds.remove(&self.link_id);
        }
    }
}
