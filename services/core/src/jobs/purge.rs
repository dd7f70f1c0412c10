//! Deletes rows whose retention time is over.

use std::time::Duration;

use quartet_db::{Rounds, rounds};
use quartet_service::idempotency;
use quartet_worker::Task;
use serde::{Deserialize, Serialize};

use crate::{
    domain::revocations::retention,
    error::Error,
    state::AppState,
    store::{api_keys, revocations, sessions, throttles, users},
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

/// Deletes in rounds, of each kind one at least. Sessions and API keys go before their users: a cascade would not
/// be bounded.
pub(super) async fn run(state: &AppState) -> Result<(), Error> {
    let (ctx, stopping) = (&state.ctx, state.base.stopping());
    let (now, settings) = (ctx.clock.now(), &ctx.config.retention);
    let before = |seconds: u64| now - Duration::from_secs(seconds);
    let ended = before(settings.ended_sessions_seconds);
    let deleted = before(settings.deleted_users_seconds);
    let forgotten = before(ctx.config.throttle.forget_after_seconds);
    let followed = now - retention(&ctx.config);
    let rounds = Rounds {
        db: &ctx.db,
        limit: i64::from(settings.batch),
        stopping: &stopping,
    };
    rounds!(rounds, |db, limit| sessions::purge(db, ended, limit));
    rounds!(rounds, |db, limit| api_keys::purge(db, ended, limit));
    rounds!(rounds, |db, limit| revocations::purge(db, followed, limit));
    rounds!(rounds, |db, limit| users::purge(db, deleted, limit));
    rounds!(rounds, |db, limit| throttles::purge(db, forgotten, limit));
    rounds!(rounds, |db, limit| idempotency::purge(db, now, limit));
    Ok(ctx.events.purge(&stopping).await?)
}
