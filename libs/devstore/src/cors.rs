//! CORS: some origins may do everything that an upload from a page needs.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const METHODS: [&str; 5] = ["GET", "HEAD", "PUT", "POST", "DELETE"];
const EXPOSED: &str = "ETag, Content-Range, Content-Length, x-amz-checksum-sha256";
const MAX_AGE_SECONDS: u64 = 600;

/// Headers for the response to a request with an `Origin`; without permission if none of the
/// allowed `origins` matches.
pub(crate) fn response_headers(origins: &[String], request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !request.contains_key(ORIGIN) {
        return headers;
    }
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = allowed_origin(origins, request) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = HeaderValue::from_static(EXPOSED);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    headers
}

/// The headers of the response to a preflight, or `None` if it is refused.
pub(crate) fn preflight(origins: &[String], request: &HeaderMap) -> Option<HeaderMap> {
    let method = text(request, &ACCESS_CONTROL_REQUEST_METHOD)?;
    let origin = allowed_origin(origins, request).filter(|_| METHODS.contains(&method))?;
    let mut headers = HeaderMap::new();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let methods = METHODS.join(", ").parse().ok()?;
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS.into());
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Some(headers)
}

/// What to return as the allowed origin, if the one of the request is allowed.
fn allowed_origin(origins: &[String], request: &HeaderMap) -> Option<HeaderValue> {
    let origin = text(request, &ORIGIN)?;
    if origins.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let mut origins = origins.iter();
    let allowed = origins.any(|pattern| matches(pattern, origin));
    request.get(ORIGIN).filter(|_| allowed).cloned()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether `pattern`, with at most one `*`, matches `value`.
fn matches(pattern: &str, value: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == value,
        Some((head, tail)) => {
            value.len() >= head.len() + tail.len()
                && value.starts_with(head)
                && value.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_wildcard_matches_any_text() {
        assert!(matches("*", "https://a.example"));
        assert!(matches("https://*.example", "https://a.example"));
        assert!(!matches("https://*.example", "https://a.other"));
        assert!(!matches("ab*ba", "aba"));
        assert!(matches("exact", "exact"));
        assert!(!matches("exact", "exactly"));
    }
}
