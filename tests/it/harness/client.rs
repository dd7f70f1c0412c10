//! An HTTP client that checks every response against the documents.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use serde_json::Value;

use super::secrets::Secrets;
use super::spec;

/// Without the user agent of a browser, clicks count as those of a bot.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const TIMEOUT: Duration = Duration::from_secs(40);

/// A client of one server, usually the gateway. Clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: SocketAddr,
    token: Option<String>,
    secrets: Secrets,
}

/// A request under construction.
#[must_use]
pub(crate) struct Call {
    builder: reqwest::RequestBuilder,
    method: Method,
    path: String,
    secrets: Secrets,
}

/// A checked response: errors are problems, bodies match the documents.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    what: String,
}

impl Client {
    pub(crate) fn new(server: SocketAddr, secrets: &Secrets) -> Self {
        Self::build(server, None, secrets)
    }

    /// A client of a running gateway.
    pub(crate) fn of_url(url: &str) -> Self {
        let host = url.trim_end_matches('/').strip_prefix("http://");
        let host = host.unwrap_or_else(|| panic!("`{url}` does not start with http://"));
        let server = host.to_socket_addrs().unwrap().find(SocketAddr::is_ipv4);
        let server = server.unwrap_or_else(|| panic!("`{url}` has no IPv4 address"));
        Self::new(server, &Secrets::default())
    }

    /// The same client with another loopback IP.
    pub(crate) fn with_client_ip(&self, source: IpAddr) -> Self {
        Self {
            token: self.token.clone(),
            ..Self::build(self.server, Some(source), &self.secrets)
        }
    }

    /// A client of another server, with the same token.
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

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.call(Method::GET, path).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.call(Method::DELETE, path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
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

    /// Sends the request. A broken connection fails the test.
    pub(crate) async fn send(self) -> Response {
        let what = format!("{} {}", self.method, self.path);
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error:?}"))
    }

    /// Sends the request; `Err` without a complete response.
    pub(crate) async fn try_send(self) -> Result<Response, reqwest::Error> {
        let received = self.builder.send().await?;
        let (status, headers) = (received.status().as_u16(), received.headers().clone());
        let body = received.bytes().await?;
        let what = format!("{} {}", self.method, self.path);
        let response = Response {
            status,
            headers,
            body,
            what,
        };
        response.check(&self.method, &self.path);
        self.secrets.collect(&response.body);
        Ok(response)
    }
}

impl Response {
    fn check(&self, method: &Method, path: &str) {
        assert!(
            self.header("x-request-id").is_some(),
            "no x-request-id: {self:?}"
        );
        // GraphQL errors have another form, except those of the gateway.
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

    /// Fails the test unless this is the status.
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
