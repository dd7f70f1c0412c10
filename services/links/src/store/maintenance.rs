//! What the jobs do to the tables.

use chrono::NaiveDate;
use sqlx::PgPool;

/// A table that has a partition for each day.
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

/// Makes the partition of a day; tells whether it was missing.
pub(crate) async fn make_partition(
    pool: &PgPool,
    table: Partitioned,
    day: NaiveDate,
) -> Result<bool, sqlx::Error> {
    let name = table.name();
    sqlx::query_scalar!(
        r#"SELECT links.make_partition($1, $2) AS "made!""#,
        name,
        day
    )
    .fetch_one(pool)
    .await
}

/// Drops the partitions of the days before this one; gives how many.
pub(crate) async fn drop_partitions(
    pool: &PgPool,
    table: Partitioned,
    before: NaiveDate,
) -> Result<i64, sqlx::Error> {
    let name = table.name();
    sqlx::query_scalar!(
        r#"SELECT links.drop_partitions($1, $2) AS "dropped!""#,
        name,
        before
    )
    .fetch_one(pool)
    .await
}

/// Removes clicks of deleted links, so many at a time; 0 when nothing is left to do.
pub(crate) async fn purge_clicks(pool: &PgPool, rows: i32) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT links.purge_clicks($1) AS "gone!""#, rows)
        .fetch_one(pool)
        .await
}

/// Lets every replica that listens hear that its connection is alive.
pub(crate) async fn beat(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_notify('links_beats', '')")
        .execute(pool)
        .await
        .map(drop)
}
