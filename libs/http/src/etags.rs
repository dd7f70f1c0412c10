//! Conditional requests (RFC 9110, 13.1): extractors of entity tags.

use std::convert::Infallible;

use axum::extract::OptionalFromRequestParts;
use http::{HeaderMap, HeaderName, header, request::Parts};
use quartet_common::problem::{FieldError, Problem, kinds};

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(entity_tags(&parts.headers, &header::IF_MATCH).map(Self))
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(entity_tags(&parts.headers, &header::IF_NONE_MATCH).map(Self))
    }
}

/// The `If-Match` header (RFC 9110, 13.1.1): entity tags in quotes, or `*`.
#[derive(Clone, Debug)]
pub struct IfMatch(Vec<String>);

/// The `If-None-Match` header (RFC 9110, 13.1.2).
#[derive(Clone, Debug)]
pub struct IfNoneMatch(Vec<String>);

impl IfMatch {
    /// # Errors
    /// 412 `precondition_failed` if the current tag is not listed.
    pub fn check(&self, current: &str) -> Result<(), Problem> {
        if self.0.iter().any(|tag| tag == "*" || tag == current) {
            return Ok(());
        }
        Err(
            Problem::new(&kinds::PRECONDITION_FAILED).field(FieldError::parameter(
                "if-match",
                "stale",
                format!("the current ETag is {current}"),
            )),
        )
    }
}

impl IfNoneMatch {
    /// Whether the client has this version. Comparison is weak (RFC 9110, 8.8.3.2).
    pub fn has(&self, current: &str) -> bool {
        self.0
            .iter()
            .any(|tag| tag == "*" || tag.trim_start_matches("W/") == current)
    }
}

/// `None` without the header. A value that is not ASCII matches nothing, but counts: a condition that
/// cannot be read must not become an unconditional request.
fn entity_tags(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let tags: Vec<String> = headers
        .get_all(name)
        .iter()
        // A tag may have bytes beyond ASCII (RFC 9110, 8.8.3). Passed over, a condition would not hold.
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .flat_map(|value| {
            let tags = value.split(',');
            tags.map(|tag| tag.trim().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    (!tags.is_empty()).then_some(tags)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_unreadable_tag_is_a_condition_that_fails() {
        let mut headers = HeaderMap::new();
        assert!(entity_tags(&headers, &header::IF_MATCH).is_none());

        let value = HeaderValue::from_bytes(b"\"\xe9\"").unwrap();
        headers.insert(header::IF_MATCH, value.clone());
        let tags = entity_tags(&headers, &header::IF_MATCH).expect("the header is present");
        assert!(IfMatch(tags).check("\"1\"").is_err());

        headers.append(header::IF_MATCH, HeaderValue::from_static("\"2\", \"1\""));
        let tags = entity_tags(&headers, &header::IF_MATCH).expect("the header is present");
        assert!(IfMatch(tags).check("\"1\"").is_ok());

        headers.insert(header::IF_NONE_MATCH, value);
        let tags = entity_tags(&headers, &header::IF_NONE_MATCH).expect("the header is present");
        assert!(!IfNoneMatch(tags).has("\"1\""));
    }
}
