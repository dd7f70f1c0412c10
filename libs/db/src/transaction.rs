//! Transactions that wait for an answer no longer than a statement does.
//!
//! Those of sqlx give their connection back by themselves when they are dropped, and wait for the
//! rollback without a limit: with a server that has vanished, each takes a place in the pool until TCP
//! notices. So they are not used, except as savepoints, which give nothing back.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, PgTransaction, SqlSafeStr as _,
    postgres::PgTransactionManager,
};
use sqlx_core::transaction::TransactionManager as _;

use crate::{session::Session, unanswered::bounded};

/// A transaction. Dropped without a [commit](Self::commit), it is rolled back.
#[derive(Debug)]
pub struct Transaction {
    session: Session,
    open: bool,
}

/// A part of a transaction that can be undone by itself. Dropped without being kept, it is undone.
#[derive(Debug)]
pub struct Savepoint<'a>(PgTransaction<'a>);

impl Transaction {
    /// `statement` begins it. To be bounded by the caller.
    pub(crate) async fn begin(db: &PgPool, statement: String) -> Result<Self, sqlx::Error> {
        let mut this = Self {
            session: Session::acquire(db).await?,
            open: true,
        };
        let statement = AssertSqlSafe(statement).into_sql_str();
        PgTransactionManager::begin(&mut this, Some(statement)).await?;
        Ok(this)
    }

    /// Keeps what was written.
    ///
    /// # Errors
    /// When a constraint fails that is checked at the end, or the database does not respond; whether
    /// the write is kept is unknown then.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        bounded(Duration::ZERO, PgTransactionManager::commit(&mut self)).await?;
        self.open = false;
        Ok(())
    }

    /// Undoes what was done, before the connection is given back.
    ///
    /// # Errors
    /// When the database does not respond; it undoes everything itself then.
    pub async fn rollback(mut self) -> Result<(), sqlx::Error> {
        bounded(Duration::ZERO, PgTransactionManager::rollback(&mut self)).await?;
        self.open = false;
        Ok(())
    }

    /// Begins a part that can be undone.
    ///
    /// # Errors
    /// When the database does not respond.
    #[expect(clippy::disallowed_methods, reason = "this is the other way")]
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_>, sqlx::Error> {
        let begun = bounded(Duration::ZERO, (**self).begin()).await?;
        Ok(Savepoint(begun))
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.session
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.session
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if self.is_in_transaction() {
            // Sent with the test of the connection when it is released.
            PgTransactionManager::start_rollback(self);
        } else {
            // Dropped before `BEGIN` was answered.
            self.session.mark_unclear();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the other way")]
impl Savepoint<'_> {
    /// Makes it part of its transaction.
    ///
    /// # Errors
    /// When the database does not respond.
    pub async fn keep(self) -> Result<(), sqlx::Error> {
        bounded(Duration::ZERO, self.0.commit()).await
    }

    /// Undoes what was done since it began.
    ///
    /// # Errors
    /// When the database does not respond.
    pub async fn undo(self) -> Result<(), sqlx::Error> {
        bounded(Duration::ZERO, self.0.rollback()).await
    }
}

impl Deref for Savepoint<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Savepoint<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
