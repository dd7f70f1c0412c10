//! HTTP-01 challenges (RFC 8555, 8.3), which any gateway answers.
//!
//! The authority asks from several places at once, and each may reach another gateway. One that does not
//! know a token reads those of the store, and remembers nothing about the token if it is not among them: it
//! may be stored a moment later.
//!
//! Random tokens cost nothing that grows with their number: all who wait share a read that began after they
//! had arrived, and reads are [`READ_PAUSE`] apart.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use prometheus_client::metrics::counter::Counter;
use quartet_common::problem::{Problem, kinds};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until, timeout},
};

use super::store::{Store, StoreError};
use crate::{
    error,
    metrics::AcmeMetrics,
    reply::{GatewayResponse, Reply},
    request::host::Authority,
    tls::CHALLENGES as PATH,
};

/// Authorities send 22 to 86 characters.
const MAX_TOKEN_BYTES: usize = 128;
/// A thumbprint is 43 characters.
const MAX_ANSWER_BYTES: usize = MAX_TOKEN_BYTES + 64;
/// Between two reads of the store.
const READ_PAUSE: Duration = Duration::from_millis(100);
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// Validators wait about ten seconds.
const WAIT: Duration = Duration::from_secs(6);
/// Requests that wait for a read at the same time.
const MAX_WAITING: usize = 1_000;
/// Of a token in the store, longer than any order.
pub(super) const TTL: Duration = Duration::from_hours(2);

/// What the tokens of this gateway and of others are answered with.
pub(crate) struct Challenges {
    /// In lower case.
    hosts: HashSet<String>,
    own: Mutex<HashMap<String, OwnToken>>,
    shared: tokio::sync::Mutex<SharedTokens>,
    waiting: Semaphore,
    store: Arc<Store>,
    answered: Counter,
    unknown: Counter,
    unavailable: Counter,
}

#[derive(Clone)]
struct OwnToken {
    answer: String,
    until: Instant,
}

/// As the store had them last.
#[derive(Default)]
struct SharedTokens {
    read_began: Option<Instant>,
    /// `None`: it failed, or the client that began it has left.
    tokens: Option<HashMap<String, String>>,
    has_failed: bool,
}

/// What a request for a challenge gets.
pub(crate) type ChallengeAnswer = Box<GatewayResponse>;

impl Challenges {
    pub(super) fn new<'h>(
        hosts: impl Iterator<Item = &'h String>,
        store: Arc<Store>,
        metrics: &AcmeMetrics,
    ) -> Self {
        Self {
            hosts: hosts.cloned().collect(),
            own: Mutex::default(),
            shared: tokio::sync::Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING),
            store,
            answered: metrics.challenges("answered"),
            unknown: metrics.challenges("unknown"),
            unavailable: metrics.challenges("unavailable"),
        }
    }

    /// The answer to a request. `None`: it is none for a challenge of a configured host.
    pub(crate) async fn answer(
        &self,
        method: &Method,
        target: &[u8],
        host: Option<&str>,
    ) -> Option<ChallengeAnswer> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return None;
        }
        let token = target.strip_prefix(PATH.as_bytes())?;
        let host = Authority::parse(host?)?.host;
        if !self.hosts.contains(&*host) {
            return None;
        }
        let found = match token_of(token) {
            Some(token) => self.find(token).await,
            None => Ok(None),
        };
        Some(match found {
            Ok(Some(answer)) => {
                self.answered.inc();
                Box::new(GatewayResponse::Reply(reply(answer)))
            }
            Ok(None) => {
                self.unknown.inc();
                error::no_route().into()
            }
            Err(_) => {
                self.unavailable.inc();
                Problem::new(&kinds::UNAVAILABLE).into()
            }
        })
    }

    /// Answers with this from now on, at every gateway.
    ///
    /// # Errors
    /// When the store is away: the challenge must not be called ready then.
    pub(super) async fn add(&self, token: String, answer: &str) -> Result<(), StoreError> {
        let is_token = token_of(token.as_bytes()).is_some();
        if !is_token || answer.len() > MAX_ANSWER_BYTES {
            return Err(StoreError::Refused("a token that is none".to_owned()));
        }
        self.store.add_challenge(&token, answer, TTL).await?;
        let now = Instant::now();
        let (answer, until) = (answer.to_owned(), now + TTL);
        let mut own = self.own();
        // Of orders that were broken off.
        own.retain(|_, token| token.until > now);
        own.insert(token, OwnToken { answer, until });
        Ok(())
    }

    /// The challenge is over. What stays in the store expires.
    pub(super) async fn remove(&self, token: &str) {
        self.own().remove(token);
        if let Err(error) = self.store.remove_challenge(token).await {
            tracing::debug!(error = error.to_string(), "a challenge was not removed");
        }
    }

    /// After a reload, challenges that are under way.
    pub(super) fn keep_those_of(&self, previous: &Self) {
        let tokens = previous.own().clone();
        self.own().extend(tokens);
    }

    fn own(&self) -> MutexGuard<'_, HashMap<String, OwnToken>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn find(&self, token: &str) -> Result<Option<String>, StoreError> {
        if let Some(own) = self.own().get(token) {
            return Ok(Some(own.answer.clone()));
        }
        let arrived = Instant::now();
        let _waiting = self.waiting.try_acquire().map_err(|_| StoreError::Slow)?;
        let found = timeout(WAIT, async {
            let mut shared = self.shared.lock().await;
            if !shared.has_read_since(arrived) {
                self.read(&mut shared).await?;
            }
            match &shared.tokens {
                Some(tokens) => Ok(tokens.get(token).cloned()),
                None => Err(StoreError::Slow),
            }
        });
        found.await.map_err(|_| StoreError::Slow)?
    }

    async fn read(&self, shared: &mut SharedTokens) -> Result<(), StoreError> {
        if let Some(began) = shared.read_began {
            sleep_until(began + READ_PAUSE).await;
        }
        shared.read_began = Some(Instant::now());
        (shared.tokens, shared.has_failed) = (None, false);
        let tokens = timeout(READ_TIMEOUT, self.store.challenges()).await;
        let tokens = tokens.unwrap_or(Err(StoreError::Slow));
        shared.has_failed = tokens.is_err();
        shared.tokens = Some(tokens?);
        Ok(())
    }
}

impl SharedTokens {
    fn has_read_since(&self, arrived: Instant) -> bool {
        let is_done = self.tokens.is_some() || self.has_failed;
        is_done && self.read_began.is_some_and(|began| began >= arrived)
    }
}

/// A token in the alphabet of base64url.
fn token_of(bytes: &[u8]) -> Option<&str> {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let is_token = (1..=MAX_TOKEN_BYTES).contains(&bytes.len()) && bytes.iter().all(is_allowed);
    std::str::from_utf8(bytes).ok().filter(|_| is_token)
}

fn reply(answer: String) -> Reply {
    let content_type = HeaderValue::from_static("application/octet-stream");
    Reply::ok(content_type, answer)
        .status(StatusCode::OK)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_authorities() {
        let longest = "a".repeat(MAX_TOKEN_BYTES);
        for token in [
            "a",
            "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0",
            "-_",
            &longest,
        ] {
            assert_eq!(token_of(token.as_bytes()), Some(token));
        }
        for token in [
            "",
            "a/b",
            "a?b",
            "a.b",
            "a%62",
            "a b",
            "\u{e9}",
            &(longest.clone() + "a"),
        ] {
            assert_eq!(token_of(token.as_bytes()), None, "{token}");
        }
    }
}
