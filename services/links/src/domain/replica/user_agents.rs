//! What user agents say, remembered: a few hundred of them make up nearly all traffic, and reading
//! one takes longer than the rest of a redirect.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::values::visitor::UserAgent;

/// Each holds the last user agent with its hash, so that the cache is bounded: at most 1024 times the
/// length to which the API truncates user agents.
const SLOTS: usize = 1024;

type Slot = Mutex<Option<(Box<str>, UserAgent)>>;

/// Clones share the cache.
#[derive(Clone, Debug)]
pub(crate) struct UserAgentCache {
    slots: Arc<[Slot]>,
    hasher: RandomState,
}

impl Default for UserAgentCache {
    fn default() -> Self {
        Self {
            slots: std::iter::repeat_with(Slot::default).take(SLOTS).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl UserAgentCache {
    pub(crate) fn get(&self, user_agent: &str) -> UserAgent {
        let hash = self.hasher.hash_one(user_agent);
        let index = usize::try_from(hash % SLOTS as u64).unwrap_or(0);
        let slot = &self.slots[index];
        if let Some((text, agent)) = &*slot.lock().unwrap_or_else(PoisonError::into_inner)
            && **text == *user_agent
        {
            return *agent;
        }
        // Not under the lock, which other user agents share.
        let agent = UserAgent::of(user_agent);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((user_agent.into(), agent));
        agent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_user_agents_are_distinguished_and_bounded() {
        let agents = UserAgentCache::default();
        for round in 0..2 {
            for n in 0..3 * SLOTS {
                let person = format!(
                    "Mozilla/5.0 (X11; Linux x86_64; rv:{n}.0) Gecko/20100101 Firefox/{n}.0"
                );
                let crawler = format!("Examplebot/{n}.{round}");
                assert!(!agents.get(&person).is_crawler);
                assert!(agents.get(&crawler).is_crawler);
            }
        }
        assert_eq!(agents.slots.len(), SLOTS);
    }
}
