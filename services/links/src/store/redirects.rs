//! Lookups of the redirect, which act for no user: each goes through a function of the schema.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

use crate::store::links::LinkId;

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

/// Where a link led when one of its uses was taken.
#[derive(Clone, Debug)]
pub(crate) struct UseRow {
    pub(crate) url: String,
    pub(crate) redirect_status: i16,
}

pub(crate) async fn by_slug(
    db: &mut PgConnection,
    slug: &str,
) -> Result<Option<RedirectRow>, sqlx::Error> {
    statement(
        "redirects.by_slug",
        sqlx::query_as!(
            RedirectRow,
            r#"SELECT id AS "id!: LinkId", url AS "url!", enabled AS "enabled!",
               redirect_status AS "redirect_status!", expires_at, max_clicks
           FROM links.find_redirect($1)"#,
            slug,
        )
        .fetch_optional(db),
    )
    .await
}

/// Takes one of a link's uses; `None` when none is left.
pub(crate) async fn take_use(
    db: &mut PgConnection,
    link_id: LinkId,
    now: DateTime<Utc>,
) -> Result<Option<UseRow>, sqlx::Error> {
    statement(
        "redirects.take_use",
        sqlx::query_as!(
            UseRow,
            r#"SELECT url AS "url!", redirect_status AS "redirect_status!"
           FROM links.take_use($1, $2)"#,
            link_id.uuid(),
            now,
        )
        .fetch_optional(db),
    )
    .await
}
