//! Rows of `core.revocations`, which a trigger of `core.sessions` writes.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use serde::Serialize;
use sqlx::PgConnection;

use super::{api_keys::ApiKeyId, sessions::SessionId};

/// The `sid` of tokens that are no longer valid.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum RevokedId {
    Session(SessionId),
    ApiKey(ApiKeyId),
}

/// The session, or the API key, of a token that is no longer valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RevocationRow {
    pub(crate) session_id: SessionId,
    pub(crate) revoked_at: DateTime<Utc>,
    /// The number of its transaction.
    pub(crate) transaction: i64,
    /// `session_id` is that of an API key.
    pub(crate) is_api_key: bool,
}

impl RevocationRow {
    pub(crate) fn id(&self) -> RevokedId {
        if self.is_api_key {
            RevokedId::ApiKey(self.session_id.uuid().into())
        } else {
            RevokedId::Session(self.session_id)
        }
    }
}

/// The number below which every transaction has ended.
pub(crate) async fn horizon(db: &mut PgConnection) -> Result<i64, sqlx::Error> {
    statement(
        "revocations.horizon",
        sqlx::query_scalar!(
            r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!""#,
        )
        .fetch_one(db),
    )
    .await
}

/// Revocations since `since` by the transaction `from` and later ones, in their order, after the row at
/// `after`; at most `limit`.
pub(crate) async fn list(
    db: &mut PgConnection,
    from: i64,
    after: Option<(i64, SessionId)>,
    since: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<RevocationRow>, sqlx::Error> {
    let (transaction, session) = after.unzip();
    statement(
        "revocations.list",
        sqlx::query_as!(
            RevocationRow,
            r#"SELECT session_id AS "session_id: SessionId", revoked_at, is_api_key,
               transaction::text::bigint AS "transaction!"
           FROM core.revocations
           WHERE transaction >= ($1::bigint)::text::xid8
             AND ($2::bigint IS NULL
                  OR (transaction, session_id) > (($2::bigint)::text::xid8, $3::uuid))
             AND revoked_at > $4
           ORDER BY transaction, session_id LIMIT $5"#,
            from,
            transaction,
            session.map(SessionId::uuid),
            since,
            limit,
        )
        .fetch_all(db),
    )
    .await
}

/// Deletes those from before `before`. Returns their number.
pub(crate) async fn purge(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<u64, sqlx::Error> {
    let purged = statement(
        "revocations.purge",
        sqlx::query!(
            "DELETE FROM core.revocations WHERE session_id IN (
             SELECT session_id FROM core.revocations WHERE revoked_at < $1
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
            before,
            limit,
        )
        .execute(db),
    )
    .await?;
    Ok(purged.rows_affected())
}
