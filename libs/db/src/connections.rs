//! Connections for statements, with or without a pooler in transaction mode in between.
//!
//! Such a pooler (PgBouncer) lends a session of Postgres for one transaction:
//!
//! - What is set for a session reaches strangers, so nothing is but for the transaction.
//! - sqlx prepares a statement in one round trip and runs it in another. Outside a transaction the
//!   second may reach a session that has never seen the statement. So every statement runs in one.
//! - Prepared statements stay in the session after the transaction. Their names would meet those of
//!   another connection, so each transaction begins by forgetting all, in the round trip of `BEGIN`.
//!
//! Without a pooler, [`read`] and [`write`] cost nothing: their statements commit themselves.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{PgConnection, PgPool};

use crate::{session::Session, transaction::Transaction, unanswered::bounded};

/// Forgets the statements that others have prepared in the session.
const FORGET: &str = "DEALLOCATE ALL";
/// Ends the name of an application whose connections go through a pooler.
const POOLED: &str = " (pooled)";

/// A connection for one statement that stands alone, or for several that only read.
#[derive(Debug)]
pub struct Lease(Kind);

#[derive(Debug)]
enum Kind {
    Session(Session),
    Transaction(Transaction),
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.0 {
            Kind::Session(session) => session,
            Kind::Transaction(transaction) => transaction,
        }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.0 {
            Kind::Session(session) => session,
            Kind::Transaction(transaction) => transaction,
        }
    }
}

impl From<Transaction> for Lease {
    fn from(transaction: Transaction) -> Self {
        Self(Kind::Transaction(transaction))
    }
}

impl Lease {
    /// Keeps what was written. Without a pooler, each statement has done so itself.
    ///
    /// # Errors
    /// When the database does not respond; whether the write is kept is unknown then.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        match self.0 {
            Kind::Session(_) => Ok(()),
            Kind::Transaction(transaction) => transaction.commit().await,
        }
    }
}

/// A connection for statements that only read; behind a pooler, Postgres refuses others.
///
/// # Errors
/// When no connection is free in time, or the database does not respond.
pub async fn read(db: &PgPool) -> Result<Lease, sqlx::Error> {
    lease(db, "BEGIN READ ONLY").await
}

/// A connection for one statement that writes. What is not [committed](Lease::commit) is lost
/// behind a pooler.
///
/// # Errors
/// When no connection is free in time, or the database does not respond.
pub async fn write(db: &PgPool) -> Result<Lease, sqlx::Error> {
    lease(db, "BEGIN").await
}

async fn lease(db: &PgPool, begin: &str) -> Result<Lease, sqlx::Error> {
    if is_pooled(db) {
        let begin = format!("{begin}; {FORGET}");
        let begun = bounded(wait_of(db), Transaction::begin(db, begin)).await?;
        return Ok(begun.into());
    }
    Ok(Lease(Kind::Session(Session::acquire(db).await?)))
}

/// Begins a transaction.
///
/// # Errors
/// When no connection is free in time, or the database does not respond.
pub async fn begin(db: &PgPool) -> Result<Transaction, sqlx::Error> {
    let begin = if is_pooled(db) {
        format!("BEGIN; {FORGET}")
    } else {
        "BEGIN".to_owned()
    };
    bounded(wait_of(db), Transaction::begin(db, begin)).await
}

/// How long a connection is waited for.
pub(crate) fn wait_of(db: &PgPool) -> Duration {
    db.options().get_acquire_timeout()
}

/// Begins a transaction and runs `set`, in one round trip.
pub(crate) async fn begin_with(db: &PgPool, set: &str) -> Result<Transaction, sqlx::Error> {
    let begin = if is_pooled(db) {
        format!("BEGIN; {FORGET}; {set}")
    } else {
        format!("BEGIN; {set}")
    };
    Transaction::begin(db, begin).await
}

/// The name by which Postgres knows the connections of an application.
pub(crate) fn application_name(application: &str, pooled: bool) -> String {
    if pooled {
        return format!("{application}{POOLED}");
    }
    application.to_owned()
}

/// The name shows it, since nothing else of a pool can be read that `options` has set.
fn is_pooled(db: &PgPool) -> bool {
    let options = db.connect_options();
    let name = options.get_application_name();
    name.is_some_and(|name| name.ends_with(POOLED))
}
