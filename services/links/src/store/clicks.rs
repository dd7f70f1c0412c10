//! Rows of `links.clicks`, and the rollups that are derived from them.

use chrono::{DateTime, Utc};
use quartet_common::principal::Principal;
use quartet_db::{statement, typed_id};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::links::LinkId;

typed_id!(
    /// One followed redirect.
    pub(crate) ClickId,
    "clk"
);

/// A batch of clicks by column, as `unnest` takes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClickColumns {
    pub(crate) ids: Vec<Uuid>,
    pub(crate) ats: Vec<DateTime<Utc>>,
    pub(crate) link_ids: Vec<Uuid>,
    pub(crate) visitors: Vec<Option<Vec<u8>>>,
    pub(crate) countries: Vec<Option<String>>,
    pub(crate) referrer_hosts: Vec<Option<String>>,
    pub(crate) devices: Vec<String>,
    pub(crate) bots: Vec<Option<String>>,
    /// An array of objects in the same order; `None` if all are empty.
    pub(crate) dimensions: Option<Value>,
}

/// A click as its feed delivers it, with the totals after its batch.
#[derive(Clone, Debug)]
pub(crate) struct WatchedRow {
    pub(crate) id: ClickId,
    pub(crate) at: DateTime<Utc>,
    pub(crate) link_id: LinkId,
    pub(crate) batch: i64,
    pub(crate) country: Option<String>,
    pub(crate) referrer_host: Option<String>,
    pub(crate) device: String,
    pub(crate) bot: Option<String>,
    pub(crate) people: i64,
    pub(crate) uniques: i64,
    pub(crate) bots: i64,
}

/// The last batch of a link that its feed has delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FeedCursor {
    pub(crate) link_id: LinkId,
    pub(crate) batch: i64,
}

/// The clicks of one hour or day.
#[derive(Clone, Debug)]
pub(crate) struct PointRow {
    pub(crate) link_id: LinkId,
    pub(crate) at: DateTime<Utc>,
    pub(crate) people: i64,
    pub(crate) uniques: i64,
    pub(crate) bots: i64,
}

/// A series to be read: `[from, to)` in steps of `unit`, which is `hour` or `day`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Period {
    pub(crate) unit: &'static str,
    pub(crate) from: DateTime<Utc>,
    pub(crate) to: DateTime<Utc>,
}

/// Writes a batch and its rollups; returns the number of clicks that were new.
pub(crate) async fn insert_batch(
    db: &mut PgConnection,
    batch: &ClickColumns,
) -> Result<i64, sqlx::Error> {
    statement(
        "clicks.insert_batch",
        sqlx::query_scalar!(
            r#"SELECT links.record_clicks($1, $2, $3, $4, $5, $6, $7, $8, $9) AS "new!""#,
            &batch.ids,
            &batch.ats,
            &batch.link_ids,
            &batch.visitors as &[Option<Vec<u8>>],
            &batch.countries as &[Option<String>],
            &batch.referrer_hosts as &[Option<String>],
            &batch.devices,
            &batch.bots as &[Option<String>],
            batch.dimensions.as_ref(),
        )
        .fetch_one(db),
    )
    .await
}

/// The number of a link's last batch, 0 before the first; `None` unless `owner` owns the link.
pub(crate) async fn last_batch(
    db: &mut PgConnection,
    owner: &Principal,
    link_id: LinkId,
) -> Result<Option<i64>, sqlx::Error> {
    statement(
        "clicks.last_batch",
        sqlx::query_scalar!(
            r#"SELECT coalesce(t.batch, 0) AS "batch!"
           FROM links.links AS l LEFT JOIN links.click_totals AS t ON t.link_id = l.id
           WHERE l.id = $1 AND l.owner = $2"#,
            link_id.uuid(),
            owner.as_str(),
        )
        .fetch_optional(db),
    )
    .await
}

/// For each link its clicks after a batch, ordered by link and batch.
pub(crate) async fn after(
    db: &mut PgConnection,
    cursors: &[FeedCursor],
    since: DateTime<Utc>,
    rows_per_link: i32,
) -> Result<Vec<WatchedRow>, sqlx::Error> {
    let (links, batches): (Vec<Uuid>, Vec<i64>) = cursors
        .iter()
        .map(|cursor| (cursor.link_id.uuid(), cursor.batch))
        .unzip();
    statement(
        "clicks.after",
        sqlx::query_as!(
            WatchedRow,
            r#"SELECT id AS "id!: ClickId", at AS "at!", link_id AS "link_id!: LinkId", batch AS "batch!", country,
               referrer_host, device AS "device!", bot, people AS "people!", uniques AS "uniques!",
               bots AS "bots!"
           FROM links.clicks_after($1, $2, $3, $4)"#,
            &links,
            &batches,
            since,
            rows_per_link,
        )
        .fetch_all(db),
    )
    .await
}

/// The hours or days of a period in which links were clicked.
pub(crate) async fn series(
    db: &mut PgConnection,
    owner: &Principal,
    links: &[LinkId],
    period: Period,
) -> Result<Vec<PointRow>, sqlx::Error> {
    let links: Vec<Uuid> = links.iter().map(|id| id.uuid()).collect();
    statement(
        "clicks.series",
        sqlx::query_as!(
            PointRow,
            r#"SELECT h.link_id AS "link_id: LinkId", date_trunc($3, h.hour, 'UTC') AS "at!",
               sum(h.people)::bigint AS "people!", sum(h.uniques)::bigint AS "uniques!",
               sum(h.bots)::bigint AS "bots!"
           FROM links.click_hours AS h
           WHERE h.owner = $1 AND h.link_id = ANY ($2) AND h.hour >= $4 AND h.hour < $5
           GROUP BY 1, 2 ORDER BY 1, 2"#,
            owner.as_str(),
            &links,
            period.unit,
            period.from,
            period.to,
        )
        .fetch_all(db),
    )
    .await
}
