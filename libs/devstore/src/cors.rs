//! Cross-origin answers: rules of a bucket, or of the server where the bucket has none.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// One rule of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) id: Option<String>,
    pub(crate) origins: Vec<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) headers: Vec<String>,
    pub(crate) expose: Vec<String>,
    pub(crate) max_age_seconds: Option<i32>,
}

impl Rule {
    /// The rule of a bucket that has none: everything an upload from a page needs.
    pub(crate) fn permissive(origins: &[String]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            id: None,
            origins: origins.to_vec(),
            methods: owned(&["GET", "HEAD", "PUT", "POST", "DELETE"]),
            headers: owned(&["*"]),
            expose: owned(&[
                "ETag",
                "Content-Range",
                "Content-Length",
                "x-amz-checksum-sha256",
            ]),
            max_age_seconds: Some(600),
        }
    }

    fn allows(&self, origin: &str, method: &str) -> bool {
        self.origins.iter().any(|pattern| matches(pattern, origin))
            && self.methods.iter().any(|name| name == method)
    }
}

/// Headers for the answer to a request that carries an `Origin`; empty when no rule allows it.
pub(crate) fn response_headers(rules: &[Rule], request: &HeaderMap, method: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(origin) = text(request, &ORIGIN) else {
        return headers;
    };
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    let Some(rule) = rules.iter().find(|rule| rule.allows(origin, method)) else {
        return headers;
    };
    allow_origin(&mut headers, rule, origin);
    list(&mut headers, ACCESS_CONTROL_EXPOSE_HEADERS, &rule.expose);
    headers
}

/// The answer to a preflight, or `None` when it is refused.
pub(crate) fn preflight(rules: &[Rule], request: &HeaderMap) -> Option<HeaderMap> {
    let origin = text(request, &ORIGIN)?;
    let method = text(request, &ACCESS_CONTROL_REQUEST_METHOD)?;
    let asked: Vec<String> = text(request, &ACCESS_CONTROL_REQUEST_HEADERS)
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect();
    let allowed = |rule: &&Rule| {
        rule.allows(origin, method)
            && asked.iter().all(|name| {
                rule.headers
                    .iter()
                    .any(|pattern| matches(&pattern.to_ascii_lowercase(), name))
            })
    };
    let rule = rules.iter().find(allowed)?;
    let mut headers = HeaderMap::new();
    headers.insert(VARY, HeaderValue::from_static("Origin"));
    allow_origin(&mut headers, rule, origin);
    list(&mut headers, ACCESS_CONTROL_ALLOW_METHODS, &rule.methods);
    list(&mut headers, ACCESS_CONTROL_ALLOW_HEADERS, &asked);
    if let Some(seconds) = rule.max_age_seconds {
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(seconds));
    }
    Some(headers)
}

fn allow_origin(headers: &mut HeaderMap, rule: &Rule, origin: &str) {
    let any = rule.origins.iter().any(|pattern| pattern == "*");
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

/// Whether `pattern`, with at most one `*`, covers `value`.
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
    fn a_star_covers_any_middle() {
        assert!(matches("*", "https://a.example"));
        assert!(matches("https://*.example", "https://a.example"));
        assert!(!matches("https://*.example", "https://a.other"));
        assert!(!matches("ab*ba", "aba"));
        assert!(matches("exact", "exact"));
        assert!(!matches("exact", "exactly"));
    }
}
