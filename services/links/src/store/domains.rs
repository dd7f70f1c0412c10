//! Rows of `links.domains`.

use quartet_db::{statement, typed_id};
use sqlx::PgConnection;

typed_id!(
    /// A host with slugs of its own.
    pub(crate) DomainId,
    "dom"
);

#[derive(Clone, Debug)]
pub(crate) struct DomainRow {
    pub(crate) id: DomainId,
    pub(crate) host: String,
}

/// Every domain but the default one. The schema bounds their number.
pub(crate) async fn all(db: &mut PgConnection) -> Result<Vec<DomainRow>, sqlx::Error> {
    statement(
        "domains.all",
        sqlx::query_as!(
            DomainRow,
            r#"SELECT id AS "id: DomainId", host AS "host!" FROM links.domains WHERE host IS NOT NULL"#,
        )
        .fetch_all(db),
    )
    .await
}
