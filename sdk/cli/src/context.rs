//! The server, the session and the output format of a command.

use std::path::PathBuf;

use quartet_client::{MemoryStore, Quartet, TokenStore as _};

use crate::failure::Failure;
use crate::store::{self, FileStore};

pub(crate) struct Context {
    pub(crate) json: bool,
    url: Option<String>,
    path: PathBuf,
}

impl Context {
    pub(crate) fn new(url: Option<String>, json: bool) -> Result<Self, Failure> {
        let path = store::path().map_err(Failure::local("find the configuration directory"))?;
        let named = std::env::var("QUARTET_URL").ok();
        let url = url.or(named.filter(|url| !url.is_empty()));
        Ok(Self { json, url, path })
    }

    /// A client of the server, logged in or not.
    pub(crate) fn client(&self) -> Result<Quartet, Failure> {
        let url = match self.url.clone() {
            Some(url) => Some(url),
            None => store::last_url(&self.path).map_err(Failure::local("read the session"))?,
        };
        let url =
            url.ok_or_else(|| Failure::Usage("no server: use --url or set QUARTET_URL".into()))?;
        // The normalized URL identifies the session.
        let url = Quartet::new(&url)?.url().to_owned();
        let store = FileStore::new(self.path.clone(), &url);
        let agent = concat!("quartet/", env!("CARGO_PKG_VERSION"));
        Ok(Quartet::builder(&url)
            .user_agent(agent)
            .store(store)
            .build()?)
    }

    /// A client with a copy of the stored session. Changes to the copy are not stored.
    pub(crate) fn stored_session(&self, client: &Quartet) -> Result<Option<Quartet>, Failure> {
        let stored = FileStore::new(self.path.clone(), client.url()).load();
        let Some(session) = stored.map_err(Failure::local("read the session"))? else {
            return Ok(None);
        };
        let store = MemoryStore::default();
        store
            .save(&session)
            .map_err(Failure::local("copy the session"))?;
        Ok(Some(Quartet::builder(client.url()).store(store).build()?))
    }

    /// A client that is logged in.
    pub(crate) async fn session(&self) -> Result<Quartet, Failure> {
        let client = match (&self.url, self.client()) {
            (None, Err(Failure::Usage(_))) => return Err(self.not_logged_in(None)),
            (_, client) => client?,
        };
        if client.is_logged_in().await? {
            Ok(client)
        } else {
            Err(self.not_logged_in(Some(client.url())))
        }
    }

    /// Names the server, and the one that the last session is of.
    fn not_logged_in(&self, url: Option<&str>) -> Failure {
        let place = url.map(|url| format!(" at {url}")).unwrap_or_default();
        let last = store::last_url(&self.path).ok().flatten();
        let other = last
            .filter(|last| url.is_some_and(|url| url != last))
            .map(|last| format!(" (the session is of {last})"))
            .unwrap_or_default();
        Failure::Refused(format!("not logged in{place}{other}; run `quartet login`"))
    }
}
