//! Counts in a store, together with the other replicas of the gateway.
//!
//! ```text
//! quartet:limit:core:60:{5a8e...}           a user
//! quartet:limit:core:60:{91c2...}:0f77...   the /64 of a client
//! quartet:limit:core:60:{91c2...}           its site
//! prefix       limit  |   hash of the subject; the braces keep the keys of a subject in one slot
//!              (and   window, and `b` with a burst: a changed limit does not read what another
//!              route) one has written
//! ```

use std::{fmt::Write as _, sync::Arc, time::Duration};

use futures_util::future::join_all;
use hmac::{Hmac, KeyInit as _, Mac as _};
use quartet_common::clock::Clock;
use redis::RedisError;
use secrecy::ExposeSecret as _;
use sha2::Sha256;

use super::{
    denials::Denials,
    rule::{LimitDecision, Rule},
    store::{Call, Lane, LimitStore, ScriptRule, StoreError},
    subject::{CounterKey, Subject},
};
use crate::{
    config::StoreConfig,
    metrics::{GatewayMetrics, gauge_value},
};

/// Of a hash. Two subjects have the same with a probability of 2^-128.
const HASH_BYTES: usize = 16;

/// The store, and what this process knows of it.
#[derive(Debug)]
pub(crate) struct SharedCounter {
    pub(crate) store: LimitStore,
    key_prefix: String,
    hasher: Hmac<Sha256>,
    pub(super) denials: Arc<Denials>,
    metrics: GatewayMetrics,
}

/// A limit, and whose request it counts.
pub(super) struct Counted<'c> {
    /// Limits with the same name share their counters.
    pub(super) name: &'c str,
    /// What distinguishes it from the same limit before a change.
    pub(super) definition: &'c str,
    pub(super) rule: Rule,
    pub(super) site_rule: Rule,
    pub(super) subject: Subject<'c>,
}

/// A request's keys, ready to be counted.
#[derive(Debug)]
pub(super) struct Question(Vec<Group>);

/// Keys that can be counted in one call.
#[derive(Debug)]
struct Group {
    lane: Lane,
    /// In the order of the limits, and whether it is the key of the site.
    keys: Vec<(String, Rule, bool)>,
}

/// What the store says of one limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) own: LimitDecision,
    pub(super) site: Option<LimitDecision>,
}

impl SharedCounter {
    /// Takes over the connection of `previous`, the one before a reload, if it leads to the same server. If
    /// it also counts under the same keys, who was refused stays so.
    ///
    /// # Errors
    /// When no client can be built from the settings.
    pub(crate) fn new(
        config: &StoreConfig,
        clock: Clock,
        metrics: &GatewayMetrics,
        previous: Option<&Self>,
    ) -> Result<Self, RedisError> {
        let alike = previous.filter(|previous| previous.store.config.counts_as(config));
        let secret = config.key_secret.as_ref();
        let secret = secret.map_or(&b""[..], |secret| secret.expose_secret().as_bytes());
        Ok(Self {
            store: LimitStore::new(config, clock, metrics, previous.map(|it| &it.store))?,
            key_prefix: config.key_prefix.clone(),
            hasher: Hmac::new_from_slice(secret).expect("a key of any length"),
            denials: alike.map_or_else(
                || Arc::new(Denials::new(config.max_denied_keys)),
                |previous| Arc::clone(&previous.denials),
            ),
            metrics: metrics.clone(),
        })
    }

    /// Number of subjects that are refused without asking the store.
    pub(crate) fn denied_keys(&self) -> usize {
        self.denials.len()
    }

    pub(crate) fn sweep(&self) {
        self.denials.sweep();
        let keys = gauge_value(self.denied_keys());
        self.metrics.rate_limit_denied_keys.set(keys);
    }

    /// The keys of a request; `None` while the store is not asked for one of them.
    pub(super) fn question<'s>(
        &self,
        limits: impl Iterator<Item = Counted<'s>>,
    ) -> Option<Question> {
        let is_cluster = self.store.is_cluster();
        let mut groups: Vec<Group> = Vec::new();
        for counted in limits {
            let (own, site) = self.keys(&counted);
            let lane = self.store.lane(own.as_bytes())?;
            let mut keys = vec![(own, counted.rule, false)];
            keys.extend(site.map(|site| (site, counted.site_rule, true)));
            match groups.last_mut() {
                // One server has all keys, or the subject is the same.
                Some(group) if !is_cluster || has_tag_of(&group.keys[0].0, &keys[0].0) => {
                    group.keys.append(&mut keys);
                }
                _ => groups.push(Group { lane, keys }),
            }
        }
        Some(Question(groups))
    }

    /// Counts the request in all its limits, or in none: in a cluster, limits with different subjects
    /// are of different slots, and what was counted in one is given back if another refuses.
    ///
    /// # Errors
    /// When the store has not answered all.
    pub(super) async fn take(&self, question: &Question) -> Result<Vec<Answer>, StoreError> {
        let Question(groups) = question;
        if let [group] = &groups[..] {
            let answer = self.call(group, "take", None).await?;
            let mut answers = Vec::new();
            group.read(&answer, &mut answers);
            return Ok(answers);
        }
        let calls = groups.iter().map(|group| self.call(group, "take", None));
        let taken = join_all(calls).await;
        let is_taken = |answer: &[i64]| answer[1..].chunks(3).all(|key| key[0] == 1);
        let is_counted = |answer: &Result<Vec<i64>, StoreError>| match answer {
            Ok(answer) => is_taken(answer),
            Err(_) => false,
        };
        let is_whole = taken.iter().all(is_counted);
        if !is_whole {
            let counted = groups.iter().zip(&taken).filter_map(|(group, answer)| {
                let answer = answer.as_ref().ok().filter(|answer| is_taken(answer))?;
                Some(self.call(group, "give", answer.first().copied()))
            });
            // Should that fail, the client has less until the window is over, never more.
            join_all(counted).await;
        }
        let mut answers = Vec::new();
        for (group, answer) in groups.iter().zip(taken) {
            let mut answer = answer?;
            if !is_whole && is_taken(&answer) {
                answer[1..].chunks_mut(3).for_each(|key| key[1] += 1);
            }
            group.read(&answer, &mut answers);
        }
        Ok(answers)
    }

    async fn call(
        &self,
        group: &Group,
        mode: &'static str,
        at: Option<i64>,
    ) -> Result<Vec<i64>, StoreError> {
        let limits: Vec<_> = group
            .keys
            .iter()
            .map(|(key, rule, ..)| (key.as_str(), ScriptRule::from(*rule)))
            .collect();
        let call = Call {
            at,
            mode,
            limits: &limits,
        };
        self.store.call(&group.lane, &call).await
    }

    /// The key of the subject, and that of its site.
    fn keys(&self, counted: &Counted<'_>) -> (String, Option<String>) {
        let Counted {
            name,
            definition,
            subject,
            ..
        } = *counted;
        let prefix = &self.key_prefix;
        let mut key = String::with_capacity(prefix.len() + name.len() + 96);
        let tag = self.hash(subject.site().unwrap_or(subject));
        // Writing to memory cannot fail.
        let _ = write!(key, "{prefix}:{name}:{definition}:{{{tag}}}");
        if subject.site().is_none() {
            return (key, None);
        }
        let site = key.clone();
        let _ = write!(key, ":{}", self.hash(subject));
        (key, Some(site))
    }

    fn hash(&self, subject: Subject<'_>) -> String {
        let mut hasher = self.hasher.clone();
        hasher.update(CounterKey::new("", subject).as_bytes());
        hex::encode(&hasher.finalize().into_bytes()[..HASH_BYTES])
    }
}

impl Answer {
    /// The quota of the subject, unless its site has used up all.
    pub(super) fn decision(self) -> LimitDecision {
        let site = self.site.filter(|site| self.own.allowed && !site.allowed);
        site.unwrap_or(self.own)
    }
}

impl Group {
    /// Adds the answers for the limits of this group, which follow those of the group before.
    fn read(&self, answer: &[i64], answers: &mut Vec<Answer>) {
        for ((.., is_site), numbers) in self.keys.iter().zip(answer[1..].chunks(3)) {
            let decision = decision(numbers);
            match answers.last_mut() {
                Some(last) if *is_site => last.site = Some(decision),
                _ => answers.push(Answer {
                    own: decision,
                    site: None,
                }),
            }
        }
    }
}

fn decision(numbers: &[i64]) -> LimitDecision {
    let number = |at: usize| u64::try_from(numbers[at]).unwrap_or(0);
    LimitDecision {
        allowed: numbers[0] == 1,
        remaining: u32::try_from(number(1)).unwrap_or(u32::MAX),
        reset: Duration::from_micros(number(2)),
    }
}

/// Whether two keys are of the same slot.
fn has_tag_of(one: &str, other: &str) -> bool {
    let tag = |key: &str| {
        let (_, rest) = key.split_once('{')?;
        rest.split_once('}').map(|(tag, _)| tag.to_owned())
    };
    tag(one) == tag(other)
}

impl From<Rule> for ScriptRule {
    fn from(rule: Rule) -> Self {
        match rule {
            Rule::Window { requests, slice_ms } => Self {
                kind: "w",
                number: requests,
                span: slice_ms,
            },
            Rule::Bucket { burst, interval_us } => Self {
                kind: "b",
                number: burst,
                span: interval_us,
            },
        }
    }
}
