//! Sessions are stored on the server of the limits, over the same connection.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{Cmd, Value};

use super::shared::SharedCounter;
use crate::session::{CommandStore, StoreAway};

/// The store of the limits, for sessions.
#[derive(Debug)]
pub(crate) struct SharedCommands(pub(crate) Arc<SharedCounter>);

#[async_trait]
impl CommandStore for SharedCommands {
    async fn command(&self, key: &str, command: &Cmd) -> Result<Value, StoreAway> {
        let answer = self.0.store.command(key, command).await;
        answer.map_err(|error| {
            tracing::debug!(target: "quartet", %error, "a session could not be read or written");
            StoreAway
        })
    }
}
