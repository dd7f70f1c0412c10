//! The queue of durable jobs, with workers in this process and in others that are killed.
#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod kills;
mod logs;
mod pooler;
mod queue;
mod schema;
mod support;
