//! Rows of `core.signing_keys`.

use chrono::{DateTime, Utc};
use quartet_db::statement;
use sqlx::PgConnection;

#[derive(Clone)]
pub(crate) struct SigningKeyRow {
    pub(crate) kid: String,
    pub(crate) algorithm: String,
    pub(crate) sealed_private_key: Vec<u8>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) activates_at: DateTime<Utc>,
}

impl std::fmt::Debug for SigningKeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeyRow")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Keeps other replicas from changing the keys until the transaction ends.
pub(crate) async fn lock(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    statement(
        "signing_keys.lock",
        sqlx::query!("SELECT pg_advisory_xact_lock(hashtext('core.signing_keys'))").fetch_one(db),
    )
    .await?;
    Ok(())
}

/// All keys, ordered by activation.
pub(crate) async fn all(db: &mut PgConnection) -> Result<Vec<SigningKeyRow>, sqlx::Error> {
    statement(
        "signing_keys.all",
        sqlx::query_as!(
            SigningKeyRow,
            "SELECT kid, algorithm, sealed_private_key, created_at, activates_at
         FROM core.signing_keys ORDER BY activates_at, kid",
        )
        .fetch_all(db),
    )
    .await
}

pub(crate) async fn insert(db: &mut PgConnection, key: &SigningKeyRow) -> Result<(), sqlx::Error> {
    statement(
        "signing_keys.insert",
        sqlx::query!(
            "INSERT INTO core.signing_keys (kid, algorithm, sealed_private_key, created_at, activates_at)
         VALUES ($1, $2, $3, $4, $5)",
            key.kid,
            key.algorithm,
            key.sealed_private_key,
            key.created_at,
            key.activates_at,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Replaces the sealed form of a key.
pub(crate) async fn reseal(
    db: &mut PgConnection,
    kid: &str,
    sealed_private_key: &[u8],
) -> Result<(), sqlx::Error> {
    statement(
        "signing_keys.reseal",
        sqlx::query!(
            "UPDATE core.signing_keys SET sealed_private_key = $2 WHERE kid = $1",
            kid,
            sealed_private_key,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Deletes keys whose successor of the same algorithm became active before `before`.
pub(crate) async fn delete_superseded(
    db: &mut PgConnection,
    before: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "signing_keys.delete_superseded",
        sqlx::query!(
            "DELETE FROM core.signing_keys AS k WHERE EXISTS (
             SELECT FROM core.signing_keys AS n
             WHERE n.algorithm = k.algorithm
               AND n.activates_at > k.activates_at AND n.activates_at < $1)",
            before,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Deletes keys of other algorithms than those `kept` that became active before `before`, unless
/// they may have signed since `replaced_before`: a kept algorithm's first key is published for a
/// while before it signs.
pub(crate) async fn delete_abandoned(
    db: &mut PgConnection,
    kept: &[String],
    before: DateTime<Utc>,
    replaced_before: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    statement(
        "signing_keys.delete_abandoned",
        sqlx::query!(
            "DELETE FROM core.signing_keys WHERE algorithm <> ALL ($1) AND activates_at < $2
             AND EXISTS (
                 SELECT FROM core.signing_keys AS n
                 WHERE n.algorithm = ANY ($1) AND n.activates_at < $3)",
            kept,
            before,
            replaced_before,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}

/// Deletes all keys, or all of one algorithm.
pub(crate) async fn delete_all(
    db: &mut PgConnection,
    algorithm: Option<&str>,
) -> Result<(), sqlx::Error> {
    statement(
        "signing_keys.delete_all",
        sqlx::query!(
            "DELETE FROM core.signing_keys WHERE $1::text IS NULL OR algorithm = $1",
            algorithm,
        )
        .execute(db),
    )
    .await?;
    Ok(())
}
