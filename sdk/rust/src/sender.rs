//! Sends one request and reads the whole response.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::problem::{self, Problem, ProblemCode};
use crate::secret::Secret;

/// Sends a request once.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
}

/// A complete response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether an earlier attempt was sent without a complete response.
    pub(crate) after_loss: bool,
}

impl Sender {
    pub(crate) async fn send(&self, request: reqwest::Request) -> reqwest::Result<Response> {
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        // Read here, so that a connection that breaks now counts as no response.
        let body = response.bytes().await?;
        Ok(Response {
            status,
            headers,
            body,
            after_loss: false,
        })
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, token: &Secret) -> reqwest::Result<Response> {
        let url = format!("{}/v1/core/sessions/refresh", self.base);
        let body = json!({ "refresh_token": token });
        self.send(self.http.post(url).json(&body).build()?).await
    }
}

impl Response {
    pub(crate) fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            after_loss: true,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        problem::retry_after(&self.headers, std::time::SystemTime::now())
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 429 | 502 | 503 | 504)
    }

    pub(crate) fn problem(&self) -> Problem {
        Problem::read(&self.body, self.status.as_u16(), &self.headers)
    }

    pub(crate) fn has_code(&self, code: ProblemCode) -> bool {
        self.problem().code == code
    }
}

impl From<Response> for reqwest::Response {
    fn from(from: Response) -> Self {
        let mut response = http::Response::new(from.body);
        *response.status_mut() = from.status;
        *response.headers_mut() = from.headers;
        response.into()
    }
}
