//! Whether a request will meet a condition on a header, as far as its preflight says.

use http::{HeaderName, header};

use super::condition::{ExpectedValue, HeaderCondition};
use crate::request::Headers;

/// What the announced request will be, as far as a preflight says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Forecast {
    No,
    Maybe,
    Yes,
}

/// Headers that a preflight has with the values of the request.
static SHARED: [HeaderName; 3] = [header::HOST, header::ORIGIN, header::USER_AGENT];

/// Headers that a request may have without being announced: a page may set them freely (Fetch, 2.2.2), or
/// browsers do.
const UNANNOUNCED: [&str; 26] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-language",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "expect",
    "keep-alive",
    "pragma",
    "priority",
    "range",
    "referer",
    "save-data",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "via",
];
const UNANNOUNCED_PREFIXES: [&str; 3] = ["sec-", "proxy-", "if-"];

impl HeaderCondition {
    /// Whether the request that a preflight with these headers announces will meet the condition.
    pub(super) fn forecast(&self, preflight: &dyn Headers) -> Forecast {
        let known = |matches| if matches { Forecast::Yes } else { Forecast::No };
        if SHARED.contains(&self.name) {
            return known(self.matches(preflight));
        }
        let name = self.name.as_str();
        let is_announced = preflight.lists(header::ACCESS_CONTROL_REQUEST_HEADERS, name);
        let may_be_sent = is_announced
            || UNANNOUNCED.contains(&name)
            || UNANNOUNCED_PREFIXES.iter().any(|it| name.starts_with(it));
        match &self.wanted {
            ExpectedValue::Value(_) if may_be_sent => Forecast::Maybe,
            ExpectedValue::Value(_) => Forecast::No,
            ExpectedValue::Present if is_announced => Forecast::Yes,
            ExpectedValue::Absent if is_announced => Forecast::No,
            ExpectedValue::Present | ExpectedValue::Absent if may_be_sent => Forecast::Maybe,
            wanted => known(*wanted == ExpectedValue::Absent),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::request::header_map;

    fn preflight(headers: &'static str) -> HeaderMap {
        header_map(&[
            ("origin", "https://a.example"),
            ("access-control-request-headers", headers),
        ])
    }

    #[test]
    fn what_is_announced_is_known_and_its_value_is_not() {
        let value = || ExpectedValue::Value(HeaderValue::from_static("1"));
        for (name, announced, value_is, present, absent) in [
            (
                "x-beta",
                "x-beta",
                Forecast::Maybe,
                Forecast::Yes,
                Forecast::No,
            ),
            (
                "x-beta",
                "a, X-Beta",
                Forecast::Maybe,
                Forecast::Yes,
                Forecast::No,
            ),
            (
                "x-beta",
                "x-betas",
                Forecast::No,
                Forecast::No,
                Forecast::Yes,
            ),
            ("x-beta", "", Forecast::No, Forecast::No, Forecast::Yes),
            (
                "cookie",
                "",
                Forecast::Maybe,
                Forecast::Maybe,
                Forecast::Maybe,
            ),
            (
                "sec-fetch-site",
                "",
                Forecast::Maybe,
                Forecast::Maybe,
                Forecast::Maybe,
            ),
            (
                "content-type",
                "content-type",
                Forecast::Maybe,
                Forecast::Yes,
                Forecast::No,
            ),
            ("origin", "", Forecast::No, Forecast::Yes, Forecast::No),
        ] {
            let headers = preflight(announced);
            let forecast = |wanted| {
                let name = HeaderName::from_static(name);
                HeaderCondition { name, wanted }.forecast(&headers)
            };
            let all = [value(), ExpectedValue::Present, ExpectedValue::Absent].map(forecast);
            assert_eq!(all, [value_is, present, absent], "{name} {announced}");
        }
    }
}
