//! Clicks and their rollups.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// A batch of clicks, column by column.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    pub(crate) ids: Vec<Uuid>,
    pub(crate) ats: Vec<DateTime<Utc>>,
    pub(crate) link_ids: Vec<Uuid>,
    pub(crate) visitors: Vec<Option<Vec<u8>>>,
    pub(crate) countries: Vec<Option<String>>,
    pub(crate) referrer_hosts: Vec<Option<String>>,
    pub(crate) devices: Vec<String>,
    pub(crate) bots: Vec<Option<String>>,
}

/// A click as it is shown to who watches its link, with the totals after its batch.
#[derive(Clone, Debug)]
pub(crate) struct WatchedRow {
    pub(crate) id: Uuid,
    pub(crate) at: DateTime<Utc>,
    pub(crate) link_id: Uuid,
    pub(crate) batch: i64,
    pub(crate) country: Option<String>,
    pub(crate) referrer_host: Option<String>,
    pub(crate) device: String,
    pub(crate) bot: Option<String>,
    pub(crate) people: i64,
    pub(crate) uniques: i64,
    pub(crate) bots: i64,
}

/// Clicks in one hour or on one day.
#[derive(Clone, Debug)]
pub(crate) struct PointRow {
    pub(crate) link_id: Uuid,
    pub(crate) at: DateTime<Utc>,
    pub(crate) people: i64,
    pub(crate) uniques: i64,
    pub(crate) bots: i64,
}

/// Writes a batch with its rollups in one transaction; gives how many were new.
pub(crate) async fn record(pool: &PgPool, batch: &Columns) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT links.record_clicks($1, $2, $3, $4, $5, $6, $7, $8) AS "new!""#,
        &batch.ids,
        &batch.ats,
        &batch.link_ids,
        &batch.visitors as &[Option<Vec<u8>>],
        &batch.countries as &[Option<String>],
        &batch.referrer_hosts as &[Option<String>],
        &batch.devices,
        &batch.bots as &[Option<String>],
    )
    .fetch_one(pool)
    .await
}

/// The last batch of one of the owner's links, 0 before the first; `None` when it is not theirs.
pub(crate) async fn last_batch(
    connection: &mut PgConnection,
    owner: &str,
    link_id: Uuid,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(t.batch, 0) AS "batch!"
           FROM links.links AS l LEFT JOIN links.click_totals AS t ON t.link_id = l.id
           WHERE l.id = $1 AND l.owner = $2"#,
        link_id,
        owner,
    )
    .fetch_optional(connection)
    .await
}

/// For each link the clicks after the given batch, link by link, oldest first.
pub(crate) async fn after(
    pool: &PgPool,
    cursors: &[(Uuid, i64)],
    since: DateTime<Utc>,
    rows_per_link: i32,
) -> Result<Vec<WatchedRow>, sqlx::Error> {
    let (links, batches): (Vec<Uuid>, Vec<i64>) = cursors.iter().copied().unzip();
    sqlx::query_as!(
        WatchedRow,
        r#"SELECT id AS "id!", at AS "at!", link_id AS "link_id!", batch AS "batch!", country,
               referrer_host, device AS "device!", bot, people AS "people!", uniques AS "uniques!",
               bots AS "bots!"
           FROM links.clicks_after($1, $2, $3, $4)"#,
        &links,
        &batches,
        since,
        rows_per_link,
    )
    .fetch_all(pool)
    .await
}

/// The hours or days of a span in which links were clicked; `unit` is `hour` or `day`.
pub(crate) async fn series(
    connection: &mut PgConnection,
    owner: &str,
    links: &[Uuid],
    unit: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<PointRow>, sqlx::Error> {
    sqlx::query_as!(
        PointRow,
        r#"SELECT h.link_id, date_trunc($3, h.hour, 'UTC') AS "at!",
               sum(h.people)::bigint AS "people!", sum(h.uniques)::bigint AS "uniques!",
               sum(h.bots)::bigint AS "bots!"
           FROM links.click_hours AS h JOIN links.links AS l ON l.id = h.link_id AND l.owner = $1
           WHERE h.link_id = ANY ($2) AND h.hour >= $4 AND h.hour < $5
           GROUP BY 1, 2 ORDER BY 1, 2"#,
        owner,
        links,
        unit,
        from,
        to,
    )
    .fetch_all(connection)
    .await
}
