//! Upstreams: their replicas, how they are found, chosen, ejected and retried.

mod balance;
pub(crate) mod discovery;
mod health;
mod lease;
mod pool;
mod replicas;
mod retry;

pub(crate) use balance::BalanceKey;
pub(crate) use health::HealthState;
pub(crate) use lease::{Lease, ReplicaOutcome};
pub(crate) use pool::Pool;
pub(crate) use replicas::{Lookup, Replica, Upstream};
