//! Postgres: the pool, migrations, transactions that row-level security limits to some principals,
//! named statements, and what an error means to a client.
//!
//! No table is named here except the one that sqlx keeps of applied migrations. Queries belong in
//! the `store` of a service, where the compiler checks them against its schema.

#[doc(hidden)]
pub mod __private;
mod connections;
mod databases;
mod error;
mod ids;
mod migrations;
mod pool;
mod reads;
mod rounds;
mod session;
mod statement;
mod transaction;
mod unanswered;

pub use connections::{Lease, begin, read, write};
pub use databases::{Databases, RotateFailure};
pub use error::{constraint, is_transient, problem};
pub use migrations::{
    MigrateFailure, SchemaError, ensure_current, explain, migrate, migrating, run,
};
pub use pool::{check, options, owner_pool, ping, pool};
pub use reads::{CHECK as STANDBY_CHECK, Reads};
pub use rounds::Rounds;
pub use statement::{begin_as, statement};
pub use transaction::{Savepoint, Transaction};
pub use unanswered::answered;
