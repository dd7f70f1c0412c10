//! What the redirect asks, on nobody's behalf.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// A link as the redirect sees it.
#[derive(Clone, Debug)]
pub(crate) struct RedirectRow {
    pub(crate) id: Uuid,
    pub(crate) url: String,
    pub(crate) enabled: bool,
    pub(crate) redirect_status: i16,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) max_clicks: Option<i32>,
}

/// Where a taken use leads.
#[derive(Clone, Debug)]
pub(crate) struct UseRow {
    pub(crate) url: String,
    pub(crate) redirect_status: i16,
}

pub(crate) async fn by_slug(pool: &PgPool, slug: &str) -> Result<Option<RedirectRow>, sqlx::Error> {
    sqlx::query_as!(
        RedirectRow,
        r#"SELECT id AS "id!", url AS "url!", enabled AS "enabled!",
               redirect_status AS "redirect_status!", expires_at, max_clicks
           FROM links.find_redirect($1)"#,
        slug,
    )
    .fetch_optional(pool)
    .await
}

/// Takes one of a link's uses; `None` when there is none left.
pub(crate) async fn take_use(
    pool: &PgPool,
    link_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<UseRow>, sqlx::Error> {
    sqlx::query_as!(
        UseRow,
        r#"SELECT url AS "url!", redirect_status AS "redirect_status!"
           FROM links.take_use($1, $2)"#,
        link_id,
        now,
    )
    .fetch_optional(pool)
    .await
}
