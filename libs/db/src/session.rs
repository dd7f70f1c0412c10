//! A connection while it is borrowed from its pool.

use std::ops::{Deref, DerefMut};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::unanswered::release;

/// Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Session(PoolConnection<Postgres>);

impl Session {
    #[expect(clippy::disallowed_methods, reason = "this is the other way")]
    pub(crate) async fn acquire(db: &PgPool) -> Result<Self, sqlx::Error> {
        Ok(Self(db.acquire().await?))
    }
}

impl Deref for Session {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        release(&mut self.0);
    }
}
