//! The flows of one process.

use std::collections::{HashMap, VecDeque};

use crate::session::{
    flow::{Flow, MAX_PER_BROWSER},
    ids::SessionKey,
};

/// Flows in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Flows {
    all: HashMap<SessionKey, Flow>,
    order: VecDeque<SessionKey>,
    by_browser: HashMap<String, VecDeque<SessionKey>>,
}

impl Flows {
    /// With too many, the oldest one ends: of the browser, or of all.
    pub(super) fn insert(&mut self, state: SessionKey, flow: Flow, max_flows: usize) {
        let own = self.by_browser.entry(flow.browser.clone()).or_default();
        own.push_back(state);
        let surplus = (own.len() > MAX_PER_BROWSER)
            .then(|| own.pop_front())
            .flatten();
        if let Some(oldest) = surplus {
            self.all.remove(&oldest);
        }
        self.order.push_back(state);
        self.all.insert(state, flow);
        while self.all.len() > max_flows {
            self.drop_first();
        }
        // What ended before its time is still in the order.
        if self.order.len() > 2 * max_flows {
            let all = &self.all;
            self.order.retain(|state| all.contains_key(state));
        }
    }

    pub(super) fn take(&mut self, state: &SessionKey) -> Option<Flow> {
        let flow = self.all.get_mut(state)?;
        let before = flow.clone();
        flow.is_used = true;
        Some(before)
    }

    pub(super) fn sweep(&mut self, now: i64) {
        while let Some(first) = self.order.front() {
            if self.all.get(first).is_some_and(|flow| !flow.is_over(now)) {
                return;
            }
            self.drop_first();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    fn drop_first(&mut self) {
        let Some(state) = self.order.pop_front() else {
            return;
        };
        let Some(flow) = self.all.remove(&state) else {
            return;
        };
        if let Some(own) = self.by_browser.get_mut(&flow.browser) {
            own.retain(|other| *other != state);
            if own.is_empty() {
                self.by_browser.remove(&flow.browser);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{flow::FLOW_SECONDS, record::Secret};

    fn flow(browser: &str, started_at: i64) -> Flow {
        Flow {
            browser: browser.to_owned(),
            nonce: Secret("n".to_owned()),
            verifier: Secret("v".to_owned()),
            target: "/".to_owned(),
            started_at,
            is_used: false,
        }
    }

    fn state(number: usize) -> SessionKey {
        SessionKey::of(number.to_string().as_bytes())
    }

    #[test]
    fn flows_are_used_once_and_bounded_per_browser_and_in_all() {
        let mut flows = Flows::default();
        for number in 0..MAX_PER_BROWSER + 3 {
            flows.insert(state(number), flow("a", 0), 100);
        }
        assert_eq!(flows.len(), MAX_PER_BROWSER);
        assert!(flows.take(&state(2)).is_none());
        assert!(!flows.take(&state(3)).unwrap().is_used);
        assert!(flows.take(&state(3)).unwrap().is_used);
        for number in 100..300 {
            flows.insert(state(number), flow(&number.to_string(), 5), 100);
        }
        assert_eq!((flows.len(), flows.by_browser.len()), (100, 100));
        assert!(flows.order.len() <= 201);
        flows.sweep(FLOW_SECONDS + 4);
        assert_eq!(flows.len(), 100);
        flows.sweep(FLOW_SECONDS + 5);
        assert_eq!(
            (flows.len(), flows.order.len(), flows.by_browser.len()),
            (0, 0, 0)
        );
    }
}
