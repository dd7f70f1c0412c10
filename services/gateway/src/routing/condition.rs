//! What a route demands of the headers and of the query beside host, path and method.

use http::{HeaderName, HeaderValue};
use url::form_urlencoded;

use crate::request::Headers;

/// What a header or a parameter must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedValue<V> {
    Value(V),
    /// Any value, also an empty one.
    Present,
    Absent,
}

/// A header that decides about the route. Any of its occurrences may have the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderCondition {
    pub(crate) name: HeaderName,
    pub(crate) wanted: ExpectedValue<HeaderValue>,
}

/// A parameter of the query that decides about the route. The first of its name counts, as for nginx,
/// `HAProxy` and Envoy: a list of values has no meaning that all upstreams share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryCondition {
    /// Decoded, as the value is.
    pub(crate) name: String,
    pub(crate) wanted: ExpectedValue<String>,
}

impl HeaderCondition {
    pub(crate) fn matches(&self, headers: &dyn Headers) -> bool {
        match &self.wanted {
            ExpectedValue::Present => headers.first(&self.name).is_some(),
            ExpectedValue::Absent => headers.first(&self.name).is_none(),
            ExpectedValue::Value(value) => {
                let mut sent = headers.all(self.name.clone());
                sent.any(|sent| sent == value.as_bytes())
            }
        }
    }
}

impl QueryCondition {
    /// `query` may begin with its question mark. A plus sign is a space, as forms send it.
    pub(crate) fn matches(&self, query: &str) -> bool {
        let query = query.strip_prefix('?').unwrap_or(query);
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        let sent = parameters.find(|(name, _)| *name == self.name);
        match (&self.wanted, sent) {
            (ExpectedValue::Value(value), Some((_, sent))) => sent == value.as_str(),
            (ExpectedValue::Present, sent) => sent.is_some(),
            (ExpectedValue::Absent, sent) => sent.is_none(),
            (ExpectedValue::Value(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts() {
        let value = |value: &str| ExpectedValue::Value(value.to_owned());
        for (wanted, query, expected) in [
            (value("1"), "?v=1", true),
            (value("1"), "?a=b&v=1", true),
            (value("1"), "?v=1&v=2", true),
            (value("2"), "?v=1&v=2", false),
            (value("1"), "?v=11", false),
            (value("1"), "?V=1", false),
            (value("1"), "?vv=1", false),
            (value("1"), "?a=v=1", false),
            (value("1"), "?a;v=1", false),
            (value("1"), "?%76=%31", true),
            (value("1"), "", false),
            (value("a b"), "?v=a+b", true),
            (value("a b"), "?v=a%20b", true),
            (value("a+b"), "?v=a%2Bb", true),
            (value("é"), "?v=%C3%A9", true),
            (value(""), "?v", true),
            (value(""), "?v=", true),
            (value(""), "?w", false),
            (ExpectedValue::Present, "?v", true),
            (ExpectedValue::Present, "?v=x", true),
            (ExpectedValue::Present, "?&&v", true),
            (ExpectedValue::Present, "?", false),
            (ExpectedValue::Absent, "?w=1", true),
            (ExpectedValue::Absent, "", true),
            (ExpectedValue::Absent, "?v", false),
        ] {
            let condition = QueryCondition {
                name: "v".to_owned(),
                wanted: wanted.clone(),
            };
            assert_eq!(condition.matches(query), expected, "{wanted:?} {query}");
        }
    }

    #[test]
    fn headers_are_compared_present_or_absent() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let matches = |name: &'static str, wanted| {
            let name = HeaderName::from_static(name);
            HeaderCondition { name, wanted }.matches(&headers)
        };
        assert!(matches(
            "x-a",
            ExpectedValue::Value(HeaderValue::from_static("2"))
        ));
        assert!(!matches(
            "x-a",
            ExpectedValue::Value(HeaderValue::from_static(""))
        ));
        assert!(matches("x-a", ExpectedValue::Present) && !matches("x-b", ExpectedValue::Present));
        assert!(matches("x-b", ExpectedValue::Absent) && !matches("x-a", ExpectedValue::Absent));
    }
}
