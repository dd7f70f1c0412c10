//! What `user.deleted` causes in a service whose rows belong to users.
//!
//! The event only notes whose rows are to go, and adds the durable job `erase`, in its own transaction;
//! the job erases them, in bounded steps and until nothing is left. Access tokens outlive their account, by as much as their
//! lifetime, so that a deleted user may still create something: it is looked for again until no
//! token can be valid any more.
//!
//! The table is that of `erasures.sql`, in the schema in the `search_path` of the role.

mod store;

use std::{fmt, future::Future, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use quartet_common::clock::Clock;
use sqlx::{PgConnection, PgPool};

use crate::{
    event::Event,
    inbox::{ApplyError, Consumer},
};

/// Published by core when an account is deleted; the subject is the id of the user.
pub const USER_DELETED: &str = "user.deleted";
/// How long an erasure stays with a replica that dies during it.
const LEASE: TimeDelta = TimeDelta::minutes(5);
const NEXT_TRY: Duration = Duration::from_hours(1);
/// Longer than core lets an access token live.
const KEPT: TimeDelta = TimeDelta::days(31);

/// The erasures of a service. Clones share everything.
#[derive(Clone)]
pub struct Erasures {
    db: PgPool,
    clock: Clock,
}

impl fmt::Debug for Erasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Erasures")
    }
}

impl Erasures {
    /// The erasures in the schema that the connections of `db` use.
    pub fn new(db: PgPool, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Calls `erase` with the owner of each erasure that is due until it has changed no row.
    /// Returns how many it has. `stopping` ends the run between two steps.
    ///
    /// # Errors
    /// The first one. That erasure is tried again after five minutes, the others by the next run.
    pub async fn run<E, Fut>(
        &self,
        erase: impl Fn(String) -> Fut,
        stopping: impl Fn() -> bool,
    ) -> Result<u64, E>
    where
        E: From<sqlx::Error>,
        Fut: Future<Output = Result<u64, E>>,
    {
        let mut erased = 0;
        while !stopping() {
            let now = self.clock.now();
            let mut db = quartet_db::write(&self.db).await?;
            let next = store::take(&mut db, now, now + LEASE).await?;
            db.commit().await?;
            let Some(erasure) = next else { break };
            let mut rows = 0;
            let mut renewed = now;
            loop {
                let now = self.clock.now();
                if now - renewed > LEASE / 2 {
                    self.settle(&erasure.owner, Some(now + LEASE)).await?;
                    renewed = now;
                }
                let step = erase(erasure.owner.clone()).await?;
                rows += step;
                if step == 0 {
                    break;
                }
                if stopping() {
                    return Ok(erased + rows);
                }
            }
            if rows > 0 {
                tracing::info!(
                    user_id = erasure.owner,
                    rows,
                    "rows of a deleted user erased"
                );
            }
            erased += rows;
            let over = erasure.requested_at + KEPT < now;
            let again = (!over).then(|| now + NEXT_TRY);
            self.settle(&erasure.owner, again).await?;
        }
        Ok(erased)
    }

    async fn settle(&self, owner: &str, again: Option<DateTime<Utc>>) -> Result<(), sqlx::Error> {
        let mut db = quartet_db::write(&self.db).await?;
        store::settle(&mut db, owner, again).await?;
        db.commit().await
    }
}

impl Consumer for Erasures {
    fn kinds(&self) -> &'static [&'static str] {
        &[USER_DELETED]
    }

    fn apply<'a>(
        &'a self,
        db: &'a mut PgConnection,
        event: &'a Event,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            // Erasing cannot be undone: an event that contradicts itself erases nothing.
            if event.data["user_id"] != *event.subject {
                return Err(ApplyError::Invalid("`data.user_id` must be the subject"));
            }
            let now = self.clock.now();
            Ok(store::request(db, &event.subject, now).await?)
        })
    }
}
