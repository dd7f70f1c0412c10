//! Following a short link: where it redirects, and the click that is counted.

use chrono::{DateTime, Utc};
use http::HeaderValue;
use uuid::Uuid;

use super::{
    Context,
    replica::{
        click_log::Appended,
        redirect_cache::{self, Route},
    },
    values::{
        click::Click,
        slugs::Slug,
        targets,
        visitor::{BotReason, Signals, Visitor, VisitorKey},
    },
};
use crate::{
    error::Error,
    store::{clicks::ClickId, links::LinkId, redirects},
};

/// How old a request id may be to become the id of a click.
const MAX_ID_AGE_SECONDS: i64 = 60;

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
    pub(crate) link_id: LinkId,
    pub(crate) location: HeaderValue,
    pub(crate) status: u16,
    pub(crate) expires_at: Option<DateTime<Utc>>,
}

/// Follows a short link. When this returns a redirect, its click is in the log.
///
/// `request_id` becomes the id of the click if it is a recent version 7 UUID, which the gateway
/// generates. A request that the gateway retries on another replica is then counted once.
///
/// # Errors
/// `LogUnavailable`; `Database` when the link is not cached.
pub(crate) async fn follow(
    ctx: &Context,
    slug: &Slug,
    signals: &Signals<'_>,
    request_id: Option<Uuid>,
) -> Result<Outcome, Error> {
    let now = ctx.clock.now();
    let salt = ctx.salts.get(now);
    let key = salt.as_ref().map(|salt| VisitorKey {
        salt,
        host: ctx.config.public.short_url.host_str().unwrap_or_default(),
    });
    let visitor = Visitor::new(signals, key);
    let outcome = resolve(ctx, slug, visitor.bot, now).await?;
    if let Outcome::Redirect(redirect) = &outcome {
        let id = request_id.filter(|id| is_recent(*id, now));
        let id = id.map_or_else(|| ClickId::new(&ctx.clock), ClickId::from);
        let click = Click::new(id, redirect.link_id, visitor);
        match ctx.click_log.append(click).await? {
            Appended::Persisted => ctx.metrics.clicks_logged.inc(),
            Appended::Dropped => ctx.metrics.clicks_dropped.inc(),
        };
    }
    Ok(outcome)
}

/// A link with `max_clicks` redirects people only, and takes a use in the database, past the cache.
async fn resolve(
    ctx: &Context,
    slug: &Slug,
    bot: Option<BotReason>,
    now: DateTime<Utc>,
) -> Result<Outcome, Error> {
    let Some(route) = ctx.redirects.get(&ctx.redirects_db, slug).await? else {
        return Ok(Outcome::NotFound);
    };
    if !route.enabled {
        return Ok(Outcome::Disabled);
    }
    if route.expires_at.is_some_and(|at| at <= now) {
        return Ok(Outcome::Expired);
    }
    match bot {
        _ if !route.has_max_clicks => Ok(Outcome::Redirect(route.redirect())),
        Some(BotReason::Prefetch) => Ok(Outcome::PrefetchRefused),
        Some(_) => Ok(Outcome::PeopleOnly),
        None => take_use(ctx, &route, now).await,
    }
}

async fn take_use(ctx: &Context, route: &Route, now: DateTime<Utc>) -> Result<Outcome, Error> {
    let mut db = ctx.redirects_db.acquire().await?;
    let taken = redirects::take_use(&mut db, route.link_id, now).await?;
    // The target may have changed since it was cached.
    let target = taken.and_then(|row| Some((targets::location(&row.url)?, row.redirect_status)));
    Ok(target.map_or(Outcome::Exhausted, |(location, status)| {
        Outcome::Redirect(Redirect {
            location,
            status: redirect_cache::status_code(status),
            ..route.redirect()
        })
    }))
}

impl Route {
    fn redirect(&self) -> Redirect {
        Redirect {
            link_id: self.link_id,
            location: self.location.clone(),
            status: self.status,
            expires_at: self.expires_at,
        }
    }
}

fn is_recent(id: Uuid, now: DateTime<Utc>) -> bool {
    let created = (id.get_version_num() == 7)
        .then(|| id.get_timestamp())
        .flatten();
    created
        .and_then(|created| i64::try_from(created.to_unix().0).ok())
        .is_some_and(|seconds| (now.timestamp() - seconds).abs() <= MAX_ID_AGE_SECONDS)
}
