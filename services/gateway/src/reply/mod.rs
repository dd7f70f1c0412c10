//! A complete response of the gateway itself. `edge::reply` sends it.

mod file;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use quartet_common::problem::Problem;

pub(crate) use file::FileBody;
#[cfg(target_os = "linux")]
pub(crate) use file::SentFile;

/// Status, headers and body; `Content-Length` is added when it is sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
    /// In place of `body`.
    pub(crate) file: Option<Box<FileBody>>,
}

/// What the gateway answers instead of an upstream.
#[derive(Debug)]
pub(crate) enum GatewayResponse {
    /// Gets its body, with the request id, when it is sent.
    Problem(Problem),
    /// The same for people.
    Page(Box<Page>),
    Reply(Reply),
}

/// A problem as a page.
pub(crate) struct Page {
    pub(crate) problem: Problem,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// HTML with the request id.
    pub(crate) render: Box<dyn Fn(&str) -> String + Send + Sync>,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Page").field(&self.problem).finish()
    }
}

impl GatewayResponse {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Problem(problem) => problem.kind.status,
            Self::Page(page) => page.problem.kind.status,
            Self::Reply(reply) => reply.status,
        }
    }
}

impl From<Problem> for Box<GatewayResponse> {
    fn from(problem: Problem) -> Self {
        Self::new(GatewayResponse::Problem(problem))
    }
}

impl Reply {
    /// 200.
    pub(crate) fn ok(content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            headers: vec![(header::CONTENT_TYPE, content_type)],
            body: body.into(),
            file: None,
        }
    }

    /// 204.
    pub(crate) fn no_content() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            headers: Vec::new(),
            body: Bytes::new(),
            file: None,
        }
    }

    /// A problem document, with the headers of the problem.
    pub(crate) fn problem(problem: &Problem, request_id: &str, path: &str) -> Self {
        let body = serde_json::to_vec(&problem.to_body(request_id, path)).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let reply = Self::ok(content_type, body)
            .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
            .status(problem.kind.status);
        let headers = problem.headers.iter();
        headers.fold(reply, |reply, (name, value)| {
            reply.header(name.clone(), value.clone())
        })
    }

    pub(crate) fn page(page: Page, request_id: &str) -> Self {
        let content_type = HeaderValue::from_static("text/html; charset=utf-8");
        let reply = Self::ok(content_type, (page.render)(request_id));
        let headers = page.headers.into_iter();
        headers.fold(
            reply.status(page.problem.kind.status),
            |reply, (name, value)| reply.header(name, value),
        )
    }

    /// What `Content-Length` says; `None`: there is none with this status (RFC 9110, 8.6).
    pub(crate) fn content_length(&self) -> Option<u64> {
        let has_body = ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&self.status);
        let of_file = self.file.as_ref().map(|file| file.length());
        has_body.then(|| of_file.unwrap_or(self.body.len() as u64))
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Whether it is the response of an upstream, which was sent before.
    pub(crate) fn has_date(&self) -> bool {
        self.headers.iter().any(|(name, _)| *name == header::DATE)
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}
