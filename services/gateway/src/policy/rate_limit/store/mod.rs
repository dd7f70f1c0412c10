//! A Redis or Valkey in which the replicas of the gateway count together.
//!
//! ```text
//!  request ---call---> link ---EVALSHA---> store        keeper: checks the link once a second, and
//!     |                 | failures                      replaces it when it is not whole
//!     +-- closed? ------+--> breaker opens --wakes-->   (connect, load, probe), with a growing pause
//! ```
//!
//! - A request waits for one call, at most `timeout`. It never waits for a connection: while there is
//!   none, or the breaker is open, the answer is [`StoreError::Closed`] at once.
//! - A breaker opens after `max_failures` failed calls in a row, and at once when the connection is
//!   lost or its server may not write. Only the keeper closes it again, after a call that counted.
//! - There is one breaker, and in a cluster one per range of slots, so that a node that is down opens
//!   those of its keys, and others only for moments: while its client connects again, it sends nothing.
//! - A call is sent once. It is sent again only if the server has said that it did nothing: after a
//!   timeout, a request would count twice.

mod keeper;
mod link;
mod status;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwapOption;
use quartet_common::clock::Clock;
use redis::RedisError;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{
    config::StoreConfig,
    metrics::{GatewayMetrics, StoreMetrics},
    redis_client::{self, Connector},
};
pub(crate) use keeper::Pause;
use link::Link;
pub(super) use link::{Call, ScriptRule};
pub(crate) use status::StoreStatus;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("the store is not available")]
    Closed,
    #[error("the store did not answer in time")]
    Slow,
    #[error(transparent)]
    Refused(#[from] RedisError),
}

/// The connection to the store, and what is known of its health.
#[derive(Debug)]
pub(crate) struct LimitStore {
    pub(super) config: StoreConfig,
    clock: Clock,
    connector: tokio::sync::Mutex<Connector>,
    link: ArcSwapOption<Link>,
    /// A breaker has opened.
    wake: Notify,
    /// Whether the store was asked for the first time.
    tried: watch::Sender<bool>,
    status: Mutex<StoreStatus>,
    metrics: StoreMetrics,
}

/// The way to the server of one key.
#[derive(Debug)]
pub(super) struct Lane {
    link: Arc<Link>,
    breaker: usize,
}

impl LimitStore {
    /// # Errors
    /// When no client can be built from the settings.
    pub(super) fn new(
        config: &StoreConfig,
        clock: Clock,
        metrics: &GatewayMetrics,
        previous: Option<&Self>,
    ) -> Result<Self, RedisError> {
        let connector = Connector::new(&config.redis)?;
        let store_metrics = metrics.limit_store(connector.kind());
        let same = previous.filter(|previous| previous.config.redis.is_same_server(&config.redis));
        if same.is_none() {
            store_metrics.up.set(0);
        }
        let status = same.map_or_else(|| StoreStatus::new(connector.kind()), Self::describe);
        // Another connection takes its place, if any is to.
        let link = same.and_then(|previous| previous.link.load_full());
        Ok(Self {
            config: config.clone(),
            clock,
            metrics: store_metrics,
            status: Mutex::new(status),
            connector: tokio::sync::Mutex::new(connector),
            link: ArcSwapOption::new(link),
            wake: Notify::new(),
            tried: watch::Sender::new(false),
        })
    }

    /// A reload has replaced this one: the job that keeps it looks for the new one at once.
    pub(crate) fn retire(&self) {
        self.wake.notify_one();
    }

    /// The way to the server of a key; `None` while it is not asked.
    pub(super) fn lane(&self, key: &[u8]) -> Option<Lane> {
        let link = self.link.load_full()?;
        let breaker = link.breaker_of(key);
        link.is_closed(breaker).then_some(Lane { link, breaker })
    }

    /// Whether keys are spread over several servers.
    pub(super) fn is_cluster(&self) -> bool {
        self.link
            .load()
            .as_ref()
            .is_some_and(|link| link.is_cluster())
    }

    /// Counts, and returns what the script does: the time, then three numbers per key. All keys are of
    /// the lane.
    ///
    /// # Errors
    /// After the timeout, or when the store does not count.
    pub(super) async fn call(&self, lane: &Lane, call: &Call<'_>) -> Result<Vec<i64>, StoreError> {
        let started = Instant::now();
        let answer = timeout(
            self.config.redis.timeout,
            lane.link.evaluate(call, &self.clock),
        )
        .await;
        let answer = match answer {
            Ok(Ok(answer)) if answer.len() == 1 + 3 * call.len() => Ok(answer),
            Ok(Ok(_)) => Err(StoreError::Closed),
            Ok(Err(error)) => Err(StoreError::Refused(error)),
            Err(_) => Err(StoreError::Slow),
        };
        let outcome = answer.as_ref().map_or_else(StoreError::outcome, |_| "ok");
        self.metrics.called(outcome, started.elapsed());
        self.settle(lane, answer.as_ref().err());
        answer
    }

    /// Notes how a call ended.
    fn settle(&self, lane: &Lane, error: Option<&StoreError>) {
        let Lane { link, breaker } = lane;
        let Some(error) = error else {
            link.succeeded(*breaker);
            return;
        };
        if link.failed(*breaker, error.is_final(), self.config.max_failures) {
            if self.is_current(link) {
                self.unavailable(&error.to_string());
            }
            self.wake.notify_one();
        } else if link.is_cluster() {
            // To learn at once which other keys are concerned.
            self.wake.notify_one();
        }
    }

    fn is_current(&self, link: &Arc<Link>) -> bool {
        let current = self.link.load();
        current.as_ref().is_some_and(|it| Arc::ptr_eq(it, link))
    }

    /// Says so, once.
    fn unavailable(&self, error: &str) {
        self.metrics.up.set(0);
        if self.status().failed(error) {
            tracing::warn!(target: "quartet", error, "rate limit store is unavailable");
        }
    }

    fn status(&self) -> MutexGuard<'_, StoreStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the store, for people.
    pub(crate) fn describe(&self) -> StoreStatus {
        self.status().clone()
    }

    /// Waits until the store was asked for the first time, so that the first request finds it.
    pub(crate) async fn tried(&self) {
        let mut tried = self.tried.subscribe();
        // The sender lives as long as this does.
        let _ = tried.wait_for(|tried| *tried).await;
    }
}

impl StoreError {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Slow => "timeout",
            Self::Closed | Self::Refused(_) => "error",
        }
    }

    /// Whether no other call on this connection can succeed.
    fn is_final(&self) -> bool {
        match self {
            Self::Closed | Self::Slow => false,
            Self::Refused(error) => redis_client::is_lost(error),
        }
    }
}
