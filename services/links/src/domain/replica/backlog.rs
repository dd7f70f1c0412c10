//! What feeds hold for watchers that have not read it yet, bounded in bytes for the whole replica.
//!
//! A batch is shared by the watchers of its link and counted until the last of them has read it. When
//! a new one does not fit, the oldest are evicted, whichever link they belong to: a watcher that
//! reaches an evicted one has been too slow and misses it. Without the bound, a few clients that do not
//! read, each on a busy link, would hold as much as all those links have clicks.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::store::clicks::WatchedRow;

/// How many batches that are gone may be in the queue beside as many that are not.
const SPARE: usize = 64;

/// Clones share the bytes.
#[derive(Clone, Debug)]
pub(super) struct Backlog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_bytes: usize,
    bytes: AtomicUsize,
    batches: AtomicUsize,
    /// Oldest first.
    queue: Mutex<VecDeque<Weak<Batch>>>,
}

/// Clicks of one link.
#[derive(Debug)]
pub(super) struct Batch {
    rows: Mutex<Option<Arc<Vec<WatchedRow>>>>,
    bytes: usize,
    backlog: Backlog,
}

impl Backlog {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Inner {
            max_bytes,
            bytes: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
            queue: Mutex::default(),
        }))
    }

    /// Counts a batch, and evicts the oldest ones until it fits. A batch that is larger than all the
    /// backlog is kept alone.
    pub(super) fn add(&self, rows: Vec<WatchedRow>) -> Arc<Batch> {
        let bytes = rows.iter().map(size).sum();
        let mut queue = lock(&self.0.queue);
        while self.bytes() + bytes > self.0.max_bytes
            && let Some(oldest) = queue.pop_front()
        {
            if let Some(batch) = oldest.upgrade() {
                batch.evict();
            }
        }
        self.0.bytes.fetch_add(bytes, Ordering::AcqRel);
        let count = self.0.batches.fetch_add(1, Ordering::AcqRel) + 1;
        let batch = Arc::new(Batch {
            rows: Mutex::new(Some(Arc::new(rows))),
            bytes,
            backlog: self.clone(),
        });
        queue.push_back(Arc::downgrade(&batch));
        if queue.len() > 2 * count + SPARE {
            queue.retain(|batch| batch.strong_count() > 0);
        }
        batch
    }

    fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Acquire)
    }

    fn subtract(&self, batch: &Batch) {
        self.0.bytes.fetch_sub(batch.bytes, Ordering::AcqRel);
    }
}

impl Batch {
    /// `None` when it was evicted.
    pub(super) fn rows(&self) -> Option<Arc<Vec<WatchedRow>>> {
        lock(&self.rows).clone()
    }

    fn evict(&self) {
        if lock(&self.rows).take().is_some() {
            self.backlog.subtract(self);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.evict();
        self.backlog.0.batches.fetch_sub(1, Ordering::AcqRel);
    }
}

fn size(row: &WatchedRow) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    size_of::<WatchedRow>()
        + text(&row.country)
        + text(&row.referrer_host)
        + text(&row.bot)
        + row.device.len()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn rows(count: usize) -> Vec<WatchedRow> {
        let row = WatchedRow {
            id: Uuid::nil().into(),
            at: chrono::DateTime::UNIX_EPOCH,
            link_id: Uuid::nil().into(),
            batch: 1,
            country: Some("DE".into()),
            referrer_host: Some("x".repeat(253)),
            device: "desktop".into(),
            bot: None,
            people: 1,
            uniques: 1,
            bots: 0,
        };
        vec![row; count]
    }

    #[test]
    fn the_oldest_batches_are_evicted() {
        let one = rows(1).iter().map(size).sum::<usize>();
        let backlog = Backlog::new(10 * one);
        let held: Vec<_> = (0..25).map(|_| backlog.add(rows(2))).collect();
        assert_eq!(backlog.bytes(), 10 * one);
        let there = held.iter().filter(|batch| batch.rows().is_some()).count();
        assert_eq!(there, 5);
        assert!(held[20..].iter().all(|batch| batch.rows().is_some()));
        let large = backlog.add(rows(50));
        assert!(held.iter().all(|batch| batch.rows().is_none()));
        assert_eq!(large.rows().unwrap().len(), 50);
        drop(large);
        assert_eq!(backlog.bytes(), 0);
    }

    #[test]
    fn batches_that_were_read_are_not_counted_and_not_kept_in_the_queue() {
        let backlog = Backlog::new(1 << 20);
        let slow = backlog.add(rows(1));
        for _ in 0..10_000 {
            drop(backlog.add(rows(1)));
        }
        assert!(slow.rows().is_some());
        assert!(lock(&backlog.0.queue).len() <= 2 + SPARE + 1);
        drop(slow);
        assert_eq!(backlog.bytes(), 0);
    }
}
