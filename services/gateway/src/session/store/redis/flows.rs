//! Flows in Redis.

use redis::{FromRedisValue as _, Value};

use super::RedisStore;
use crate::session::{
    flow::{FLOW_SECONDS, Flow, FlowClient, MAX_PER_BROWSER, max_per_client},
    ids::SessionKey,
    store::types::{StoreAway, StoreError},
};

impl RedisStore {
    /// One that takes the place of an older one of its client does not count: a flood from one client uses up
    /// its own share, and no one else's.
    pub(in crate::session::store) async fn insert_flow(
        &self,
        state: SessionKey,
        flow: Flow,
        client: FlowClient,
        max_flows: usize,
    ) -> Result<(), StoreError> {
        let hex = state.hex();
        let list = self.place("c", &client.key().hex());
        let took_place = self.enlist(&list, &hex, max_per_client(max_flows)).await?;
        if !took_place && !self.has_room(&flow, max_flows).await? {
            return Err(StoreError::ManyFlows);
        }
        let place = self.place("f", &hex);
        self.write(&place, &flow, FLOW_SECONDS).await?;
        let list = self.place("b", &flow.browser);
        self.enlist(&list, &hex, MAX_PER_BROWSER).await?;
        Ok(())
    }

    /// Counts one more flow.
    async fn has_room(&self, flow: &Flow, max_flows: usize) -> Result<bool, StoreAway> {
        let window = self.place("n", &(flow.started_at / FLOW_SECONDS).to_string());
        let count = self.ask(&window, "INCR", |command| command).await?;
        if count == Value::Int(1) {
            self.ask(&window, "EXPIRE", |command| command.arg(2 * FLOW_SECONDS))
                .await?;
        }
        let most = i64::try_from(max_flows).unwrap_or(i64::MAX);
        Ok(!matches!(count, Value::Int(count) if count > most))
    }

    /// Adds a flow to a list, the oldest of which ends if they are too many. Whether that was so, by the length
    /// that this flow has made: of several at once, another one may have ended the oldest by then.
    async fn enlist(&self, list: &str, flow: &str, most: usize) -> Result<bool, StoreAway> {
        let length = self.ask(list, "LPUSH", |command| command.arg(flow)).await?;
        let length = usize::from_redis_value(length).map_err(|_| StoreAway)?;
        self.ask(list, "EXPIRE", |command| command.arg(FLOW_SECONDS))
            .await?;
        if length <= most {
            return Ok(false);
        }
        let surplus = self
            .ask(list, "LRANGE", |command| command.arg(most).arg(-1))
            .await?;
        for other in Vec::<String>::from_redis_value(surplus).unwrap_or_default() {
            let place = self.place("f", &other);
            self.ask(&place, "DEL", |command| command).await?;
        }
        let last = most.saturating_sub(1);
        self.ask(list, "LTRIM", |command| command.arg(0).arg(last))
            .await?;
        Ok(true)
    }

    /// One request gets the flow; what others find is used.
    pub(in crate::session::store) async fn take_flow(
        &self,
        state: &SessionKey,
    ) -> Result<Option<Flow>, StoreAway> {
        let place = self.place("f", &state.hex());
        let Some(flow) = self.read::<Flow>("GETDEL", &place).await? else {
            return Ok(None);
        };
        let mut used = flow.clone();
        used.is_used = true;
        self.write(&place, &used, FLOW_SECONDS).await?;
        Ok(Some(flow))
    }
}
