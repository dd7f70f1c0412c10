//! An HTTP client that holds every response against the contract and the documents.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;

use super::secrets::Secrets;
use super::spec;

/// Clicks without a browser's name count as those of a robot.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const TIMEOUT: Duration = Duration::from_secs(40);

/// Talks to one server, usually the gateway. Clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: SocketAddr,
    token: Option<String>,
    secrets: Secrets,
}

/// A request being put together.
#[must_use]
pub(crate) struct Call {
    builder: reqwest::RequestBuilder,
    method: Method,
    path: String,
    secrets: Secrets,
}

/// A response that was already checked: errors are problems, bodies fit the documents.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    what: String,
}

impl Client {
    pub(crate) fn new(server: SocketAddr, secrets: &Secrets) -> Self {
        Self::build(server, None, secrets)
    }

    /// A gateway that runs already.
    pub(crate) fn of_url(url: &str) -> Self {
        let place = url.trim_end_matches('/').strip_prefix("http://");
        let place = place.unwrap_or_else(|| panic!("`{url}` does not begin with http://"));
        let server = place.to_socket_addrs().unwrap().find(SocketAddr::is_ipv4);
        let server = server.unwrap_or_else(|| panic!("`{url}` has no IPv4 address"));
        Self::new(server, &Secrets::default())
    }

    /// The same server seen from another loopback address.
    pub(crate) fn seen_from(&self, source: IpAddr) -> Self {
        Self {
            token: self.token.clone(),
            ..Self::build(self.server, Some(source), &self.secrets)
        }
    }

    /// A client with connections of its own to another server; keeps the token.
    pub(crate) fn at(&self, server: SocketAddr) -> Self {
        Self {
            token: self.token.clone(),
            ..Self::build(server, None, &self.secrets)
        }
    }

    fn build(server: SocketAddr, source: Option<IpAddr>, secrets: &Secrets) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(BROWSER)
            .timeout(TIMEOUT)
            .local_address(source)
            .build()
            .unwrap();
        Self {
            http,
            server,
            token: None,
            secrets: secrets.clone(),
        }
    }

    /// The same client with an access token on every request.
    #[must_use]
    pub(crate) fn with_token(&self, token: &str) -> Self {
        self.secrets.add(token);
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same client without a token.
    #[must_use]
    pub(crate) fn anonymous(&self) -> Self {
        Self {
            token: None,
            ..self.clone()
        }
    }

    pub(crate) fn token(&self) -> &str {
        self.token.as_deref().expect("a client with a token")
    }

    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let mut builder = self
            .http
            .request(method.clone(), format!("http://{}{path}", self.server));
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token);
        }
        Call {
            builder,
            method,
            path: path.to_owned(),
            secrets: self.secrets.clone(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path).json(body).send().await
    }
}

impl Call {
    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.builder = self.builder.json(body);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.builder = self.builder.body(body);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    /// Sends it; a connection that breaks fails the test.
    pub(crate) async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// Sends it; `Err` when no whole response came.
    pub(crate) async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.builder.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        let what = format!("{} {}", self.method, self.path);
        let answer = Answer {
            status,
            headers,
            body,
            what,
        };
        answer.check(&self.method, &self.path);
        self.secrets.collect(&answer.body);
        Ok(answer)
    }
}

impl Answer {
    fn check(&self, method: &Method, path: &str) {
        assert!(
            self.header("x-request-id").is_some(),
            "no x-request-id: {self:?}"
        );
        // GraphQL has a form of its own for errors, which only the gateway does not use.
        let problem = self.header("content-type") == Some("application/problem+json");
        let graphql = path.starts_with(super::graphql::PATH);
        if self.status >= 400 && method != Method::HEAD && (problem || !graphql) {
            self.check_problem();
        }
        spec::check(method, path, self.status, &self.headers, &self.body);
    }

    fn check_problem(&self) {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let body = self.json();
        assert_eq!(body["status"], self.status, "{self:?}");
        assert_eq!(
            body["request_id"].as_str(),
            self.header("x-request-id"),
            "{self:?}"
        );
        for member in ["type", "title", "code", "instance"] {
            let text = body[member].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no {member}: {self:?}");
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("headers are ASCII"))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: not JSON ({error}): {self:?}", self.what))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Fails the test unless the status is this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        self
    }

    /// The JSON body of a response that must have this status.
    #[track_caller]
    pub(crate) fn json_of(self, status: u16) -> Value {
        self.expect(status).json()
    }

    /// The problem's body; fails the test unless status and code are these.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Value {
        let what = self.what.clone();
        let body = self.json_of(status);
        assert_eq!(body["code"], code, "{what}: {body:#}");
        body
    }

    pub(crate) fn location(&self) -> &str {
        self.headers
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_else(|| panic!("{}: no Location: {self:?}", self.what))
    }
}
