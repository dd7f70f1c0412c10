//! What both stores have in common.

use std::sync::Arc;

use crate::session::{ids::SessionKey, live::Session, record::Identity};

/// Of one user; another login ends the oldest.
pub(super) const MAX_PER_USER: usize = 50;

/// The store does not answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the store of the sessions does not answer")]
pub(crate) struct StoreAway;

/// Why something is not stored.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Away(#[from] StoreAway),
    #[error("there are as many sessions as may be (logins.*.max_sessions)")]
    Full,
    #[error("more logins have begun than may (logins.*.max_flows)")]
    ManyFlows,
}

/// What is known at once.
#[derive(Debug)]
pub(crate) enum CachedSession {
    Session(Arc<Session>),
    None,
    /// The store has to be asked.
    Unknown,
}

/// A part of the sessions.
#[derive(Debug)]
pub(crate) struct SessionPage {
    pub(crate) sessions: Vec<Arc<Session>>,
    /// Where the next part begins.
    pub(crate) next: Option<String>,
}

/// Sessions that an operator asks for. `None`: any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionFilter<'f> {
    /// Subject, email or name of the user.
    pub(crate) user: Option<&'f str>,
}

impl SessionFilter<'_> {
    pub(crate) fn matches(&self, session: &Session) -> bool {
        let identity = &session.record.identity;
        self.user.is_none_or(|user| {
            let names = [&identity.email, &identity.username];
            identity.subject == user || names.into_iter().flatten().any(|name| name == user)
        })
    }
}

/// No part can run over into another one.
pub(super) fn owner_key(parts: [&str; 3]) -> SessionKey {
    let text = parts.map(|part| format!("{}:{part}", part.len()));
    SessionKey::of(text.concat().as_bytes())
}

/// Those of the index in which a session is.
pub(super) fn owner_keys(identity: &Identity) -> Vec<SessionKey> {
    let (issuer, subject) = (&identity.issuer, &identity.subject);
    let user = owner_key(["sub", issuer, subject]);
    let session = identity
        .sid
        .as_ref()
        .map(|sid| owner_key(["sid", issuer, sid]));
    [user].into_iter().chain(session).collect()
}
