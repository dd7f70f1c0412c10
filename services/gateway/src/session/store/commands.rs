//! The connection to a Redis that someone else keeps.

use async_trait::async_trait;
use redis::{Cmd, Value};

use super::types::StoreAway;

/// Sends commands of one key each.
#[async_trait]
pub(crate) trait CommandStore: std::fmt::Debug + Send + Sync {
    /// # Errors
    /// When the store does not answer in time, or refuses.
    async fn command(&self, key: &str, command: &Cmd) -> Result<Value, StoreAway>;
}
