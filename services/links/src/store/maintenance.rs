//! Partitions, purges and heartbeats.

use chrono::NaiveDate;
use quartet_db::statement;
use sqlx::PgConnection;

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

/// Deletes up to `rows` clicks of deleted links; returns 0 when none is left.
pub(crate) async fn purge_clicks(db: &mut PgConnection, rows: i32) -> Result<i64, sqlx::Error> {
    statement(
        "maintenance.purge_clicks",
        sqlx::query_scalar!(r#"SELECT links.purge_clicks($1) AS "purged!""#, rows).fetch_one(db),
    )
    .await
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
