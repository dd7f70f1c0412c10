//! Users of the Rust client.

use std::io;
use std::net::SocketAddr;

use quartet_client::{MemoryStore, Quartet, Session, TokenStore};

use super::secrets::Secrets;

/// A user with an account and a session in the client.
#[derive(Clone, Debug)]
pub(crate) struct SdkUser {
    pub(crate) quartet: Quartet,
    pub(crate) email: String,
    pub(crate) password: String,
    /// `usr_...`
    pub(crate) id: String,
}

/// Stores a session in memory, and its tokens in the secrets of the test.
#[derive(Debug, Default)]
pub(crate) struct RecordingStore {
    inner: MemoryStore,
    secrets: Secrets,
}

impl RecordingStore {
    pub(crate) fn new(secrets: &Secrets) -> Self {
        Self {
            secrets: secrets.clone(),
            ..Self::default()
        }
    }
}

impl TokenStore for RecordingStore {
    fn load(&self) -> io::Result<Option<Session>> {
        self.inner.load()
    }

    fn save(&self, session: &Session) -> io::Result<()> {
        self.secrets.add(session.access_token.expose());
        self.secrets.add(session.refresh_token.expose());
        self.inner.save(session)
    }

    fn clear(&self) -> io::Result<()> {
        self.inner.clear()
    }
}

/// A client of a server, with default settings.
pub(crate) fn quartet(server: SocketAddr, secrets: &Secrets) -> Quartet {
    builder(server)
        .store(RecordingStore::new(secrets))
        .build()
        .unwrap()
}

pub(crate) fn builder(server: SocketAddr) -> quartet_client::Builder {
    Quartet::builder(&format!("http://{server}"))
}

/// A unique email and password.
pub(crate) fn credentials(secrets: &Secrets) -> (String, String) {
    let unique = rand::random::<u64>();
    let password = format!("correct horse {unique:016x} staple");
    secrets.add(&password);
    (format!("person-{unique:016x}@example.org"), password)
}

impl SdkUser {
    /// Signs up with a new email and logs in.
    pub(crate) async fn sign_up(quartet: Quartet, secrets: &Secrets) -> Self {
        let (email, password) = credentials(secrets);
        let user = quartet
            .sign_up(&email, password.as_str().into(), None)
            .await
            .unwrap();
        quartet
            .login(&email, password.as_str().into())
            .await
            .unwrap();
        Self {
            quartet,
            email,
            password,
            id: user.id.to_string(),
        }
    }
}
