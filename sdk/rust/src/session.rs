//! The session of this client: its tokens, where they are kept, and their renewal.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::generated::api::types::Tokens;
use crate::retry::RetryPolicy;
use crate::secret::Secret;
use crate::transport::{Answer, Sender};

/// An access token is renewed this long before its end, or after four fifths of a short life.
const MARGIN: Duration = Duration::from_secs(30);
/// The server gives a spent refresh token's successor again for 10 seconds; so long a renewal
/// whose answer was lost may be asked for again.
const GRACE: Duration = Duration::from_secs(8);

/// After a renewal that failed in passing, requests go on with the old token for so long.
const RENEW_AGAIN: Duration = Duration::from_secs(5);

/// The tokens of a login.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    pub session_id: String,
    pub access_token: Secret,
    pub refresh_token: Secret,
    /// When the access token is to be renewed.
    pub renew_at: SystemTime,
}

/// Keeps a session, perhaps for longer than the process lives.
///
/// Several processes may share one store: before a token is renewed the store is asked whether
/// another process has done that.
pub trait TokenStore: fmt::Debug + Send + Sync {
    fn load(&self) -> io::Result<Option<Session>>;
    fn save(&self, session: &Session) -> io::Result<()>;
    fn clear(&self) -> io::Result<()>;
}

/// Forgets the session when the process ends.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Option<Session>>);

/// Why there is no usable token.
#[derive(Debug)]
pub(crate) enum NoToken {
    /// The server refused to renew it.
    Refused(Answer),
    Transport(reqwest::Error),
    Store(io::Error),
}

/// The one place that has the session. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    store: Arc<dyn TokenStore>,
    /// Locked while the tokens are renewed, so that this is done once for all that wait.
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

    /// The session, if there is one; its access token may be old.
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

    /// A token that is not about to end; none without a session.
    pub(crate) async fn token(&self, sender: &Sender) -> Result<Option<Secret>, NoToken> {
        let current = self.loaded().await?;
        match &*current {
            None => Ok(None),
            Some(session) if session.is_fresh() => Ok(Some(session.access_token.clone())),
            Some(session) => {
                let old = session.access_token.clone();
                match self.renew(current, sender).await {
                    Err(error) if error.is_passing() => Ok(Some(self.keep_for_now(old).await)),
                    other => other.map(Some),
                }
            }
        }
    }

    /// A token that is old but may still do. If not, the server says so.
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
    ) -> Result<Option<Secret>, NoToken> {
        let current = self.loaded().await?;
        match &*current {
            None => Ok(None),
            // Somebody else has been here while this waited.
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

    /// In a task of its own: once the server has spent the old token, the new ones must be kept
    /// even if whoever asked goes away.
    async fn renew(
        &self,
        mut current: OwnedMutexGuard<Option<Session>>,
        sender: &Sender,
    ) -> Result<Secret, NoToken> {
        let (store, sender) = (Arc::clone(&self.store), sender.clone());
        let task = tokio::spawn(async move {
            let result = renewed(current.as_ref(), &*store, &sender).await;
            match result {
                Ok(session) => {
                    let token = session.access_token.clone();
                    *current = Some(session);
                    Ok(token)
                }
                Err(NoToken::Refused(answer)) if answer.status == StatusCode::UNAUTHORIZED => {
                    *current = None;
                    store.clear()?;
                    Err(NoToken::Refused(answer))
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
) -> Result<Session, NoToken> {
    let old = old.ok_or_else(|| io::Error::other("there is no session"))?;
    if let Some(other) = newer(store, old)? {
        return Ok(other);
    }
    match ask(&old.refresh_token, sender).await {
        Ok(session) => {
            store.save(&session)?;
            Ok(session)
        }
        // Another process was quicker and has kept its tokens meanwhile.
        Err(NoToken::Refused(answer)) if answer.status == StatusCode::UNAUTHORIZED => {
            match newer(store, old)? {
                Some(other) => Ok(other),
                None => Err(NoToken::Refused(answer)),
            }
        }
        Err(error) => Err(error),
    }
}

/// What another process has put into the store since.
fn newer(store: &dyn TokenStore, old: &Session) -> io::Result<Option<Session>> {
    let stored = store.load()?;
    Ok(stored.filter(|it| it.refresh_token != old.refresh_token && it.is_fresh()))
}

/// Asks for new tokens, again if the answer is lost, as long as that is harmless.
async fn ask(token: &Secret, sender: &Sender) -> Result<Session, NoToken> {
    let policy = RetryPolicy::default();
    let mut unspent_at = Instant::now();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let outcome = sender.refresh(token).await;
        let in_time = |pause: &Duration| unspent_at.elapsed() + *pause < GRACE;
        let pause = match &outcome {
            Ok(answer) if answer.status.is_success() => {
                let tokens = serde_json::from_slice(&answer.body).map_err(io::Error::other)?;
                return Ok(Session::new(tokens));
            }
            // The only one that is sure not to have spent it.
            Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                let pause = policy.pause(attempt, answer.retry_after());
                unspent_at = Instant::now() + pause.unwrap_or_default();
                pause
            }
            Ok(answer) if answer.is_passing() => {
                policy.pause(attempt, answer.retry_after()).filter(in_time)
            }
            Ok(_) => None,
            Err(_) => policy.pause(attempt, None).filter(in_time),
        };
        match (pause, outcome) {
            (Some(pause), _) => tokio::time::sleep(pause).await,
            (None, Ok(answer)) => return Err(NoToken::Refused(answer)),
            (None, Err(error)) => return Err(NoToken::Transport(error)),
        }
    }
}

impl NoToken {
    /// Whether trying again later may help.
    fn is_passing(&self) -> bool {
        match self {
            Self::Refused(answer) => answer.is_passing(),
            Self::Transport(_) => true,
            Self::Store(_) => false,
        }
    }
}

impl From<io::Error> for NoToken {
    fn from(error: io::Error) -> Self {
        Self::Store(error)
    }
}
