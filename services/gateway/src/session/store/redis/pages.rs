//! The sessions of Redis in pages, for operators.

use std::sync::Arc;

use futures_util::future::try_join_all;
use redis::{FromRedisValue as _, Value};

use super::RedisStore;
use crate::session::{
    ids::SessionKey,
    live::Session,
    store::types::{SessionPage, StoreAway},
};

/// Sessions that are read at the same time.
const AT_ONCE: usize = 50;
/// Names that the store looks at in one step of a search.
const SCANNED: usize = 5_000;

/// A place among all sessions: by their ends, so that those that begin meanwhile come last, and by name. What
/// is removed before it does not move it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    ends_at: i64,
    name: String,
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let (ends_at, name) = text.split_once('.')?;
        SessionKey::from_hex(name)?;
        Some(Self {
            ends_at: ends_at.parse().ok()?,
            name: name.to_owned(),
        })
    }

    fn to_text(&self) -> String {
        format!("{}.{}", self.ends_at, self.name)
    }
}

impl RedisStore {
    pub(in crate::session::store) fn is_cursor(text: &str) -> bool {
        Cursor::parse(text).is_some()
    }

    pub(in crate::session::store) async fn list(
        &self,
        after: Option<&str>,
        limit: usize,
        now: i64,
    ) -> Result<SessionPage, StoreAway> {
        let after = after.and_then(Cursor::parse);
        let (names, has_more) = self.names(after.as_ref(), limit).await?;
        let mut sessions: Vec<Arc<Session>> = Vec::new();
        for names in names.chunks(AT_ONCE) {
            let keys: Vec<_> = names
                .iter()
                .filter_map(|cursor| SessionKey::from_hex(&cursor.name))
                .collect();
            let found = try_join_all(keys.iter().map(|key| self.find_stored(key, now))).await?;
            sessions.extend(found.into_iter().flatten());
        }
        let next = names.last().filter(|_| has_more).map(Cursor::to_text);
        Ok(SessionPage { sessions, next })
    }

    /// Up to `limit` of those behind a cursor, and whether there may be more.
    async fn names(
        &self,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<Cursor>, bool), StoreAway> {
        let all = self.place("all", "");
        let mut first = match after {
            Some(after) => self.rank_of(after).await?,
            None => 0,
        };
        loop {
            let last = first.saturating_add(limit);
            let rows = self.ask(&all, "ZRANGE", |command| {
                command.arg(first).arg(last).arg("WITHSCORES")
            });
            let rows = Vec::<(String, i64)>::from_redis_value(rows.await?);
            let rows = rows.map_err(|_| StoreAway)?;
            let (count, has_more) = (rows.len(), rows.len() > limit);
            let cursors = rows
                .into_iter()
                .map(|(name, ends_at)| Cursor { ends_at, name });
            let later = cursors.filter(|cursor| after.is_none_or(|after| cursor > after));
            let later: Vec<_> = later.take(limit).collect();
            if !later.is_empty() || !has_more {
                return Ok((later, has_more));
            }
            // The one of the cursor is gone, and these end in the same second before it.
            first = first.saturating_add(count);
        }
    }

    /// A rank that is not behind the first session after the cursor.
    async fn rank_of(&self, cursor: &Cursor) -> Result<usize, StoreAway> {
        let all = self.place("all", "");
        let rank = self
            .ask(&all, "ZRANK", |command| command.arg(&cursor.name))
            .await?;
        if rank != Value::Nil {
            return usize::from_redis_value(rank).map_err(|_| StoreAway);
        }
        let before = format!("({}", cursor.ends_at);
        let count = self
            .ask(&all, "ZCOUNT", |command| command.arg("-inf").arg(before))
            .await?;
        usize::from_redis_value(count).map_err(|_| StoreAway)
    }

    /// The session whose name begins like this, which the store looks for itself.
    pub(in crate::session::store) async fn find_shown(
        &self,
        shown: &str,
    ) -> Result<Option<SessionKey>, StoreAway> {
        let (all, pattern) = (self.place("all", ""), format!("{shown}*"));
        let mut cursor = "0".to_owned();
        loop {
            let answer = self.ask(&all, "ZSCAN", |command| {
                let command = command.arg(&cursor).arg("MATCH").arg(&pattern);
                command.arg("COUNT").arg(SCANNED)
            });
            let answer = <(String, Vec<String>)>::from_redis_value(answer.await?);
            let (next, found) = answer.map_err(|_| StoreAway)?;
            if let Some(key) = found.first().and_then(|name| SessionKey::from_hex(name)) {
                return Ok(Some(key));
            }
            if next == "0" {
                return Ok(None);
            }
            cursor = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_in_the_order_of_the_store() {
        let cursor = |ends_at, byte: &str| Cursor {
            ends_at,
            name: byte.repeat(32),
        };
        assert!(cursor(1, "ff") < cursor(2, "00") && cursor(1, "0a") < cursor(1, "0b"));
        let text = cursor(7, "0a").to_text();
        assert_eq!(Cursor::parse(&text), Some(cursor(7, "0a")));
        for text in ["", "7", "7.", "7.0a", &text[1..], &text[..text.len() - 1]] {
            assert!(!RedisStore::is_cursor(text), "{text}");
        }
    }
}
