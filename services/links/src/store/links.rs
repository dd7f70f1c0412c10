//! Rows of `links.links` with their totals, in transactions of `quartet_db::begin_as`.

use chrono::{DateTime, Utc};
use quartet_common::principal::Principal;
use quartet_db::{statement, typed_id};
use sqlx::{FromRow, PgConnection};

use super::domains::DomainId;

typed_id!(
    /// A short URL and its target URL.
    pub(crate) LinkId,
    "lnk"
);

/// A link with its running totals. Columns have the names that the checked queries give them.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct LinkRow {
    #[sqlx(rename = "id: LinkId")]
    pub(crate) id: LinkId,
    #[sqlx(rename = "domain_id: DomainId")]
    pub(crate) domain_id: DomainId,
    /// `None` for the default domain.
    pub(crate) domain_host: Option<String>,
    pub(crate) slug: String,
    pub(crate) url: String,
    pub(crate) title: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) redirect_status: i16,
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) max_clicks: Option<i32>,
    pub(crate) uses: i32,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
    #[sqlx(rename = "people!")]
    pub(crate) people: i64,
    #[sqlx(rename = "uniques!")]
    pub(crate) uniques: i64,
    #[sqlx(rename = "bots!")]
    pub(crate) bots: i64,
    #[sqlx(rename = "last_click_at?")]
    pub(crate) last_click_at: Option<DateTime<Utc>>,
}

/// What a link that was deleted leaves behind in caches.
#[derive(Clone, Debug)]
pub(crate) struct DeletedRow {
    pub(crate) domain_id: DomainId,
    pub(crate) slug: String,
}

/// Gives a macro the columns of a [`LinkRow`], of the tables `l` and `t`.
macro_rules! link_columns {
    ($use:ident!($($rest:tt)*)) => {
        $use!(
            r#"SELECT l.id AS "id: LinkId", l.domain_id AS "domain_id: DomainId",
                (SELECT d.host FROM links.domains AS d WHERE d.id = l.domain_id) AS domain_host,
                l.slug, l.url, l.title, l.enabled, l.redirect_status, l.expires_at, l.max_clicks,
                l.uses, l.created_at, l.updated_at, coalesce(t.people, 0) AS "people!",
                coalesce(t.uniques, 0) AS "uniques!", coalesce(t.bots, 0) AS "bots!",
                t.last_at AS "last_click_at?" "#,
            $($rest)*
        )
    };
}
pub(super) use link_columns;

macro_rules! select_one {
    ($columns:literal, $rest:literal, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            LinkRow,
            $columns + "FROM links.links AS l LEFT JOIN links.click_totals AS t ON t.link_id = l.id " + $rest,
            $($argument),+
        )
    };
}

/// Returns whether the link was inserted; `false` when its slug is taken.
pub(crate) async fn insert(
    db: &mut PgConnection,
    owner: &Principal,
    link: &LinkRow,
) -> Result<bool, sqlx::Error> {
    let done = statement(
        "links.insert",
        sqlx::query!(
        "INSERT INTO links.links (id, owner, slug, url, title, enabled, redirect_status, expires_at,
             max_clicks, created_at, updated_at, domain_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11)
         ON CONFLICT (domain_id, slug) DO NOTHING",
        link.id.uuid(),
        owner.as_str(),
        link.slug,
        link.url,
        link.title,
        link.enabled,
        link.redirect_status,
        link.expires_at,
        link.max_clicks,
        link.created_at,
        link.domain_id.uuid(),
    )
        .execute(db),
    )
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn by_id(
    db: &mut PgConnection,
    owner: &Principal,
    id: LinkId,
) -> Result<Option<LinkRow>, sqlx::Error> {
    statement(
        "links.by_id",
        link_columns!(select_one!(
            "WHERE l.id = $1 AND l.owner = $2",
            id.uuid(),
            owner.as_str(),
        ))
        .fetch_optional(db),
    )
    .await
}

pub(crate) async fn by_slug(
    db: &mut PgConnection,
    owner: &Principal,
    domain: DomainId,
    slug: &str,
) -> Result<Option<LinkRow>, sqlx::Error> {
    statement(
        "links.by_slug",
        link_columns!(select_one!(
            "WHERE l.domain_id = $1 AND l.slug = $2 AND l.owner = $3",
            domain.uuid(),
            slug,
            owner.as_str(),
        ))
        .fetch_optional(db),
    )
    .await
}

/// Like [`by_id`], and locks the link until the transaction ends.
pub(crate) async fn lock(
    db: &mut PgConnection,
    owner: &Principal,
    id: LinkId,
) -> Result<Option<LinkRow>, sqlx::Error> {
    let locked = statement(
        "links.lock",
        sqlx::query_scalar!(
            "SELECT 1 FROM links.links AS l WHERE l.id = $1 AND l.owner = $2 FOR UPDATE",
            id.uuid(),
            owner.as_str(),
        )
        .fetch_optional(&mut *db),
    )
    .await?;
    match locked {
        Some(_) => by_id(db, owner, id).await,
        None => Ok(None),
    }
}

/// Writes every column that can change.
pub(crate) async fn update(
    db: &mut PgConnection,
    owner: &Principal,
    link: &LinkRow,
) -> Result<(), sqlx::Error> {
    statement(
        "links.update",
        sqlx::query!(
        "UPDATE links.links SET slug = $3, url = $4, title = $5, enabled = $6, redirect_status = $7,
             expires_at = $8, max_clicks = $9, updated_at = $10
         WHERE id = $1 AND owner = $2",
        link.id.uuid(),
        owner.as_str(),
        link.slug,
        link.url,
        link.title,
        link.enabled,
        link.redirect_status,
        link.expires_at,
        link.max_clicks,
        link.updated_at,
    )
        .execute(db),
    )
    .await
    .map(drop)
}

/// For how long the slugs that this transaction frees are kept for their owner.
pub(crate) async fn set_slug_rest(db: &mut PgConnection, seconds: u64) -> Result<(), sqlx::Error> {
    statement(
        "links.set_slug_rest",
        sqlx::query_scalar!(
            "SELECT set_config('quartet.slug_rest_seconds', $1, true)",
            seconds.to_string(),
        )
        .fetch_one(db),
    )
    .await
    .map(drop)
}

/// Deletes the link with its rollups. Its clicks are left to the purge, which
/// a trigger requests.
pub(crate) async fn delete(
    db: &mut PgConnection,
    owner: &Principal,
    id: LinkId,
) -> Result<Option<DeletedRow>, sqlx::Error> {
    statement(
        "links.delete",
        sqlx::query_as!(
            DeletedRow,
            r#"DELETE FROM links.links WHERE id = $1 AND owner = $2
               RETURNING domain_id AS "domain_id: DomainId", slug"#,
            id.uuid(),
            owner.as_str(),
        )
        .fetch_optional(db),
    )
    .await
}
