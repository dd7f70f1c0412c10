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
        let place = self.place("f", &hex);
        // Before it is in a list: who ends it there must find it.
        self.write(&place, &flow, FLOW_SECONDS).await?;
        let list = self.place("c", &client.key().hex());
        let took_place = self.enlist(&list, &hex, max_per_client(max_flows)).await?;
        if !took_place && !self.has_room(&flow, max_flows).await? {
            self.ask(&place, "DEL", |command| command).await?;
            return Err(StoreError::ManyFlows);
        }
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

    /// Adds a flow to a list, whose oldest one ends if they are too many. Whether that was so. Of several that
    /// begin at once, each one that is too many ends another one, so that none is left outside of the list.
    async fn enlist(&self, list: &str, flow: &str, most: usize) -> Result<bool, StoreAway> {
        let length = self.ask(list, "LPUSH", |command| command.arg(flow)).await?;
        let length = usize::from_redis_value(length).map_err(|_| StoreAway)?;
        self.ask(list, "EXPIRE", |command| command.arg(FLOW_SECONDS))
            .await?;
        if length <= most {
            return Ok(false);
        }
        let oldest = self.ask(list, "RPOP", |command| command).await?;
        if let Ok(oldest) = String::from_redis_value(oldest) {
            let place = self.place("f", &oldest);
            self.ask(&place, "DEL", |command| command).await?;
        }
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
