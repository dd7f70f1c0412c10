//! A replica on loan to one attempt of one request.
//!
//! ```text
//! acquire(key, tried) --> Lease --- report(outcome) ---> health of the replica
//!                           |
//!                           +------ drop ---------------> one request in flight less
//! ```
//!
//! The lease is dropped on every way out, so requests in flight are counted exactly however an
//! attempt ends. A lease without a report was canceled, by the client or by a shutdown, and says
//! nothing about the replica.

use std::{net::SocketAddr, ops::Deref, sync::Arc, time::Instant};

use super::{
    balance::BalanceKey,
    replicas::{Replica, Upstream},
};

/// How an attempt ended, as far as the replica is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplicaOutcome {
    /// It sent the head of a response, whatever its status.
    Responded,
    /// It cannot be reached.
    ConnectFailed,
    /// It closed the connection early, or sent something that is not HTTP.
    Broken,
}

/// Counts as a request in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    upstream: Arc<Upstream>,
    replica: Arc<Replica>,
}

impl Upstream {
    /// A replica for the next attempt. `key` is that of the client; `tried` are those that this
    /// request must not be sent to again. `None`: all were tried, or no address is known.
    pub(crate) fn acquire(
        self: &Arc<Self>,
        key: BalanceKey,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<Lease> {
        let replica = self.pick(key, tried, now)?;
        replica.enter();
        Some(Lease {
            upstream: Arc::clone(self),
            replica,
        })
    }
}

impl Lease {
    pub(crate) fn report(&self, outcome: ReplicaOutcome, now: Instant) {
        let config = &self.upstream.config;
        let (min, max) = (config.min_eject, config.max_eject);
        match outcome {
            ReplicaOutcome::Responded => self.replica.health.record_success(now),
            ReplicaOutcome::ConnectFailed => self.replica.health.record_failure(now, min, max),
            ReplicaOutcome::Broken => self.replica.health.record_broken(now, min, max),
        }
    }
}

impl Deref for Lease {
    type Target = Replica;

    fn deref(&self) -> &Replica {
        &self.replica
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.replica.leave();
    }
}
