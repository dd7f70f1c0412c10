//! Lookups of the redirect, which act for no user: each goes through a function of the schema.

use std::time::Duration;

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::store::{clicks::ClickId, domains::DomainId, links::LinkId};

/// A link as the redirect sees it.
#[derive(Clone, Debug)]
pub(crate) struct RedirectRow {
    pub(crate) id: LinkId,
    pub(crate) url: String,
    pub(crate) enabled: bool,
    pub(crate) redirect_status: i16,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) max_clicks: Option<i32>,
}

/// The click of a person on a link with a maximum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClickRow<'a> {
    pub(crate) id: ClickId,
    pub(crate) at: DateTime<Utc>,
    pub(crate) link_id: LinkId,
    pub(crate) visitor: Option<&'a [u8]>,
    pub(crate) country: Option<&'a str>,
    pub(crate) referrer_host: Option<&'a str>,
    pub(crate) device: &'a str,
}

/// What became of a request for a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub(crate) enum UseOutcome {
    Taken,
    Disabled,
    Expired,
    Exhausted,
}

/// Where a link led when one of its uses was taken.
#[derive(Clone, Debug)]
pub(crate) struct UseRow {
    pub(crate) outcome: UseOutcome,
    pub(crate) url: String,
    pub(crate) redirect_status: i16,
}

/// A connection, if there is one within `wait`: a visitor must not wait as long as an operation may.
///
/// # Errors
/// `PoolTimedOut`; whatever prevents connecting.
pub(crate) async fn acquire(
    db: &PgPool,
    wait: Duration,
) -> Result<PoolConnection<Postgres>, sqlx::Error> {
    let db = db.clone();
    // On a task of its own: a connection that takes longer to open is there for the next request.
    let acquiring = tokio::spawn(async move { db.acquire().await });
    let acquired = tokio::time::timeout(wait, acquiring).await;
    acquired
        .map_err(|_| sqlx::Error::PoolTimedOut)?
        .unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

pub(crate) async fn by_slug(
    db: &mut PgConnection,
    domain: DomainId,
    slug: &str,
) -> Result<Option<RedirectRow>, sqlx::Error> {
    statement(
        "redirects.by_slug",
        sqlx::query_as!(
            RedirectRow,
            r#"SELECT id AS "id!: LinkId", url AS "url!", enabled AS "enabled!",
               redirect_status AS "redirect_status!", expires_at, max_clicks
           FROM links.find_redirect($1, $2)"#,
            slug,
            domain.uuid(),
        )
        .fetch_optional(db),
    )
    .await
}

/// Takes one of a link's uses and stores its click, both or neither; `None` when there is no such
/// link. A click that is stored already has taken its use.
pub(crate) async fn take_use(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    click: &ClickRow<'_>,
) -> Result<Option<UseRow>, sqlx::Error> {
    statement(
        "redirects.take_use",
        sqlx::query_as!(
            UseRow,
            r#"SELECT outcome AS "outcome!: UseOutcome", url AS "url!", redirect_status AS "redirect_status!"
           FROM links.take_use($1, $2, $3, $4, $5, $6, $7, $8)"#,
            click.link_id.uuid(),
            now,
            click.id.uuid(),
            click.at,
            click.visitor,
            click.country,
            click.referrer_host,
            click.device,
        )
        .fetch_optional(db),
    )
    .await
}
