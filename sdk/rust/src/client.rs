//! The client and its settings.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::generated::api;
use crate::retry::RetryPolicy;
use crate::sender::Sender;
use crate::session::{Keeper, MemoryStore, TokenStore};
use crate::transport::Transport;

const USER_AGENT: &str = concat!("quartet-client/", env!("CARGO_PKG_VERSION"));

/// A client of one gateway. Clones share connections and session.
#[derive(Clone, Debug)]
pub struct Quartet {
    pub(crate) transport: Transport,
    /// Without a timeout: for files and subscriptions.
    pub(crate) streams: reqwest::Client,
    /// The longest time without progress while a file is sent.
    pub(crate) stall: Duration,
}

/// Settings of a [`Quartet`], from [`Quartet::builder`].
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
    /// A client of the gateway at this URL, with default settings.
    ///
    /// # Errors
    /// [`Error::Setup`] if the URL is invalid.
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

    /// The URL of the gateway, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.transport.sender.base
    }

    /// Every operation of the OpenAPI document, by its operation id. Uses the same session and
    /// retries as everything else; `?` converts its errors into [`Error`].
    pub fn api(&self) -> api::Client {
        let http = self.transport.sender.http.clone();
        api::Client::new_with_client(self.url(), http, self.transport.clone())
    }
}

impl Builder {
    /// A product name that precedes the name of this client in `User-Agent`.
    pub fn user_agent(mut self, name: &str) -> Self {
        self.user_agent = format!("{name} {USER_AGENT}");
        self
    }

    /// The timeout of one attempt of an operation. Does not apply to files. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The longest time without progress while a file is sent. Default: 30 s.
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }

    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Where to store the session. Default: in memory.
    pub fn store(mut self, store: impl TokenStore + 'static) -> Self {
        self.store = Arc::new(store);
        self
    }

    /// # Errors
    /// [`Error::Setup`] if the URL or the name for `User-Agent` is invalid.
    pub fn build(self) -> Result<Quartet, Error> {
        let base = base(&self.url)?;
        let client = || {
            reqwest::Client::builder()
                .user_agent(&self.user_agent)
                .connect_timeout(self.connect_timeout)
                // No operation redirects, and a redirect would pass on the token.
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
    let wrong = |why: &str| Error::Setup(format!("`{url}` is not a valid URL of a gateway: {why}"));
    let scheme = "it must start with http:// or https://";
    let parsed = url::Url::parse(url).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => wrong(scheme),
        other => wrong(&other.to_string()),
    })?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
        return Err(wrong(scheme));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Error::Setup("the URL must not contain a password".into()));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong("it must not have a query or fragment"));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Quartet, base};

    #[test]
    fn urls_are_checked() {
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
        for text in ["gateway", "gateway:8080", "ftp://gateway"] {
            let error = base(text).unwrap_err().to_string();
            assert!(
                error.ends_with("it must start with http:// or https://"),
                "{error}"
            );
        }
        let error = Quartet::new("http://ada:tangerine@localhost").unwrap_err();
        assert!(!error.to_string().contains("tangerine"), "{error}");
    }
}
