//! The flows of one process.
//!
//! They are in memory rather than in a sealed cookie: that a flow is used once has to be remembered here either
//! way, and the cookies of parallel tabs would add up in every request to the host. What memory needs instead is
//! a bound that a stranger cannot turn against others: a client that begins many logins ends its own.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
};

use crate::session::{
    flow::{Flow, FlowClient, MAX_PER_BROWSER, max_per_client},
    ids::SessionKey,
};

/// Flows in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Flows {
    all: HashMap<SessionKey, HeldFlow>,
    order: BTreeMap<u64, SessionKey>,
    by_browser: HashMap<String, BTreeSet<u64>>,
    by_client: HashMap<FlowClient, BTreeSet<u64>>,
    /// Clients by how many flows they have; of those with as many, the one with the oldest is the last.
    ranks: BTreeSet<Rank>,
    next: u64,
}

type Rank = (usize, Reverse<u64>, FlowClient);

#[derive(Debug)]
struct HeldFlow {
    flow: Flow,
    client: FlowClient,
    number: u64,
}

impl Flows {
    /// With too many, the oldest one ends: of the browser, of the client, or of the client with the most.
    pub(super) fn insert(
        &mut self,
        state: SessionKey,
        flow: Flow,
        client: FlowClient,
        max_flows: usize,
    ) {
        let number = self.next;
        self.next += 1;
        let own = self.by_browser.entry(flow.browser.clone()).or_default();
        own.insert(number);
        let surplus = (own.len() > MAX_PER_BROWSER).then(|| own.first().copied());
        self.order.insert(number, state);
        self.all.insert(
            state,
            HeldFlow {
                flow,
                client,
                number,
            },
        );
        self.change(client, |own| own.insert(number));
        self.remove(surplus.flatten());
        let own = &self.by_client[&client];
        if own.len() > max_per_client(max_flows) {
            let oldest = own.first().copied();
            self.remove(oldest);
        }
        while self.all.len() > max_flows {
            let oldest = self.ranks.last().map(|(_, Reverse(oldest), _)| *oldest);
            self.remove(oldest);
        }
    }

    pub(super) fn take(&mut self, state: &SessionKey) -> Option<Flow> {
        let flow = &mut self.all.get_mut(state)?.flow;
        let before = flow.clone();
        flow.is_used = true;
        Some(before)
    }

    pub(super) fn sweep(&mut self, now: i64) {
        while let Some((&number, state)) = self.order.first_key_value() {
            let is_over = |held: &HeldFlow| held.flow.is_over(now);
            if self.all.get(state).is_some_and(|held| !is_over(held)) {
                return;
            }
            self.remove(Some(number));
        }
    }

    fn remove(&mut self, number: Option<u64>) {
        let Some((number, state)) = number.and_then(|it| self.order.remove_entry(&it)) else {
            return;
        };
        let Some(held) = self.all.remove(&state) else {
            return;
        };
        debug_assert_eq!(held.number, number);
        if let Some(own) = self.by_browser.get_mut(&held.flow.browser) {
            own.remove(&number);
            if own.is_empty() {
                self.by_browser.remove(&held.flow.browser);
            }
        }
        self.change(held.client, |own| own.remove(&number));
    }

    /// Changes the flows of a client, and its rank with them.
    fn change(&mut self, client: FlowClient, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let own = self.by_client.entry(client).or_default();
        let rank = |own: &BTreeSet<u64>| -> Option<Rank> {
            Some((own.len(), Reverse(*own.first()?), client))
        };
        if let Some(rank) = rank(own) {
            self.ranks.remove(&rank);
        }
        change(own);
        match rank(own) {
            Some(rank) => drop(self.ranks.insert(rank)),
            None => drop(self.by_client.remove(&client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

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

    fn client(number: u32) -> FlowClient {
        FlowClient::of(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn flows_are_used_once_and_bounded_per_browser_and_in_all() {
        let mut flows = Flows::default();
        for number in 0..MAX_PER_BROWSER + 3 {
            flows.insert(state(number), flow("a", 0), client(0), 1_000);
        }
        assert_eq!(flows.all.len(), MAX_PER_BROWSER);
        assert!(flows.take(&state(2)).is_none());
        assert!(!flows.take(&state(3)).unwrap().is_used);
        assert!(flows.take(&state(3)).unwrap().is_used);
        for number in 100..300_u32 {
            let (state, flow) = (state(number as usize), flow(&number.to_string(), 5));
            flows.insert(state, flow, client(number), 100);
        }
        assert_eq!((flows.all.len(), flows.by_browser.len()), (100, 100));
        assert_eq!((flows.order.len(), flows.ranks.len()), (100, 100));
        flows.sweep(FLOW_SECONDS + 4);
        assert_eq!(flows.all.len(), 100);
        flows.sweep(FLOW_SECONDS + 5);
        assert!(flows.all.is_empty() && flows.order.is_empty() && flows.by_browser.is_empty());
        assert!(flows.by_client.is_empty() && flows.ranks.is_empty());
    }

    #[test]
    fn a_flood_ends_flows_of_its_own_clients_only() {
        let mut flows = Flows::default();
        flows.insert(state(0), flow("victim", 0), client(0), 200);
        for number in 1..2_000 {
            let (state, flow) = (state(number), flow(&number.to_string(), 0));
            flows.insert(state, flow, client(1), 200);
        }
        assert_eq!(flows.by_client[&client(1)].len(), max_per_client(200));
        // From enough clients to fill everything: those with the most flows lose one.
        for number in 2_000..9_000_u32 {
            let (state, flow) = (state(number as usize), flow(&number.to_string(), 0));
            flows.insert(state, flow, client(number % 20 + 2), 200);
        }
        assert_eq!(flows.all.len(), 200);
        assert!(flows.take(&state(0)).is_some());
        // With one flow each, the oldest ends.
        for number in 10_000..10_200_u32 {
            let (state, flow) = (state(number as usize), flow(&number.to_string(), 0));
            flows.insert(state, flow, client(number), 200);
        }
        assert!(flows.take(&state(0)).is_none());
        assert!(flows.take(&state(10_000)).is_some());
    }
}
