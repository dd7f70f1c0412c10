//! Chooses the replica for the next attempt: in turn, by load, or by the key of the request.
//!
//! By key, each replica has a rank that depends on nothing but the key and its address (rendezvous
//! hashing). So all gateways choose alike without knowing of each other, and a replica that comes or
//! goes moves only the clients that it has.
//!
//! Whatever the choice is, a replica that is not to be used is passed over. What it would have got is
//! spread over the others.

use std::{cmp::Reverse, net::SocketAddr, sync::Arc, time::Instant};

use super::{
    health::Draw,
    key::{BalanceKey, mix},
    replicas::{Replica, ReplicaSet, Tier, Upstream},
};
use crate::config::{Balancing, HashBy};

/// Replicas that are drawn before the rest is gone through in order.
const DRAWN: usize = 4;

/// Which replica is worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    /// Also one that is believed to fail: there is nothing to lose.
    Any,
    /// One that is believed to be healthy, because there is a response, or may still be one.
    Healthy,
}

/// One choice, as far as it has come.
struct Choice<'c> {
    tried: &'c [SocketAddr],
    now: Instant,
    draw: Draw,
    /// Requests in flight at one replica. 0: no limit.
    max_in_flight: usize,
    /// To be used if no other is left.
    fallback: Option<&'c Arc<Replica>>,
    /// A healthy replica has as many requests as it may have.
    busy: bool,
}

impl<'c> Choice<'c> {
    /// Whether the replica may be used. One that was tried, is drained or is busy may not; one that is
    /// believed to fail may if no other is left.
    fn takes(&mut self, replica: &'c Arc<Replica>) -> bool {
        if !self.tried.is_empty() && self.tried.contains(&replica.address) {
            return false;
        }
        if self.max_in_flight > 0 && replica.in_flight() >= self.max_in_flight {
            self.busy |= !replica.health.is_out() && !replica.health.is_drained();
            return false;
        }
        if replica.health.admit(self.now, self.draw) {
            return true;
        }
        let is_out = replica.health.is_out();
        let is_better = |known: &Arc<Replica>| !is_out && known.health.is_out();
        if self.fallback.is_none_or(is_better) && !replica.health.is_drained() {
            self.fallback = Some(replica);
        }
        false
    }

    /// One that may be used: some are drawn, so that what one does not get is spread over the others.
    fn any_of(&mut self, replicas: &'c [Arc<Replica>]) -> Option<&'c Arc<Replica>> {
        let mut draw = self.draw;
        for _ in 0..DRAWN {
            draw = mix(draw);
            let replica = &replicas[index(draw, replicas.len())];
            if self.takes(replica) {
                return Some(replica);
            }
        }
        let (before, after) = replicas.split_at(index(mix(draw), replicas.len()));
        let mut all = after.iter().chain(before);
        all.find(|replica| self.takes(replica))
    }
}

impl Upstream {
    /// What decides on the replica of a request, if it is not that of another one.
    pub(crate) fn hash_by(&self) -> Option<&HashBy> {
        match &self.config.balance {
            Balancing::Hash(hash_by) => Some(hash_by),
            Balancing::RoundRobin | Balancing::LeastLoaded => None,
        }
    }

    /// A replica that was not tried yet and is neither ejected nor down.
    ///
    /// If all of those are, one of them is chosen anyway: a wrong guess about health must
    /// not make an upstream unavailable. `None`: all were tried, have as many requests as they may
    /// have, or are drained, or no address is known.
    pub(crate) fn pick(
        &self,
        key: BalanceKey,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<Arc<Replica>> {
        let set = self.set.load();
        let turn = self.next_turn();
        let mut choice = Choice {
            tried,
            now,
            draw: 0,
            max_in_flight: self.config.load.replica,
            fallback: None,
            busy: false,
        };
        for tier in &set.tiers {
            let picked = match self.config.balance {
                Balancing::RoundRobin => in_turn(&set, tier, turn, &mut choice),
                Balancing::LeastLoaded => least_loaded(&set, tier, turn, &mut choice),
                Balancing::Hash(_) => by_key(&set, tier, key, &mut choice),
            };
            if let Some(replica) = picked {
                return Some(Arc::clone(replica));
            }
        }
        choice.fallback.filter(|_| !choice.busy).map(Arc::clone)
    }

    /// Whether an attempt could be made at a replica that was not tried and is none of `excluded`.
    pub(crate) fn has_other(
        &self,
        tried: &[SocketAddr],
        excluded: Option<SocketAddr>,
        wanted: Other,
    ) -> bool {
        let (set, most) = (self.set.load(), self.config.load.replica);
        set.replicas.iter().any(|replica| {
            let (address, health) = (replica.address, &replica.health);
            let is_new = !tried.contains(&address) && excluded != Some(address);
            let has_room = most == 0 || replica.in_flight() < most;
            let is_wanted = wanted == Other::Any || !health.is_out();
            is_new && has_room && is_wanted && !health.is_drained()
        })
    }

    /// Whether any replica may get requests.
    pub(super) fn has_replica(&self) -> bool {
        let set = self.set.load();
        let mut replicas = set.replicas.iter();
        replicas.any(|replica| !replica.health.is_drained())
    }
}

/// The next one, by weight.
fn in_turn<'s>(
    set: &'s ReplicaSet,
    tier: &Tier,
    turn: usize,
    choice: &mut Choice<'s>,
) -> Option<&'s Arc<Replica>> {
    let replicas = &set.replicas[tier.members.clone()];
    let next = match tier.round.len() {
        0 => turn % replicas.len(),
        length => tier.round[turn % length],
    };
    choice.draw = mix(turn as u64);
    if choice.takes(&replicas[next]) {
        return Some(&replicas[next]);
    }
    choice.any_of(replicas)
}

/// Of two that are drawn by weight, the one with fewer requests in flight for its weight.
fn least_loaded<'s>(
    set: &'s ReplicaSet,
    tier: &Tier,
    turn: usize,
    choice: &mut Choice<'s>,
) -> Option<&'s Arc<Replica>> {
    let replicas = &set.replicas[tier.members.clone()];
    let draw = mix(turn as u64);
    choice.draw = draw;
    let member = |draw| match tier.round.len() {
        0 => index(draw, replicas.len()),
        length => tier.round[index(draw, length)],
    };
    let first = member(draw);
    let second = match member(mix(draw)) {
        same if same == first => (first + 1) % replicas.len(),
        other => other,
    };
    let load = |at: usize, other: usize| replicas[at].in_flight() * tier.weights[other] as usize;
    let (better, worse) = if load(second, first) < load(first, second) {
        (second, first)
    } else {
        (first, second)
    };
    let drawn = [better, worse].map(|at| &replicas[at]);
    let taken = drawn.into_iter().find(|replica| choice.takes(replica));
    taken.or_else(|| choice.any_of(replicas))
}

/// The one that is highest in the ranks of the key.
fn by_key<'s>(
    set: &'s ReplicaSet,
    tier: &Tier,
    key: BalanceKey,
    choice: &mut Choice<'s>,
) -> Option<&'s Arc<Replica>> {
    let replicas = &set.replicas[tier.members.clone()];
    // Of the key, so that a client moves only once to a replica that gets its share gradually.
    choice.draw = mix(key.number());
    let mut ranked: Vec<(u64, &Arc<Replica>)> = replicas
        .iter()
        .zip(&tier.weights)
        .map(|(replica, &weight)| (key.rank(replica.address, weight), replica))
        .collect();
    ranked.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
    let ranked = ranked.into_iter().map(|(_, replica)| replica);
    ranked.into_iter().find(|replica| choice.takes(replica))
}

/// An index below `length`, which is not 0, by the upper bits of a number.
fn index(draw: u64, length: usize) -> usize {
    let wide = u128::from(draw) * length as u128;
    usize::try_from(wide >> 64).unwrap_or(0)
}

#[cfg(test)]
mod tests;
