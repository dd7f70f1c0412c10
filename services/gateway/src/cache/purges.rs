//! What was purged lately, so that a response that was asked for before a purge is not stored after it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use super::entry::StoredResponse;

/// Purges that are remembered. A fill that began before all of them is not stored.
const REMEMBERED: usize = 1024;

/// Which responses are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purge {
    All,
    /// Of exactly this URL.
    Url(Arc<str>),
    /// Of URLs that begin with this.
    Prefix(Box<str>),
    /// That have this tag.
    Tag(Box<str>),
}

impl Purge {
    pub(super) fn covers(&self, stored: &StoredResponse) -> bool {
        match self {
            Self::All => true,
            Self::Url(url) => *url == stored.key.url,
            Self::Prefix(prefix) => stored.key.url.starts_with(&**prefix),
            Self::Tag(tag) => stored.tags.contains(tag),
        }
    }
}

/// The purges, counted from 0.
#[derive(Debug, Default)]
pub(super) struct Purges(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    count: u64,
    last: VecDeque<Purge>,
}

impl Purges {
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    pub(super) fn note(&self, purge: Purge) {
        let mut recent = self.lock();
        recent.count += 1;
        if recent.last.len() == REMEMBERED {
            recent.last.pop_front();
        }
        recent.last.push_back(purge);
    }

    /// Runs `store` unless the response was purged since there were `count` purges. No purge comes
    /// in between.
    pub(super) fn unless_purged(
        &self,
        stored: &StoredResponse,
        count: u64,
        store: impl FnOnce(),
    ) -> bool {
        let recent = self.lock();
        let since = usize::try_from(recent.count - count).unwrap_or(usize::MAX);
        let is_known = since <= recent.last.len();
        let mut latest = recent.last.iter().rev().take(since);
        if !is_known || latest.any(|purge| purge.covers(stored)) {
            return false;
        }
        store();
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
