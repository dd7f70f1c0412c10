//! CORS: pages of the allowed origins may do everything that an upload needs.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN,
    VARY,
};
use http::{HeaderMap, HeaderValue};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, DELETE");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("ETag, Content-Range, Content-Length, x-amz-checksum-sha256");
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// Headers for the response to a request with an `Origin`; none if the origin is not allowed.
pub(crate) fn response_headers(origins: &[String], request: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(origin) = request.get(ORIGIN) else {
        return headers;
    };
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    if let Some(allowed) = allowed(origins, origin) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    headers
}

/// The headers of the response to a preflight, or `None` if it is refused.
pub(crate) fn preflight(origins: &[String], request: &HeaderMap) -> Option<HeaderMap> {
    let mut headers = response_headers(origins, request);
    headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS)?;
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Some(headers)
}

fn allowed(origins: &[String], origin: &HeaderValue) -> Option<HeaderValue> {
    if origins.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    let named = origins.iter().any(|allowed| allowed == origin);
    named.then(|| origin.clone())
}
