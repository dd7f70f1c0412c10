//! Whether an attempt that has not answered in time is given up for another replica.

use std::{net::SocketAddr, sync::Arc};

use crate::upstream::{Other, Upstream};

/// What decides, once an attempt has not answered in time, whether it is given up.
#[derive(Debug)]
pub(super) struct SlowTry {
    pub(super) upstream: Arc<Upstream>,
    pub(super) tried: Vec<SocketAddr>,
    pub(super) current: SocketAddr,
}

impl SlowTry {
    /// Whether another replica is asked now. Takes the retry from the budget.
    pub(super) fn is_given_up(&self) -> bool {
        let Self {
            upstream,
            tried,
            current,
        } = self;
        upstream.has_other(tried, Some(*current), Other::Healthy)
            && upstream.retry_budget.withdraw()
    }
}
