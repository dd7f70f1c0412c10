//! Fails on purpose, so that clients can be tested against failures. `server.fault_injection` allows
//! it.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, StatusCode};

use super::context::{Flow, Verdict};
use crate::{
    reply::{GatewayResponse, Reply},
    routing::{Fault, FaultEffect},
};

const TEXT: &str = "This failure was injected (routes.*.fault).\n";

#[derive(Debug)]
pub(super) struct FaultInjection {
    fault: Fault,
    requests: AtomicU64,
}

impl FaultInjection {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            fault,
            requests: AtomicU64::new(0),
        }
    }

    pub(super) fn on_request(&self) -> Verdict<'_> {
        if !self.is_due() {
            return Verdict::Now(Flow::Continue);
        }
        match self.fault.effect {
            FaultEffect::Status(status) => Verdict::Now(Flow::Reply(Box::new(injected(status)))),
            FaultEffect::Abort => Verdict::Now(Flow::Abort),
            FaultEffect::Delay(delay) => Verdict::Later(Box::pin(async move {
                tokio::time::sleep(delay).await;
                Flow::Continue
            })),
        }
    }

    /// Spread evenly, and the same in every run: of 4 requests at 25 percent, the fourth.
    fn is_due(&self) -> bool {
        let percent = u64::from(self.fault.percent);
        let before = self.requests.fetch_add(1, Ordering::Relaxed) % 100;
        before * percent / 100 != (before + 1) * percent / 100
    }
}

fn injected(status: StatusCode) -> GatewayResponse {
    let reply = Reply::ok(HeaderValue::from_static("text/plain"), TEXT);
    GatewayResponse::Reply(reply.status(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_spread_evenly() {
        for percent in [1, 25, 33, 50, 99, 100] {
            let policy = FaultInjection::new(Fault {
                percent,
                effect: FaultEffect::Abort,
            });
            let due = |count: usize| (0..count).filter(|_| policy.is_due()).count();
            assert_eq!(due(100), usize::from(percent));
            assert_eq!(due(100), usize::from(percent));
        }
        let quarter = FaultInjection::new(Fault {
            percent: 25,
            effect: FaultEffect::Abort,
        });
        let due: Vec<bool> = (0..5).map(|_| quarter.is_due()).collect();
        assert_eq!(due, [false, false, false, true, false]);
    }
}
