//! Transactions that wait for an answer no longer than a statement does.
//!
//! Those of sqlx give their connection back by themselves when they are dropped, and wait for the
//! rollback without a limit: with a server that has vanished, each takes a place in the pool until TCP
//! notices. So they are not used.
//!
//! A savepoint is its transaction until it ends. sqlx rolls back the whole transaction when the answer to
//! `SAVEPOINT` is not waited for, and counts none from then on: statements would commit themselves, and a
//! commit would succeed without having kept anything. So what fails here takes the transaction with it.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, SqlSafeStr as _,
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

/// A transaction in a part that can be undone by itself. Dropped, it is rolled back.
#[derive(Debug)]
pub struct Savepoint(Transaction);

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
    /// When the database does not respond; it undoes everything then.
    pub async fn savepoint(mut self) -> Result<Savepoint, sqlx::Error> {
        bounded(Duration::ZERO, PgTransactionManager::begin(&mut self, None)).await?;
        Ok(Savepoint(self))
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
        if !self.is_in_transaction() {
            // Dropped before `BEGIN` or `SAVEPOINT` was answered.
            self.session.mark_unclear();
        }
        while self.is_in_transaction() {
            // Sent with the test of the connection when it is released: of its part, and of itself.
            PgTransactionManager::start_rollback(self);
        }
    }
}

impl Savepoint {
    /// Ends the part, and continues its transaction.
    ///
    /// # Errors
    /// When the database does not respond; it undoes the whole transaction then.
    pub async fn keep(mut self) -> Result<Transaction, sqlx::Error> {
        bounded(Duration::ZERO, PgTransactionManager::commit(&mut self)).await?;
        Ok(self.0)
    }

    /// The same, after undoing what was done since the part began.
    ///
    /// # Errors
    /// When the database does not respond; it undoes the whole transaction then.
    pub async fn undo(mut self) -> Result<Transaction, sqlx::Error> {
        bounded(Duration::ZERO, PgTransactionManager::rollback(&mut self)).await?;
        Ok(self.0)
    }
}

impl Deref for Savepoint {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Savepoint {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
