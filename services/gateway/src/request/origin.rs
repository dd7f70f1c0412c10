//! Origins of web pages (RFC 6454), as the header `Origin` and the configuration write them.

use http::{Method, header};

use super::{headers::Headers, host::Authority};

/// `https://app.example.org:8443` in parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WebOrigin<'o> {
    pub(crate) scheme: &'o str,
    pub(crate) host: &'o str,
    /// Empty: that of the scheme.
    pub(crate) port: &'o str,
}

impl<'o> WebOrigin<'o> {
    /// `None`: not an origin in the one spelling that browsers send. `null` is none either.
    pub(crate) fn parse(text: &'o str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
        if !scheme.starts_with(|first: char| first.is_ascii_lowercase())
            || !scheme.bytes().all(is_allowed)
        {
            return None;
        }
        let authority = Authority::parse(rest).filter(|authority| authority.is_spelled(rest))?;
        let port = authority.port;
        let is_port = port.is_empty() || (!port.starts_with('0') && port.parse::<u16>().is_ok());
        if !is_port || default_port(scheme) == Some(port) {
            return None;
        }
        let host = &rest[..authority.host.len()];
        Some(Self { scheme, host, port })
    }

    /// Whether a page of this origin was loaded from the host that a request is sent to.
    pub(crate) fn is_of(&self, authority: &Authority<'_>) -> bool {
        let default = default_port(self.scheme).unwrap_or_default();
        let port = |port: &'_ str| -> bool {
            let own = Some(self.port).filter(|own| !own.is_empty());
            let other = Some(port).filter(|other| !other.is_empty());
            own.unwrap_or(default) == other.unwrap_or(default)
        };
        *self.host == *authority.host && port(authority.port)
    }
}

fn default_port(scheme: &str) -> Option<&'static str> {
    match scheme {
        "https" | "wss" => Some("443"),
        "http" | "ws" => Some("80"),
        _ => None,
    }
}

/// Origins that a configuration allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OriginPattern {
    /// `*`
    Any,
    /// `null`: pages without an origin, such as those in a sandbox.
    Null,
    Exact(Box<str>),
    /// `https://*.example.org`: hosts that end with the suffix, which starts with a dot.
    Subdomains {
        scheme: Box<str>,
        suffix: Box<str>,
        port: Box<str>,
    },
}

impl OriginPattern {
    /// # Errors
    /// The rule that the text breaks.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rule = "must be an origin such as https://app.example.org or https://*.example.org, in \
                    lower case, without a path, and without the default port of its scheme";
        match text {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Null),
            _ => {}
        }
        if let Some((scheme, name)) = text.split_once("://*.") {
            let plain = format!("{scheme}://{name}");
            let origin = WebOrigin::parse(&plain).filter(|origin| !origin.host.starts_with('['));
            let origin = origin.ok_or(rule)?;
            return Ok(Self::Subdomains {
                scheme: origin.scheme.into(),
                suffix: format!(".{}", origin.host).into(),
                port: origin.port.into(),
            });
        }
        WebOrigin::parse(text).ok_or(rule)?;
        Ok(Self::Exact(text.into()))
    }

    /// `origin` is the value of a header.
    pub(crate) fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Null => origin == "null",
            Self::Exact(known) => **known == *origin,
            Self::Subdomains {
                scheme,
                suffix,
                port,
            } => WebOrigin::parse(origin).is_some_and(|origin| {
                *origin.scheme == **scheme
                    && *origin.port == **port
                    && origin.host.len() > suffix.len()
                    && origin.host.ends_with(&**suffix)
            }),
        }
    }
}

/// The method of the request that a browser asks for in advance (Fetch, 4.8).
pub(crate) fn preflight_method(method: &Method, headers: &dyn Headers) -> Option<Method> {
    if *method != Method::OPTIONS || headers.first(&header::ORIGIN).is_none() {
        return None;
    }
    let asked = headers.first(&header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz;

    #[test]
    fn origins_are_matched_whole() {
        let exact = "https://app.example.org";
        let wildcard = "https://*.example.org";
        for (pattern, origin, expected) in [
            (exact, "https://app.example.org", true),
            (exact, "http://app.example.org", false),
            (exact, "https://app.example.org:8443", false),
            (exact, "https://app.example.org/", false),
            (exact, "https://APP.example.org", false),
            (exact, "https://app.example.org.evil", false),
            (exact, "null", false),
            (wildcard, "https://a.example.org", true),
            (wildcard, "https://a.b.example.org", true),
            (wildcard, "https://example.org", false),
            (wildcard, "https://.example.org", false),
            (wildcard, "https://evilexample.org", false),
            (wildcard, "https://example.org.evil", false),
            (wildcard, "https://a.example.org.evil", false),
            (wildcard, "https://evil.org/.example.org", false),
            (wildcard, "https://evil.org?.example.org", false),
            (wildcard, "https://evil.org#.example.org", false),
            (wildcard, "https://evil.org\\.example.org", false),
            (wildcard, "https://user@a.example.org", false),
            (wildcard, "https://evil.org:80@a.example.org", false),
            (wildcard, "https://a.example.org:8443", false),
            (wildcard, "https://a.example.org:443", false),
            (wildcard, "https://a.example.org.", false),
            (wildcard, "https://a..example.org", false),
            (wildcard, "https://A.example.org", false),
            (wildcard, "https://a.example.org https://evil.org", false),
            (wildcard, "http://a.example.org", false),
            (wildcard, "null", false),
            (wildcard, "", false),
            (
                "https://*.example.org:8443",
                "https://a.example.org:8443",
                true,
            ),
            (
                "https://*.example.org:8443",
                "https://a.example.org:84430",
                false,
            ),
            ("http://localhost:3000", "http://localhost:3000", true),
            ("http://[::1]:3000", "http://[::1]:3000", true),
            ("null", "null", true),
            ("null", "NULL", false),
            ("*", "https://any.example", true),
        ] {
            let parsed = OriginPattern::parse(pattern).unwrap();
            assert_eq!(parsed.matches(origin), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn patterns_are_origins_in_one_spelling() {
        for wrong in [
            "",
            "app.example.org",
            "https://",
            "https://app.example.org/",
            "https://App.example.org",
            "https://app.example.org:443",
            "http://app.example.org:80",
            "http://app.example.org:0",
            "http://app.example.org:70000",
            "https://*",
            "https://*.",
            "https://*.example.org/",
            "https://*.*.example.org",
            "https://a.*.example.org",
            "https://*example.org",
            "https://user@example.org",
            "*.example.org",
            "https://a b",
        ] {
            assert!(OriginPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_is_of_the_host_that_it_was_loaded_from() {
        for (origin, host, expected) in [
            ("https://a.example", "a.example", true),
            ("https://a.example", "a.example:443", true),
            ("http://a.example", "a.example:80", true),
            ("http://a.example:8080", "A.example.:8080", true),
            ("https://a.example", "a.example:80", false),
            ("http://a.example:8080", "a.example", false),
            ("https://b.example", "a.example", false),
            ("https://a.example.evil", "a.example", false),
            ("http://[::1]:1", "[::1]:1", true),
        ] {
            let origin = WebOrigin::parse(origin).unwrap();
            let authority = Authority::parse(host).unwrap();
            assert_eq!(origin.is_of(&authority), expected, "{origin:?} {host}");
        }
    }

    /// Whatever a wildcard matches is a subdomain, by a reading that knows nothing of this parser.
    fn is_a_subdomain(input: &[u8]) -> Result<(), TestCaseError> {
        let text = String::from_utf8_lossy(input);
        let pattern = OriginPattern::parse("https://*.example.org").unwrap();
        if pattern.matches(&text) {
            let url = reqwest::Url::parse(&text);
            let url = url.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            prop_assert_eq!(url.scheme(), "https");
            prop_assert_eq!(url.port(), None);
            prop_assert_eq!(url.username(), "");
            prop_assert_eq!(url.path(), "/");
            let host = url.host_str().unwrap_or_default();
            prop_assert!(host.ends_with(".example.org"), "{}", host);
            prop_assert_eq!(url.origin().ascii_serialization(), &*text);
        }
        if let Ok(OriginPattern::Exact(exact)) = OriginPattern::parse(&text) {
            prop_assert_eq!(&*exact, &*text);
        }
        Ok(())
    }

    #[test]
    fn fuzz_origins() {
        let dictionary = [
            "https://",
            "http://",
            "*.",
            "*",
            "null",
            ".example.org",
            "example.org",
            "evil",
            "@",
            ":",
            ":443",
            ":8443",
            "/",
            "\\",
            "?",
            "#",
            ".",
            "..",
            "[::1]",
            "%2e",
            " ",
            "A",
        ];
        fuzz::run("origins", &dictionary, is_a_subdomain);
    }
}
