//! Problems: error responses (RFC 9457).

use std::fmt;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

pub use crate::generated::problem_code::ProblemCode;

/// Why the server refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable: the member to match on.
    pub code: ProblemCode,
    /// The HTTP status; 200 for a GraphQL error.
    pub status: u16,
    /// The same text for every problem with this code.
    pub title: String,
    /// An explanation of this occurrence.
    pub detail: Option<String>,
    /// Identifies the request in the logs of the server.
    pub request_id: Option<String>,
    /// Every field that breaks a rule.
    pub errors: Vec<FieldError>,
    /// How long to wait before the request is sent again.
    pub retry_after: Option<Duration>,
}

/// One field of the request and the rule that it breaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FieldError {
    /// JSON pointer (RFC 6901) into the request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of the path, query or header parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// Stable name of the rule.
    pub code: String,
    /// The rule in words, with its bound.
    pub detail: String,
}

/// The body of an error response. Every member may be absent: proxies send bodies of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProblemBody {
    pub code: String,
    pub title: String,
    pub detail: Option<String>,
    pub request_id: Option<String>,
    pub errors: Vec<FieldError>,
}

impl Problem {
    pub(crate) fn new(body: ProblemBody, status: u16, headers: &HeaderMap) -> Self {
        let from_header = || {
            let value = headers.get("x-request-id")?;
            value.to_str().ok().map(str::to_owned)
        };
        let code = if body.code.is_empty() {
            ProblemCode::Other(format!("http_{status}"))
        } else {
            ProblemCode::from(body.code.as_str())
        };
        let title = if body.title.is_empty() {
            format!("The server returned status {status}")
        } else {
            body.title
        };
        Self {
            code,
            status,
            title,
            detail: body.detail,
            request_id: body.request_id.or_else(from_header),
            errors: body.errors,
            retry_after: retry_after(headers, SystemTime::now()),
        }
    }

    /// Reads the body of any error response.
    pub(crate) fn read(body: &[u8], status: u16, headers: &HeaderMap) -> Self {
        let body = serde_json::from_slice(body).unwrap_or_default();
        Self::new(body, status, headers)
    }
}

impl FieldError {
    /// The name of the field or parameter.
    pub fn field(&self) -> &str {
        let name = self.pointer.as_deref().or(self.parameter.as_deref());
        name.unwrap_or("request")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        for error in &self.errors {
            write!(f, "; {} {}", error.field(), error.detail)?;
        }
        write!(f, " ({}", self.code)?;
        if let Some(id) = &self.request_id {
            write!(f, ", request {id}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Problem {}

/// `Retry-After`, in seconds or as a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = SystemTime::from(chrono::DateTime::parse_from_rfc2822(value).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use http::HeaderMap;

    use super::{Problem, ProblemCode, retry_after};

    fn waits(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", value.parse().unwrap());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_445_412_470);
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(waits("7"), Some(Duration::from_secs(7)));
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(waits(date), Some(Duration::from_secs(10)));
        let past = "Wed, 21 Oct 2015 07:20:00 GMT";
        assert_eq!(waits(past), Some(Duration::ZERO));
        assert_eq!(waits("soon"), None);
    }

    #[test]
    fn other_bodies_become_problems() {
        let problem = Problem::read(b"<html>Bad Gateway</html>", 502, &HeaderMap::new());
        assert_eq!(problem.code, ProblemCode::Other("http_502".into()));
        assert_eq!(problem.status, 502);
    }
}
