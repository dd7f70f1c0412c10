//! Upstreams: their replicas, how they are found, chosen, ejected and retried.

mod balance;
pub(crate) mod discovery;
mod health;
mod pool;
mod replicas;
mod retry;

pub(crate) use health::State as HealthState;
pub(crate) use pool::Pool;
pub(crate) use replicas::{Lookup, Replica, Upstream};
