//! Helpers for tests: a database per test, an issuer of tokens, a process whose log is read, a check of
//! every response against the OpenAPI document, and a check of the imports of a crate.
//!
//! A dev-dependency only. Without the feature `database` it links no sqlx.

pub mod arrows;
mod bounds;
pub mod child;
#[cfg(feature = "database")]
mod clockwork;
mod closed;
mod complete;
pub mod contract;
#[cfg(feature = "database")]
mod database;
#[cfg(feature = "database")]
mod dead_letters;
mod issuer;
pub mod metrics;
#[cfg(feature = "database")]
mod nats;
#[cfg(feature = "database")]
mod pooler;
mod proxy;
mod redis;
mod responses;
pub mod server;
#[cfg(feature = "events")]
mod user_deleted;
mod watch;

pub use bounds::accepted_numbers;
#[cfg(feature = "database")]
pub use clockwork::{assert_ticks_done, miss_ticks};
pub use complete::assert_complete;
#[cfg(feature = "database")]
pub use database::{ADMIN_URL, TestDatabase, until_waiting};
#[cfg(feature = "database")]
pub use dead_letters::DeadLetters;
pub use issuer::{AUDIENCE, ISSUER, Issuer};
#[cfg(feature = "database")]
pub use nats::NatsServer;
#[cfg(feature = "database")]
pub use pooler::{POOLED, Pooler};
pub use proxy::Proxy;
pub use redis::{RedisCluster, RedisSentinels, RedisServer};
pub use responses::{json_of, problem_of};
#[cfg(feature = "events")]
pub use user_deleted::{EVENTS_SECRET, publish_user_deleted};
pub use watch::Watch;
