//! The client and how it is made.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::generated::api;
use crate::links::Links;
use crate::retry::RetryPolicy;
use crate::session::{Keeper, MemoryStore, TokenStore};
use crate::transport::{Sender, Transport};

const USER_AGENT: &str = concat!("quartet-client/", env!("CARGO_PKG_VERSION"));

/// A Quartet. Clones share connections and session.
#[derive(Clone, Debug)]
pub struct Quartet {
    pub(crate) transport: Transport,
    /// For files and subscriptions, which may take any time.
    pub(crate) streams: reqwest::Client,
    /// How long nothing may move while a file is sent.
    pub(crate) stall: Duration,
}

/// Settings of a [`Quartet`]; [`Quartet::builder`] gives it.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    url: String,
    user_agent: String,
    timeout: Duration,
    connect_timeout: Duration,
    stall_timeout: Duration,
    retry: RetryPolicy,
    store: Arc<dyn TokenStore>,
}

impl Quartet {
    /// A client of the gateway at this address, with usual settings.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder(url).build()
    }

    pub fn builder(url: &str) -> Builder {
        Builder {
            url: url.to_owned(),
            user_agent: USER_AGENT.to_owned(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            store: Arc::new(MemoryStore::default()),
        }
    }

    /// The address of the gateway, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.transport.sender.base
    }

    /// Every operation of the OpenAPI document, by its name there. Goes through the same
    /// session and the same repetition as everything else; `?` turns its error into [`Error`].
    pub fn api(&self) -> api::Client {
        let http = self.transport.sender.http.clone();
        api::Client::new_with_client(self.url(), http, self.transport.clone())
    }

    /// Short links.
    pub fn links(&self) -> Links {
        Links(self.clone())
    }
}

impl Builder {
    /// What goes before the client's own name in `User-Agent`.
    pub fn user_agent(mut self, name: &str) -> Self {
        self.user_agent = format!("{name} {USER_AGENT}");
        self
    }

    /// How long one attempt of an operation may take; files are not bound by it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long nothing may move while a file is sent.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }

    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Where the session is kept; otherwise in memory.
    pub fn store(mut self, store: impl TokenStore + 'static) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// # Errors
    /// When the address or the name in `User-Agent` is none.
    pub fn build(self) -> Result<Quartet, Error> {
        let base = base(&self.url)?;
        let client = || {
            reqwest::Client::builder()
                .user_agent(&self.user_agent)
                .connect_timeout(self.connect_timeout)
                // No operation redirects. Whoever did would be given the token.
                .redirect(reqwest::redirect::Policy::none())
        };
        let setup = |error: reqwest::Error| Error::Setup(format!("no HTTP client: {error}"));
        let http = client().timeout(self.timeout).build().map_err(setup)?;
        // WebSockets begin in HTTP/1.1.
        let streams = client().http1_only().build().map_err(setup)?;
        let transport = Transport {
            sender: Sender { http, base },
            keeper: Keeper::new(self.store),
            retry: Arc::new(self.retry),
        };
        Ok(Quartet {
            transport,
            streams,
            stall: self.stall_timeout,
        })
    }
}

fn base(url: &str) -> Result<String, Error> {
    let wrong = |why: &str| Error::Setup(format!("`{url}` is no address of a Quartet: {why}"));
    let parsed = url::Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
        return Err(wrong("it must begin with http:// or https://"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Error::Setup("an address holds no password".into()));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong("it must end after the path"));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Quartet, base};

    #[test]
    fn addresses_are_checked() {
        assert_eq!(
            base("http://localhost:8080/").unwrap(),
            "http://localhost:8080"
        );
        assert_eq!(base("https://a.example/q/").unwrap(), "https://a.example/q");
        for wrong in [
            "",
            "localhost:8080",
            "ftp://a",
            "http://a/?b",
            "http://a/#b",
        ] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
        let error = Quartet::new("http://ada:tangerine@localhost").unwrap_err();
        assert!(!error.to_string().contains("tangerine"), "{error}");
    }
}
