//! Deletes rows whose retention time is over.

use std::time::Duration;

use quartet_service::idempotency;
use quartet_worker::Task;
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    state::AppState,
    store::{refresh_tokens, sessions, throttles, users},
};

/// Every minute.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Purge {}

impl Task for Purge {
    const NAME: &'static str = "purge";
    const CRON: Option<&'static str> = Some("* * * * *");
    type Context = AppState;

    async fn run(self, state: AppState) -> anyhow::Result<()> {
        Ok(run(&state).await?)
    }
}

/// Deletes in bounded batches until one is not full, or the run has taken long: then one batch of
/// each kind is left. Children go before their parents: a cascade would not be bounded.
pub(super) async fn run(state: &AppState) -> Result<(), Error> {
    let (ctx, stopping) = (&state.ctx, state.base.stopping());
    let (now, settings) = (ctx.clock.now(), &ctx.config.retention);
    let before = |seconds: u64| now - Duration::from_secs(seconds);
    let ended = before(settings.ended_sessions_seconds);
    let deleted = before(settings.deleted_users_seconds);
    let forgotten = before(ctx.config.throttle.forget_after_seconds);
    let (db, limit) = (&ctx.db, i64::from(settings.batch));
    let full = u64::from(settings.batch);
    while {
        let mut db = quartet_db::write(db).await?;
        let purged = refresh_tokens::purge(&mut db, ended, limit).await?;
        db.commit().await?;
        purged >= full && !stopping()
    } {}
    while {
        let mut db = quartet_db::write(db).await?;
        let purged = sessions::purge(&mut db, ended, limit).await?;
        db.commit().await?;
        purged >= full && !stopping()
    } {}
    while {
        let mut db = quartet_db::write(db).await?;
        let purged = users::purge(&mut db, deleted, limit).await?;
        db.commit().await?;
        purged >= full && !stopping()
    } {}
    while {
        let mut db = quartet_db::write(db).await?;
        let purged = throttles::purge(&mut db, forgotten, limit).await?;
        db.commit().await?;
        purged >= full && !stopping()
    } {}
    while idempotency::purge(db, &ctx.clock, limit).await? >= full && !stopping() {}
    Ok(ctx.events.purge().await?)
}
