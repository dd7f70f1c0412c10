//! Following a short link: where it redirects, and the click that is counted.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Context,
    replica::{
        click_log::Appended,
        redirect_cache::{self, Route},
    },
    values::{
        click::Click,
        short_urls::ShortUrlRef,
        visitor::{BotReason, Signals, Visitor},
    },
};
use crate::{
    error::Error,
    store::{
        clicks::ClickId,
        links::LinkId,
        redirects::{self, ClickRow, UseOutcome},
    },
};

/// How long a request waits for a connection to take a use: nothing else can answer it.
const USE_WAIT: Duration = Duration::from_secs(2);
/// How old a request id may be to become part of the id of a click, and how far ahead the clock of
/// the gateway that made it.
const MAX_ID_AGE_SECONDS: i64 = 60;
const MAX_ID_AHEAD_SECONDS: i64 = 5;

/// What a request for a short link results in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Redirect(Redirect),
    NotFound,
    Disabled,
    Expired,
    /// `max_clicks` is reached.
    Exhausted,
    /// The link has `max_clicks`, and this is a bot: no target, and no use is taken.
    PeopleOnly,
    /// The same for a browser's prefetch, which must not be cached as a page.
    PrefetchRefused,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// Visible ASCII.
    pub(crate) target: Bytes,
    pub(crate) status: u16,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// Follows a short link. When this returns a redirect, its click is kept.
///
/// A request of one visitor that is repeated with the same recent `request_id`, on this replica or
/// another one, is one click, and takes one use of a link with `max_clicks`; see [`click_id`].
///
/// # Errors
/// `LogUnavailable`; `Database` when the link is not cached, or has `max_clicks`.
pub(crate) async fn follow(
    ctx: &Context,
    url: ShortUrlRef<'_>,
    signals: &Signals<'_>,
    request_id: Option<Uuid>,
) -> Result<Outcome, Error> {
    let now = ctx.clock.now();
    let Some(route) = ctx.redirects.get(url, now).await? else {
        return Ok(Outcome::NotFound);
    };
    if !route.enabled {
        return Ok(Outcome::Disabled);
    }
    if route.is_expired(now) {
        return Ok(Outcome::Expired);
    }
    let click = click(ctx, &route, signals, request_id, now);
    if !route.has_max_clicks {
        keep(ctx, &click).await?;
        return Ok(Outcome::Redirect(route.redirect()));
    }
    match click.bot.as_deref().map(BotReason::from_stored) {
        Some(BotReason::Prefetch) => Ok(Outcome::PrefetchRefused),
        Some(_) => Ok(Outcome::PeopleOnly),
        None => {
            let outcome = take_use(ctx, &route, &click, now).await?;
            if !matches!(outcome, Outcome::Redirect(_) | Outcome::Exhausted) {
                // It has changed since it was cached.
                ctx.redirects.forget(url);
            }
            Ok(outcome)
        }
    }
}

/// A link that redirects, with everything that is needed for it in memory.
#[derive(Debug)]
pub(crate) struct CachedRedirect {
    route: Arc<Route>,
    now: DateTime<Utc>,
}

/// The link of a short URL if it is plain. Following it is then the same as [`follow`].
pub(crate) fn plain(
    ctx: &Context,
    url: ShortUrlRef<'_>,
    now: DateTime<Utc>,
) -> Option<CachedRedirect> {
    let route = ctx.redirects.peek(url, now)?;
    let is_plain = route.enabled && !route.has_max_clicks && !route.is_expired(now);
    is_plain.then_some(CachedRedirect { route, now })
}

impl CachedRedirect {
    pub(crate) fn click(
        &self,
        ctx: &Context,
        signals: &Signals<'_>,
        request_id: Option<Uuid>,
    ) -> Click {
        click(ctx, &self.route, signals, request_id, self.now)
    }

    /// Follows the link. When this returns, the click is kept.
    ///
    /// # Errors
    /// `LogUnavailable`.
    pub(crate) async fn follow(&self, ctx: &Context, click: &Click) -> Result<Redirect, Error> {
        keep(ctx, click).await?;
        Ok(self.route.redirect())
    }
}

fn click(
    ctx: &Context,
    route: &Route,
    signals: &Signals<'_>,
    request_id: Option<Uuid>,
    now: DateTime<Utc>,
) -> Click {
    let agent = ctx.user_agents.get(&signals.user_agent);
    let visitor = Visitor::new(signals, agent, ctx.salts.get(now));
    let person = visitor.hash.as_ref().map_or(&[][..], |hash| &hash[..]);
    let id = request_id.and_then(|id| click_id(id, route.link_id, person, now));
    let id = id.unwrap_or_else(|| ClickId::new(&ctx.clock));
    Click::new(id, route.link_id, visitor)
}

async fn keep(ctx: &Context, click: &Click) -> Result<(), Error> {
    match ctx.click_log.append(click).await? {
        Appended::Persisted => ctx.metrics.clicks_logged.inc(),
        Appended::Dropped => ctx.metrics.clicks_dropped.inc(),
    };
    Ok(())
}

/// Takes a use and stores the click in one transaction, past the cache and the click log: neither
/// is kept without the other, and a repeated request takes nothing.
async fn take_use(
    ctx: &Context,
    route: &Route,
    click: &Click,
    now: DateTime<Utc>,
) -> Result<Outcome, Error> {
    let row = ClickRow {
        id: click.id.into(),
        at: click.at(),
        link_id: route.link_id,
        visitor: click.visitor.as_ref().map(|hash| &hash[..]),
        country: click.country.as_deref(),
        referrer_host: click.referrer_host.as_deref(),
        device: &click.device,
    };
    let wait = ctx.config.redirects.connection_wait().max(USE_WAIT);
    let permit = tokio::time::timeout(wait, ctx.uses.acquire()).await;
    let Ok(Ok(_permit)) = permit else {
        return Err(sqlx::Error::PoolTimedOut.into());
    };
    let mut db = redirects::acquire(&ctx.redirects_db, wait).await?;
    let taken = redirects::take_use(&mut db, now, &row).await?;
    db.commit().await?;
    let Some(row) = taken else {
        return Ok(Outcome::NotFound);
    };
    Ok(match row.outcome {
        UseOutcome::Disabled => Outcome::Disabled,
        UseOutcome::Expired => Outcome::Expired,
        UseOutcome::Exhausted => Outcome::Exhausted,
        // The target may have changed since it was cached.
        UseOutcome::Taken => Outcome::Redirect(Redirect {
            target: row.url.into(),
            status: redirect_cache::status_code(row.redirect_status),
            ..route.redirect()
        }),
    })
}

impl Route {
    fn redirect(&self) -> Redirect {
        Redirect {
            target: self.target.clone(),
            status: self.status,
            expires_at: self.expires_at,
        }
    }

    fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The time of the request id, and a hash of it, the link and the visitor: the same request on the
/// same link is the same click, and on another link another one. A visitor who chooses the request
/// id, through a proxy that passes it on, cannot share a use with others. `None` unless the request
/// id is a recent version 7 UUID, which the gateway generates.
fn click_id(
    request_id: Uuid,
    link_id: LinkId,
    visitor: &[u8],
    now: DateTime<Utc>,
) -> Option<ClickId> {
    if request_id.get_version_num() != 7 {
        return None;
    }
    let (seconds, nanoseconds) = request_id.get_timestamp()?.to_unix();
    let age = now.timestamp() - i64::try_from(seconds).ok()?;
    if !(-MAX_ID_AHEAD_SECONDS..=MAX_ID_AGE_SECONDS).contains(&age) {
        return None;
    }
    let hash = Sha256::new()
        .chain_update(request_id.as_bytes())
        .chain_update(link_id.uuid().as_bytes())
        .chain_update(visitor)
        .finalize();
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    let ms = seconds * 1000 + u64::from(nanoseconds / 1_000_000);
    let id = uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid();
    Some(ClickId::from(id))
}

#[cfg(test)]
mod tests {
    use quartet_common::clock::Clock;

    use super::*;

    #[test]
    fn a_request_is_one_click_per_link() {
        let clock = Clock::system();
        let (request, now) = (clock.uuid_v7(), clock.now());
        let (link, other) = (LinkId::new(&clock), LinkId::new(&clock));
        let click_id = |request, link, now| click_id(request, link, b"visitor", now);
        let id = click_id(request, link, now).unwrap();
        assert_eq!(click_id(request, link, now), Some(id));
        assert_ne!(click_id(request, other, now), Some(id));
        assert_ne!(click_id(clock.uuid_v7(), link, now), Some(id));
        assert_ne!(super::click_id(request, link, b"another", now), Some(id));
        let behind = now - chrono::Duration::seconds(MAX_ID_AHEAD_SECONDS + 2);
        assert_eq!(click_id(request, link, behind), None, "from the future");
        let time = |id: Uuid| id.get_timestamp().unwrap().to_unix();
        assert_eq!(time(id.uuid()), time(request));
        let old = now + chrono::Duration::seconds(MAX_ID_AGE_SECONDS + 2);
        assert_eq!(click_id(request, link, old), None);
        assert_eq!(click_id(Uuid::from_u128(4), link, now), None);
    }
}
