//! Durable jobs: work that is written to the database with what it belongs to, and done later, by
//! whichever process has a worker, once it has been done.
//!
//! ```text
//! add (in a transaction) --> ready --take--> running --> done: deleted
//! cron, once per tick -------^  ^               |
//!                               +-- retry_at ---+-- error, panic, time limit
//!                               |               `-- last attempt, or an error that no retry
//!                               |                   would change: dead letter, kept 30 days
//!                               +-- the worker died: no heartbeat for 30 s
//! ```
//!
//! The queue is that of `graphile_worker`, in the schema of the service: tables `_private_*`, the view
//! `jobs`, the function `add_job`. This crate adds what its users share: names and attempts of tasks,
//! time limits, panics, metrics, the schema's privileges.
//!
//! A job is done at least once: the process may die between the work and the note that it is done.
//! Work is therefore written so that doing it again changes nothing.
//!
//! Periodic work of a replica, such as reading keys again, belongs in `quartet-jobs`.

pub mod dead_letters;
mod driver;
mod handler;
mod metrics;
mod schema;
mod store;
mod task;
mod worker;

pub use schema::migrate;
pub use store::add;
pub use task::{Permanent, Task};
pub use worker::{Settings, Tasks, Worker};
