//! Upstreams: their replicas, how they are found, chosen, checked, ejected and retried.

mod balance;
mod breaker;
mod check_counts;
pub(crate) mod checks;
pub(crate) mod client;
pub(crate) mod discovery;
mod gate;
mod health;
mod key;
mod lease;
mod lookup;
mod mirror;
mod outlier;
mod pool;
mod replicas;
mod retry;
mod tls;

pub(crate) use balance::Other;
pub(crate) use gate::{Overload, Permit};
pub(crate) use health::HealthState;
pub(crate) use key::BalanceKey;
pub(crate) use lease::{AdmissionError, Lease, ReplicaOutcome};
pub(crate) use lookup::{AddressLookup, LookupError, LookupOutcome};
pub(crate) use mirror::{Mirror, MirrorOutcome, RequestCopy};
pub(crate) use pool::Pool;
#[cfg(feature = "kubernetes")]
pub(crate) use replicas::FoundAddress;
pub(crate) use replicas::{Lookup, Replica, Upstream};
pub(crate) use retry::backoff;
pub(crate) use tls::UpstreamTls;

/// Why requests are not sent to an upstream although it has replicas.
pub(crate) const REFUSALS: [&str; 3] = ["circuit_open", "queue_full", "queue_timeout"];
