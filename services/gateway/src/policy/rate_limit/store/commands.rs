//! Other uses of the same server, over the same connection and breaker.

use redis::{Cmd, Value};
use tokio::time::timeout;

use super::{LimitStore, StoreError};

impl LimitStore {
    /// A login can wait longer than a request that is counted: as long as connecting may take.
    ///
    /// # Errors
    /// After the timeout, or when the store refuses.
    pub(in crate::policy::rate_limit) async fn command(
        &self,
        key: &str,
        command: &Cmd,
    ) -> Result<Value, StoreError> {
        let lane = self.lane(key.as_bytes()).ok_or(StoreError::Closed)?;
        let server = &self.config.redis;
        let limit = server.connect_timeout.max(server.timeout);
        let answer = match timeout(limit, lane.link.send(command)).await {
            Ok(answer) => answer.map_err(StoreError::Refused),
            Err(_) => Err(StoreError::Slow),
        };
        self.settle(&lane, answer.as_ref().err());
        answer
    }
}
