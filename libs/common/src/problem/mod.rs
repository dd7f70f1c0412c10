//! Errors on the wire: problem details of RFC 9457, the same from every service.
//!
//! A [`Problem`] has a public side (kind, detail, fields) and a private one (`source`). Turning it
//! into a response is pure: the problem travels in the extensions of the response, and one layer,
//! which knows the request id, renders the body and logs the source once. A cause can therefore
//! neither reach a client nor be logged twice.

use std::{error::Error, fmt, sync::Arc};

use axum_core::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

pub mod kinds;

pub use kinds::Kind;

use crate::causes;

/// An error response, with its cause for the log.
#[derive(Clone, Debug)]
pub struct Problem {
    pub kind: &'static Kind,
    /// What is specific to this occurrence.
    pub detail: Option<String>,
    /// The invalid fields of the request.
    pub errors: Vec<FieldError>,
    pub headers: HeaderMap,
    /// Never shown to a client.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

/// An invalid field of the request, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/size_bytes", nullable = false)]
    pub pointer: Option<String>,
    /// Name of the path, query or header parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "limit", nullable = false)]
    pub parameter: Option<String>,
    /// Stable name of the rule.
    #[schema(value_type = String, example = "too_large")]
    pub code: &'static str,
    /// The rule in words, with its bound.
    #[schema(example = "must be at most 5368709120 bytes")]
    pub detail: String,
}

/// A rule that a value breaks. Which field has the value is up to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub code: &'static str,
    pub detail: String,
}

/// Body of every error response, `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Identifies the kind of problem: `urn:quartet:problem:{code}`.
    #[serde(rename = "type")]
    #[schema(example = "urn:quartet:problem:invalid_body")]
    pub kind: String,
    /// Short summary, the same for all problems of this kind.
    #[schema(value_type = String, example = "Invalid request body")]
    pub title: &'static str,
    /// The HTTP status code.
    #[schema(example = 422, minimum = 400, maximum = 599)]
    pub status: u16,
    /// Stable machine-readable name of the problem.
    #[schema(value_type = String, example = "invalid_body")]
    pub code: &'static str,
    /// What is specific to this occurrence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "the body must arrive within 10 s", nullable = false)]
    pub detail: Option<String>,
    /// Path of the request.
    #[schema(example = "/v1/media/presign")]
    pub instance: String,
    /// Identifies the request in the logs; equals the `x-request-id` header.
    #[schema(example = "019a2f6e-7d64-7c30-9d5e-2f1f3a1f9f10")]
    pub request_id: String,
    /// The invalid fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    pub fn new(kind: &'static Kind) -> Self {
        Self {
            kind,
            detail: None,
            errors: Vec::new(),
            headers: HeaderMap::new(),
            source: None,
        }
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.errors = errors;
        self
    }

    #[must_use]
    pub fn field(mut self, error: FieldError) -> Self {
        self.errors.push(error);
        self
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds `Retry-After` in whole seconds, at least one.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    #[must_use]
    pub fn source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// 401 with the `WWW-Authenticate` challenge of RFC 6750.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::unauthorized(&kinds::UNAUTHENTICATED).detail(detail)
    }

    /// 401 of another kind, with the same challenge.
    pub fn unauthorized(kind: &'static Kind) -> Self {
        Self::new(kind).header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// 404. `what` is a noun such as `asset`.
    pub fn not_found(what: &str) -> Self {
        Self::new(&kinds::NOT_FOUND).detail(format!(
            "the {what} does not exist or belongs to another user"
        ))
    }

    pub fn internal(source: impl Error + Send + Sync + 'static) -> Self {
        Self::new(&kinds::INTERNAL).source(source)
    }

    /// 503 with `Retry-After: 1`: a retry may succeed.
    pub fn unavailable(source: impl Error + Send + Sync + 'static) -> Self {
        Self::not_now(&kinds::UNAVAILABLE).source(source)
    }

    /// 503 of another kind, with the same `Retry-After`.
    pub fn not_now(kind: &'static Kind) -> Self {
        Self::new(kind).retry_after(1)
    }

    /// 422 with the invalid fields of the body.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        Self::new(&kinds::INVALID_BODY).errors(errors)
    }

    /// 400 for a path, query or header parameter.
    pub fn invalid_parameter(name: &str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(&kinds::INVALID_PARAMETER).field(FieldError::parameter(name, code, detail))
    }

    /// The body of the response.
    pub fn to_body(&self, request_id: &str, instance: &str) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:quartet:problem:{}", self.kind.code),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            code: self.kind.code,
            detail: self.detail.clone(),
            instance: instance.to_owned(),
            request_id: request_id.to_owned(),
            errors: self.errors.clone(),
        }
    }

    /// The chain of causes in one line, for the log. Repeated text is omitted.
    pub fn causes(&self) -> Option<String> {
        let source = self.source()?;
        Some(causes(source))
    }
}

impl FieldError {
    pub fn body(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            parameter: None,
            code,
            detail: detail.into(),
        }
    }

    pub fn parameter(
        name: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            pointer: None,
            parameter: Some(name.into()),
            code,
            detail: detail.into(),
        }
    }
}

impl Rule {
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for Rule {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status.into_response();
        response.headers_mut().extend(self.headers.clone());
        response.extensions_mut().insert(self);
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        write!(f, "{} {}: {}", kind.status.as_u16(), kind.code, kind.title)?;
        self.detail
            .as_ref()
            .map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
