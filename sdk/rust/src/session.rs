//! The session of this client: its tokens, their storage and their renewal.
//!
//! ```text
//! fresh ──(renew_at)──> due ──┬─ renewed ───────────> fresh
//!                             ├─ transient failure ─> old token for 5 s, then due again
//!                             └─ 401 ───────────────> no session, the store is cleared
//! ```
//!
//! One lock covers a renewal, so that all requests that wait share its result, and it runs in a
//! task of its own: a refresh token may be used once, and if the caller were to stop waiting
//! between its use and the storage of its successor, the session would be lost.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::error::Error;
use crate::generated::api::types::Tokens;
use crate::retry::RetryPolicy;
use crate::secret::Secret;
use crate::sender::{Response, Sender};

/// An access token is renewed this long before it expires, or after four fifths of a short
/// lifetime.
const MARGIN: Duration = Duration::from_secs(30);
/// How long a renewal without a response may be retried. The grace period of the server, in
/// which a used refresh token returns the same successor, is 10 seconds.
const GRACE: Duration = Duration::from_secs(8);

/// How long requests use the old token after a renewal has failed for a transient reason.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// The tokens of a login.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    pub session_id: String,
    pub access_token: Secret,
    pub refresh_token: Secret,
    /// When to renew the access token.
    pub renew_at: SystemTime,
}

/// Stores a session, possibly beyond the lifetime of the process.
///
/// Several processes may share one store: before a client renews a token, it checks whether
/// another process has done so.
pub trait TokenStore: fmt::Debug + Send + Sync {
    fn load(&self) -> io::Result<Option<Session>>;
    fn save(&self, session: &Session) -> io::Result<()>;
    fn clear(&self) -> io::Result<()>;
}

/// Stores the session in memory only.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Option<Session>>);

/// Why there is no usable access token.
#[derive(Debug)]
pub(crate) enum TokenError {
    /// The server refused the renewal.
    Refused(Response),
    Transport(reqwest::Error),
    Store(io::Error),
}

/// Holds the session. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    store: Arc<dyn TokenStore>,
    /// Locked during a renewal, so that it happens once for all that wait.
    current: Arc<AsyncMutex<Option<Session>>>,
}

impl Session {
    pub(crate) fn new(tokens: Tokens) -> Self {
        let life = Duration::from_secs(u64::try_from(tokens.expires_in).unwrap_or_default());
        let margin = MARGIN.min(life / 5);
        Self {
            session_id: tokens.session_id.0,
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            renew_at: SystemTime::now() + life.saturating_sub(margin),
        }
    }

    fn is_fresh(&self) -> bool {
        SystemTime::now() < self.renew_at
    }
}

impl MemoryStore {
    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStore for MemoryStore {
    fn load(&self) -> io::Result<Option<Session>> {
        Ok(self.slot().clone())
    }

    fn save(&self, session: &Session) -> io::Result<()> {
        *self.slot() = Some(session.clone());
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        *self.slot() = None;
        Ok(())
    }
}

impl Keeper {
    pub(crate) fn new(store: Arc<dyn TokenStore>) -> Self {
        Self {
            store,
            current: Arc::default(),
        }
    }

    /// The session, if there is one. Its access token may have expired.
    pub(crate) async fn session(&self) -> io::Result<Option<Session>> {
        Ok(self.loaded().await?.clone())
    }

    pub(crate) async fn begin(&self, session: Session) -> io::Result<()> {
        let mut current = self.current.lock().await;
        self.store.save(&session)?;
        *current = Some(session);
        Ok(())
    }

    pub(crate) async fn end(&self) -> io::Result<()> {
        let mut current = self.current.lock().await;
        *current = None;
        self.store.clear()
    }

    /// A token that is not about to expire; `None` without a session.
    pub(crate) async fn token(&self, sender: &Sender) -> Result<Option<Secret>, TokenError> {
        let current = self.loaded().await?;
        match &*current {
            None => Ok(None),
            Some(session) if session.is_fresh() => Ok(Some(session.access_token.clone())),
            Some(session) => {
                let old = session.access_token.clone();
                match self.renew(current, sender).await {
                    Err(error) if error.is_transient() => Ok(Some(self.keep_for_now(old).await)),
                    other => other.map(Some),
                }
            }
        }
    }

    /// Defers the next renewal. The old token may still be valid; if not, the server returns 401.
    async fn keep_for_now(&self, token: Secret) -> Secret {
        let mut current = self.current.lock().await;
        if let Some(session) = &mut *current
            && session.access_token == token
        {
            session.renew_at = SystemTime::now() + RENEW_AGAIN;
        }
        token
    }

    /// The successor of a token that the server has refused.
    pub(crate) async fn successor(
        &self,
        refused: &Secret,
        sender: &Sender,
    ) -> Result<Option<Secret>, TokenError> {
        let current = self.loaded().await?;
        match &*current {
            None => Ok(None),
            // Renewed while this waited for the lock.
            Some(session) if session.access_token != *refused => {
                Ok(Some(session.access_token.clone()))
            }
            Some(_) => self.renew(current, sender).await.map(Some),
        }
    }

    async fn loaded(&self) -> io::Result<OwnedMutexGuard<Option<Session>>> {
        let mut current = Arc::clone(&self.current).lock_owned().await;
        if current.is_none() {
            *current = self.store.load()?;
        }
        Ok(current)
    }

    /// In a task of its own: once the old refresh token is used, the new tokens must be stored
    /// even if the caller stops waiting.
    async fn renew(
        &self,
        mut current: OwnedMutexGuard<Option<Session>>,
        sender: &Sender,
    ) -> Result<Secret, TokenError> {
        let (store, sender) = (Arc::clone(&self.store), sender.clone());
        let task = tokio::spawn(async move {
            let result = renewed(current.as_ref(), &*store, &sender).await;
            match result {
                Ok(session) => {
                    let token = session.access_token.clone();
                    *current = Some(session);
                    Ok(token)
                }
                Err(TokenError::Refused(response))
                    if response.status == StatusCode::UNAUTHORIZED =>
                {
                    *current = None;
                    store.clear()?;
                    Err(TokenError::Refused(response))
                }
                Err(error) => Err(error),
            }
        });
        task.await
            .unwrap_or_else(|panic| Err(io::Error::other(panic).into()))
    }
}

async fn renewed(
    old: Option<&Session>,
    store: &dyn TokenStore,
    sender: &Sender,
) -> Result<Session, TokenError> {
    let old = old.ok_or_else(|| io::Error::other("there is no session"))?;
    // Another process may have renewed it. The refresh token that is known here is used then, and
    // using it again would end the session, even if the stored one has to be renewed, too.
    let stored = newer(store, old)?;
    let latest = match &stored {
        Some(other) if other.is_fresh() => return Ok(other.clone()),
        Some(other) => other,
        None => old,
    };
    match ask(&latest.refresh_token, sender).await {
        Ok(session) => {
            store.save(&session)?;
            Ok(session)
        }
        // Another process was faster and has stored its tokens.
        Err(TokenError::Refused(response)) if response.status == StatusCode::UNAUTHORIZED => {
            match newer(store, latest)? {
                Some(other) => Ok(other),
                None => Err(TokenError::Refused(response)),
            }
        }
        Err(error) => Err(error),
    }
}

/// The session that another process has stored since.
fn newer(store: &dyn TokenStore, old: &Session) -> io::Result<Option<Session>> {
    let stored = store.load()?;
    Ok(stored.filter(|it| it.refresh_token != old.refresh_token))
}

/// Exchanges the refresh token. Retries if the response is lost, within the grace period.
async fn ask(token: &Secret, sender: &Sender) -> Result<Session, TokenError> {
    let policy = RetryPolicy::default();
    let mut unused_at = Instant::now();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let outcome = sender.refresh(token).await;
        let in_time = |pause: &Duration| unused_at.elapsed() + *pause < GRACE;
        let pause = match &outcome {
            Ok(response) if response.status.is_success() => {
                let tokens = serde_json::from_slice(&response.body).map_err(io::Error::other)?;
                return Ok(Session::new(tokens));
            }
            // The only failure after which the token is certain to be unused.
            Ok(response) if response.status == StatusCode::TOO_MANY_REQUESTS => {
                let pause = policy.pause(attempt, response.retry_after());
                unused_at = Instant::now() + pause.unwrap_or_default();
                pause
            }
            Ok(response) if response.is_transient() => policy
                .pause(attempt, response.retry_after())
                .filter(in_time),
            Ok(_) => None,
            Err(_) => policy.pause(attempt, None).filter(in_time),
        };
        match (pause, outcome) {
            (Some(pause), _) => tokio::time::sleep(pause).await,
            (None, Ok(response)) => return Err(TokenError::Refused(response)),
            (None, Err(error)) => return Err(TokenError::Transport(error)),
        }
    }
}

impl TokenError {
    /// Whether a later retry may succeed.
    fn is_transient(&self) -> bool {
        match self {
            Self::Refused(response) => response.is_transient(),
            Self::Transport(_) => true,
            Self::Store(_) => false,
        }
    }
}

impl From<io::Error> for TokenError {
    fn from(error: io::Error) -> Self {
        Self::Store(error)
    }
}

impl From<TokenError> for Error {
    fn from(reason: TokenError) -> Self {
        match reason {
            TokenError::Refused(response) => response.problem().into(),
            TokenError::Transport(error) => error.into(),
            TokenError::Store(error) => Self::Session(error.to_string()),
        }
    }
}
