//! SQL, checked at compile time, in plain functions; and the object store.

pub(crate) mod assets;
pub(crate) mod objects;
pub(crate) mod sweeps;

use sqlx::{PgPool, Postgres, Transaction};

/// The subject of a verified access token.
#[derive(Clone, Debug)]
pub(crate) struct Owner(String);

impl Owner {
    pub(crate) fn new(subject: &str) -> Self {
        Self(subject.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A transaction that sees the rows of `owner` only (row-level security).
pub(crate) async fn begin(
    pool: &PgPool,
    owner: &Owner,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query_scalar!(
        "SELECT set_config('quartet.user_id', $1, true)",
        owner.as_str()
    )
    .fetch_one(&mut *tx)
    .await?;
    Ok(tx)
}
