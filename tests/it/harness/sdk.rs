//! People who use the Rust client.

use std::io;
use std::net::SocketAddr;

use quartet_client::{MemoryStore, Quartet, Session, TokenStore};

use super::secrets::Secrets;

/// Somebody with an account and a session in a client.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) quartet: Quartet,
    pub(crate) email: String,
    pub(crate) password: String,
    /// `usr_...`
    pub(crate) id: String,
}

/// Keeps a session in memory and tells the test its secrets.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    kept: MemoryStore,
    secrets: Secrets,
}

impl Recording {
    pub(crate) fn new(secrets: &Secrets) -> Self {
        Self {
            secrets: secrets.clone(),
            ..Self::default()
        }
    }
}

impl TokenStore for Recording {
    fn load(&self) -> io::Result<Option<Session>> {
        self.kept.load()
    }

    fn save(&self, session: &Session) -> io::Result<()> {
        self.secrets.add(session.access_token.expose());
        self.secrets.add(session.refresh_token.expose());
        self.kept.save(session)
    }

    fn clear(&self) -> io::Result<()> {
        self.kept.clear()
    }
}

/// A client of whatever listens at an address, with usual settings.
pub(crate) fn quartet(server: SocketAddr, secrets: &Secrets) -> Quartet {
    builder(server)
        .store(Recording::new(secrets))
        .build()
        .unwrap()
}

pub(crate) fn builder(server: SocketAddr) -> quartet_client::Builder {
    Quartet::builder(&format!("http://{server}"))
}

/// A mail address and a password that nobody else has.
pub(crate) fn credentials(secrets: &Secrets) -> (String, String) {
    let unique = rand::random::<u64>();
    let password = format!("correct horse {unique:016x} staple");
    secrets.add(&password);
    (format!("person-{unique:016x}@example.org"), password)
}

impl Person {
    /// Signs up with a new address and logs in.
    pub(crate) async fn sign_up(quartet: Quartet, secrets: &Secrets) -> Self {
        let (email, password) = credentials(secrets);
        let user = quartet
            .sign_up(&email, password.as_str().into(), None)
            .await
            .unwrap();
        quartet
            .log_in(&email, password.as_str().into())
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
