//! Keeps the connection to the store: the only one who connects.

use std::{sync::Arc, time::Duration};

use futures_util::future::{join_all, try_join_all};
use redis::{RedisError, RedisResult};
use tokio::time::{sleep, timeout};

use super::{
    Call, Lane, LimitStore, StoreError,
    link::{Link, RANGES, ScriptRule, range_of},
};

/// Between two checks of a connection that works.
const CHECK: Duration = Duration::from_secs(1);
/// Between two attempts to connect; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// One after the other, until a primary or a cluster is known.
const CONNECTIONS: u32 = 4;
/// A bucket that is always full, and a key that is gone at once.
const PROBE: ScriptRule = ScriptRule {
    kind: "b",
    number: 1_000_000,
    span: 1,
};

/// The pause after rounds that failed.
#[derive(Debug, Default)]
pub(crate) struct Pause(u32);

impl LimitStore {
    /// Checks the connection or replaces it, then waits until that is due again.
    pub(crate) async fn keep(&self, pause: &mut Pause) {
        let is_up = self.round().await;
        self.tried.send_replace(true);
        let wait = if is_up {
            pause.0 = 0;
            CHECK
        } else {
            pause.0 += 1;
            let doublings = (pause.0 - 1).min(10);
            FIRST_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE)
        };
        tokio::select! {
            () = self.wake.notified() => {}
            () = sleep(wait) => {}
        }
    }

    /// Whether the store is available.
    async fn round(&self) -> bool {
        if let Some(link) = self.link.load_full()
            && link.is_whole()
            && self.check(&link).await
        {
            return true;
        }
        match self.replacement().await {
            Ok(link) => {
                let link = Arc::new(link);
                self.link.store(Some(Arc::clone(&link)));
                self.available(&link);
                true
            }
            Err(error) => {
                self.unavailable(&error.to_string());
                false
            }
        }
    }

    /// Whether a connection still leads to the right server, and the server counts.
    async fn check(&self, link: &Arc<Link>) -> bool {
        // Sentinels that are away change nothing about a primary that counts.
        if matches!(self.has_moved(link).await, Ok(true)) {
            link.failed(0, true, 1);
            self.unavailable("there is another primary");
            return false;
        }
        let probes = self.probes(link);
        join_all(probes.iter().map(|key| self.check_lane(link, key))).await;
        let is_whole = link.is_whole();
        if is_whole {
            self.metrics.up.set(1);
        }
        is_whole
    }

    /// The outcome is noted as that of any call. In a cluster, one without an answer opens the breaker:
    /// requests of a node that is down would take long to do so, range by range.
    async fn check_lane(&self, link: &Arc<Link>, key: &str) {
        let lane = Lane {
            link: Arc::clone(link),
            breaker: link.breaker_of(key.as_bytes()),
        };
        let limits = [(key, PROBE)];
        let answer = self.call(&lane, &Call::take(&limits)).await;
        if let Err(error) = answer
            && link.is_cluster()
            && link.failed(lane.breaker, true, 1)
        {
            self.unavailable(&error.to_string());
        }
    }

    async fn has_moved(&self, link: &Link) -> RedisResult<bool> {
        let mut connector = self.connector.lock().await;
        let limit = self.config.redis.connect_timeout * CONNECTIONS;
        let primary = timeout(limit, connector.primary()).await;
        let primary = primary.map_err(|_| slow())??;
        Ok(primary.is_some_and(|primary| primary != link.address))
    }

    /// A connection on which a call has counted, to every part of a cluster.
    async fn replacement(&self) -> Result<Link, StoreError> {
        let mut connector = self.connector.lock().await;
        let limit = self.config.redis.connect_timeout * CONNECTIONS;
        let connected = timeout(limit, connector.connect()).await;
        let (connection, address) = connected.map_err(|_| StoreError::Slow)??;
        let mut link = Link::new(connection, address);
        let probes = self.probes(&link);
        match self.probe(&link, &probes[0]).await {
            // The server may refuse TIME alone.
            Err(StoreError::Refused(error)) if !error.is_io_error() => link.passes_time = true,
            result => result?,
        }
        try_join_all(probes.iter().map(|key| self.probe(&link, key))).await?;
        Ok(link)
    }

    /// A new connection has a little longer for its first call: the script is loaded by it.
    async fn probe(&self, link: &Link, key: &str) -> Result<(), StoreError> {
        let redis = &self.config.redis;
        let limit = redis.connect_timeout.max(redis.timeout);
        let limits = [(key, PROBE)];
        let call = Call::take(&limits);
        let answer = timeout(limit, link.evaluate(&call, &self.clock)).await;
        answer.map_err(|_| StoreError::Slow)??;
        Ok(())
    }

    /// A key for each breaker.
    fn probes(&self, link: &Link) -> Vec<String> {
        if !link.is_cluster() {
            return vec![format!("{}:probe", self.config.key_prefix)];
        }
        let mut keys = vec![None; usize::from(RANGES)];
        let mut missing = keys.len();
        for number in 0_u32.. {
            if missing == 0 {
                break;
            }
            let key = format!("{}:probe:{number}", self.config.key_prefix);
            let place = &mut keys[usize::from(range_of(key.as_bytes()))];
            if place.is_none() {
                *place = Some(key);
                missing -= 1;
            }
        }
        keys.into_iter().flatten().collect()
    }

    /// Says so, once.
    fn available(&self, link: &Link) {
        self.metrics.up.set(1);
        if self.status().succeeded(&link.address, link.passes_time) {
            let clock = if link.passes_time { "gateway" } else { "store" };
            tracing::info!(target: "quartet", address = link.address, clock,
                "rate limit store is available");
        }
    }
}

fn slow() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
