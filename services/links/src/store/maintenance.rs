//! Partitions, purges and heartbeats.

use chrono::{DateTime, NaiveDate, Utc};
use quartet_db::statement;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::store::links::LinkId;

/// A table that has a partition per day.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Partitioned {
    Clicks,
    Visitors,
}

impl Partitioned {
    fn name(self) -> &'static str {
        match self {
            Self::Clicks => "clicks",
            Self::Visitors => "visitors",
        }
    }
}

/// Creates the partition of a day; returns whether it was missing.
pub(crate) async fn create_partition(
    db: &mut PgConnection,
    table: Partitioned,
    day: NaiveDate,
) -> Result<bool, sqlx::Error> {
    let name = table.name();
    statement(
        "maintenance.create_partition",
        sqlx::query_scalar!(
            r#"SELECT links.make_partition($1, $2) AS "created!""#,
            name,
            day
        )
        .fetch_one(db),
    )
    .await
}

/// Drops the partitions of the days before `before`; returns their number.
pub(crate) async fn drop_partitions(
    db: &mut PgConnection,
    table: Partitioned,
    before: NaiveDate,
) -> Result<i64, sqlx::Error> {
    let name = table.name();
    statement(
        "maintenance.drop_partitions",
        sqlx::query_scalar!(
            r#"SELECT links.drop_partitions($1, $2) AS "dropped!""#,
            name,
            before
        )
        .fetch_one(db),
    )
    .await
}

/// The deleted link to purge next, and marks it as tried at `now`. `None` when none is left but
/// `skipped`.
pub(crate) async fn next_purge(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    skipped: &[LinkId],
) -> Result<Option<LinkId>, sqlx::Error> {
    let skipped: Vec<Uuid> = skipped.iter().map(|id| id.uuid()).collect();
    statement(
        "maintenance.next_purge",
        sqlx::query_scalar!(
            r#"SELECT links.next_purge($1, $2) AS "link_id: LinkId""#,
            now,
            &skipped
        )
        .fetch_one(db),
    )
    .await
}

/// Deletes up to `rows` clicks and as many visitors of a deleted link; returns whether nothing is
/// left of it.
pub(crate) async fn purge_link(
    db: &mut PgConnection,
    link_id: LinkId,
    days: &[NaiveDate],
    rows: i32,
) -> Result<bool, sqlx::Error> {
    statement(
        "maintenance.purge_link",
        sqlx::query_scalar!(
            r#"SELECT links.purge_link($1, $2, $3) AS "done!""#,
            link_id.uuid(),
            days,
            rows
        )
        .fetch_one(db),
    )
    .await
}

/// Deletes up to `rows` freed slugs that anyone may use again; returns their number.
pub(crate) async fn drop_freed_slugs(db: &mut PgConnection, rows: i32) -> Result<u64, sqlx::Error> {
    let dropped = statement(
        "maintenance.drop_freed_slugs",
        sqlx::query_scalar!(r#"SELECT links.drop_freed_slugs($1) AS "dropped!""#, rows)
            .fetch_one(db),
    )
    .await?;
    Ok(dropped.unsigned_abs())
}

/// Deletes up to `rows` links of a deleted user, and takes the user from as many freed slugs; returns
/// the number of rows.
pub(crate) async fn erase_links(
    db: &mut PgConnection,
    owner: &str,
    rows: i32,
) -> Result<u64, sqlx::Error> {
    let erased = statement(
        "maintenance.erase_links",
        sqlx::query_scalar!(
            r#"SELECT links.erase_links($1, $2) AS "erased!""#,
            owner,
            rows
        )
        .fetch_one(db),
    )
    .await?;
    Ok(u64::try_from(erased).unwrap_or(0))
}

/// Notifies every listening replica that its connection is alive.
pub(crate) async fn send_heartbeat(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    statement(
        "maintenance.send_heartbeat",
        sqlx::query!("SELECT pg_notify('links_beats', '')").execute(db),
    )
    .await
    .map(drop)
}
