//! The feed of revoked sessions, for the gateway: it accepts access tokens without asking this
//! service, and refuses those of sessions that it has read here.
//!
//! A reader asks again and again with the cursor of the last response. Nothing is skipped: a round
//! begins at the oldest transaction that had not ended when the round before began. Some revocations are
//! therefore read twice, which is harmless.
//!
//! ```text
//! transactions  ... 41 42 43 44 45 46 ...
//!                    ^  |     |
//!                    |  ended, read
//!                    still open: the next round begins here
//! ```

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};

use crate::{
    config::Config,
    domain::Context,
    error::Error,
    store::{
        revocations::{self, RevocationRow, RevokedId},
        sessions::SessionId,
    },
};

/// Tokens are accepted for up to five minutes after their expiry, where clocks differ.
const LEEWAY: Duration = Duration::from_mins(6);

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The first transaction of the round.
    from: i64,
    /// The first transaction of the next round.
    next: i64,
    /// The row that was read last in this round; `None`: it has not begun.
    after: Option<(i64, SessionId)>,
}

/// A revoked session, or API key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Revocation {
    pub(crate) id: RevokedId,
    /// No token of it is valid any more.
    pub(crate) until: DateTime<Utc>,
}

/// A part of the feed.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) revocations: Vec<Revocation>,
    pub(crate) cursor: Cursor,
    /// There are further ones already.
    pub(crate) more: bool,
}

/// For how long a token of a revoked session may be valid.
pub(crate) fn retention(config: &Config) -> Duration {
    Duration::from_secs(config.sessions.access_token_ttl_seconds) + LEEWAY
}

/// What follows the cursor, at most `limit`. Without one, everything that still matters.
pub(crate) async fn read(ctx: &Context, cursor: Option<Cursor>, limit: u16) -> Result<Page, Error> {
    let mut db = quartet_db::read(&ctx.db).await?;
    // Before the rows are read: what ends in between is read, too.
    let horizon = revocations::horizon(&mut db).await?;
    // A cursor from the future is one of another database, such as before a backup was restored.
    let cursor = cursor.filter(|cursor| cursor.from.max(cursor.next) <= horizon);
    let mut cursor = cursor.unwrap_or_default();
    if cursor.after.is_none() {
        cursor.next = horizon;
    }
    let retention = retention(&ctx.config);
    let since = ctx.clock.now() - retention;
    let limit = usize::from(limit);
    let asked = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut rows = revocations::list(&mut db, cursor.from, cursor.after, since, asked).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let revocation = |row: &RevocationRow| Revocation {
        id: row.id(),
        until: row.revoked_at + retention,
    };
    Ok(Page {
        revocations: rows.iter().map(revocation).collect(),
        cursor: cursor.following(rows.last().filter(|_| more)),
        more,
    })
}

impl Cursor {
    /// After this row; without one, of the next round.
    fn following(self, last: Option<&RevocationRow>) -> Self {
        match last {
            Some(row) => Self {
                after: Some((row.transaction, row.session_id)),
                ..self
            },
            None => Self {
                from: self.next,
                ..Self::default()
            },
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.from, self.next)?;
        match self.after {
            Some((transaction, session)) => write!(f, ".{transaction}.{session}"),
            None => Ok(()),
        }
    }
}

/// The text is none of a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let number = |text: &str| {
            let number: Option<i64> = text.parse().ok();
            number.filter(|number| *number >= 0).ok_or(InvalidCursor)
        };
        let parts: Vec<&str> = text.splitn(5, '.').collect();
        let (from, next, after) = match parts.as_slice() {
            [from, next] => (from, next, None),
            [from, next, transaction, session] => {
                let session = session.parse().map_err(|_| InvalidCursor)?;
                (from, next, Some((number(transaction)?, session)))
            }
            _ => return Err(InvalidCursor),
        };
        let (from, next) = (number(from)?, number(next)?);
        Ok(Self { from, next, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let session: SessionId = "ses_01jd6x8rv3fq4t2m8n5k7c9e1z".parse().unwrap();
        for after in [None, Some((7, session))] {
            let cursor = Cursor {
                from: 5,
                next: 9,
                after,
            };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in [
            "",
            "5",
            "5.",
            "-5.9",
            "5.9.7",
            "5.9.7.x",
            "5.9.7.ses_01.1",
            "a.b",
            "5.9\0",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
