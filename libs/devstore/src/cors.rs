//! CORS, by the rules of a bucket, or of the server if the bucket has none.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use s3s::dto::CORSRule;

/// The rule of buckets that have none: allows everything that an upload from a page needs.
pub(crate) fn permissive(origins: &[String]) -> CORSRule {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    CORSRule {
        id: None,
        allowed_origins: origins.to_vec(),
        allowed_methods: owned(&["GET", "HEAD", "PUT", "POST", "DELETE"]),
        allowed_headers: Some(owned(&["*"])),
        expose_headers: Some(owned(&[
            "ETag",
            "Content-Range",
            "Content-Length",
            "x-amz-checksum-sha256",
        ])),
        max_age_seconds: Some(600),
    }
}

fn allows(rule: &CORSRule, origin: &str, method: &str) -> bool {
    let mut origins = rule.allowed_origins.iter();
    origins.any(|pattern| matches(pattern, origin))
        && rule.allowed_methods.iter().any(|name| name == method)
}

/// Headers for the response to a request with an `Origin`; empty if no rule allows it.
pub(crate) fn response_headers(rules: &[CORSRule], request: &HeaderMap, method: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(origin) = text(request, &ORIGIN) else {
        return headers;
    };
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let Some(rule) = rules.iter().find(|rule| allows(rule, origin, method)) else {
        return headers;
    };
    allow_origin(&mut headers, rule, origin);
    let exposed = rule.expose_headers.as_deref().unwrap_or_default();
    list(&mut headers, ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers
}

/// The headers of the response to a preflight, or `None` if it is refused.
pub(crate) fn preflight(rules: &[CORSRule], request: &HeaderMap) -> Option<HeaderMap> {
    let origin = text(request, &ORIGIN)?;
    let method = text(request, &ACCESS_CONTROL_REQUEST_METHOD)?;
    let asked: Vec<String> = text(request, &ACCESS_CONTROL_REQUEST_HEADERS)
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    let allowed = |rule: &&CORSRule| {
        let allowed = rule.allowed_headers.as_deref().unwrap_or_default();
        let allowed = |name: &String| {
            allowed
                .iter()
                .any(|it| matches(&it.to_ascii_lowercase(), name))
        };
        allows(rule, origin, method) && asked.iter().all(allowed)
    };
    let rule = rules.iter().find(allowed)?;
    let mut headers = HeaderMap::new();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    allow_origin(&mut headers, rule, origin);
    list(
        &mut headers,
        ACCESS_CONTROL_ALLOW_METHODS,
        &rule.allowed_methods,
    );
    list(&mut headers, ACCESS_CONTROL_ALLOW_HEADERS, &asked);
    if let Some(seconds) = rule.max_age_seconds {
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
    }
    Some(headers)
}

fn allow_origin(headers: &mut HeaderMap, rule: &CORSRule, origin: &str) {
    let any = rule.allowed_origins.iter().any(|pattern| pattern == "*");
    let value = if any {
        Ok(HeaderValue::from_static("*"))
    } else {
        HeaderValue::from_str(origin)
    };
    if let Ok(value) = value {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    }
}

fn list(headers: &mut HeaderMap, name: HeaderName, values: &[String]) {
    if values.is_empty() {
        return;
    }
    if let Ok(value) = HeaderValue::from_str(&values.join(", ")) {
        headers.insert(name, value);
    }
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
