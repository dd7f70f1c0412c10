//! Targets: where a link leads.

use http::HeaderValue;
use quartet_common::problem::Rule;
use url::{Host, Url};

const MAX_BYTES: usize = 8192;

/// An address that a link may lead to: http or https, normalised, at most 8 KB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target(Url);

/// The hosts under which short links are served. Links to them would be loops.
#[derive(Clone, Debug)]
pub(crate) struct OwnHosts(Vec<(String, Option<u16>)>);

impl OwnHosts {
    /// The host of the short address, and others as `host` or `host:port`.
    pub(crate) fn new(short_url: &Url, others: &[String]) -> Self {
        let others = others
            .iter()
            .filter_map(|other| Url::parse(&format!("http://{other}/")).ok());
        let hosts = std::iter::once(short_url.clone()).chain(others);
        Self(
            hosts
                .filter_map(|url| Some((host_of(&url)?, port_of(&url))))
                .collect(),
        )
    }

    fn contain(&self, url: &Url) -> bool {
        let Some(host) = host_of(url) else {
            return false;
        };
        self.0
            .iter()
            .any(|(own, port)| *own == host && *port == port_of(url))
    }
}

impl Target {
    pub(crate) fn parse(text: &str, own: &OwnHosts) -> Result<Self, Rule> {
        let too_long = || Rule::new("too_long", format!("must have at most {MAX_BYTES} bytes"));
        if text.len() > MAX_BYTES {
            return Err(too_long());
        }
        // The parser drops tabs, line ends and blanks at the ends; here they are refused.
        if text.chars().any(char::is_control) || text.trim() != text {
            let detail = "must not hold control characters, nor begin or end with blanks";
            return Err(Rule::new("invalid_characters", detail));
        }
        let url = Url::parse(text).map_err(|error| {
            Rule::new(
                "invalid_url",
                format!("must be an absolute address: {error}"),
            )
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Rule::new(
                "invalid_scheme",
                "must begin with http:// or https://",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Rule::new(
                "userinfo",
                "must not hold a user name or a password",
            ));
        }
        if own.contain(&url) {
            let detail = "must not lead to the host of the short links: it would be a loop";
            return Err(Rule::new("loop", detail));
        }
        // Percent-encoding makes an address longer.
        if url.as_str().len() > MAX_BYTES {
            return Err(too_long());
        }
        Ok(Self(url))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The address as a `Location` header. Stored targets are ASCII without control characters.
pub(crate) fn location(url: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(url).ok()
}

/// In one spelling: a final dot names the same host.
fn host_of(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        Host::Ipv4(ip) => Some(ip.to_string()),
        Host::Ipv6(ip) => Some(ip.to_string()),
    }
}

/// `None` stands for 80 and 443: the same site is served on both.
fn port_of(url: &Url) -> Option<u16> {
    url.port_or_known_default()
        .filter(|port| !matches!(port, 80 | 443))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own() -> OwnHosts {
        OwnHosts::new(
            &"https://go.example.com/s/".parse().unwrap(),
            &["localhost:8080".into(), "[::1]:8080".into()],
        )
    }

    fn code(text: &str) -> &'static str {
        Target::parse(text, &own()).unwrap_err().code
    }

    #[test]
    fn good_addresses_are_normalised() {
        let parse = |text| Target::parse(text, &own()).unwrap().as_str().to_owned();
        assert_eq!(
            parse("HTTP://EXAMPLE.com/a b?q=ü#x"),
            "http://example.com/a%20b?q=%C3%BC#x"
        );
        assert_eq!(
            parse("https://bücher.example/"),
            "https://xn--bcher-kva.example/"
        );
        assert_eq!(
            parse("http://example.com/?redirect=https://go.example.com/"),
            "http://example.com/?redirect=https://go.example.com/"
        );
    }

    #[test]
    fn bad_addresses_are_refused_by_name() {
        let long = format!("https://example.com/{}", "a".repeat(MAX_BYTES));
        let grows = format!("https://example.com/{}", "ü".repeat(3000));
        let cases = [
            ("", "invalid_url"),
            ("example.com", "invalid_url"),
            ("/relative", "invalid_url"),
            ("https://", "invalid_url"),
            ("http://[::1", "invalid_url"),
            ("http://exa mple.com", "invalid_url"),
            ("javascript:alert(1)", "invalid_scheme"),
            ("data:text/html,hi", "invalid_scheme"),
            ("ftp://example.com/", "invalid_scheme"),
            ("https://user@example.com/", "userinfo"),
            ("https://user:pass@example.com/", "userinfo"),
            ("https://:pass@example.com/", "userinfo"),
            ("java\nscript:alert(1)", "invalid_characters"),
            ("https://example.com/\0", "invalid_characters"),
            ("https://example.com/\u{85}", "invalid_characters"),
            (" https://example.com/", "invalid_characters"),
            (&long, "too_long"),
            (&grows, "too_long"),
        ];
        for (text, expected) in cases {
            assert_eq!(code(text), expected, "{text:.80}");
        }
    }

    #[test]
    fn loops_are_seen_in_every_spelling() {
        for text in [
            "https://go.example.com/s/abc",
            "http://go.example.com/elsewhere",
            "https://GO.Example.COM./s/abc",
            "https://go.example.com:443/s/abc",
            "http:\\\\go.example.com\\s\\abc",
            "https://go%2eexample.com/s/abc",
            "http://localhost:8080/s/abc",
            "http://[0:0::1]:8080/s/abc",
        ] {
            assert_eq!(code(text), "loop", "{text}");
        }
        assert!(
            Target::parse("http://localhost:9000/x", &own()).is_ok(),
            "another port"
        );
        assert!(Target::parse("https://example.com/", &own()).is_ok());
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_a_header_value_and_stays_the_same(text in "https?://[a-z.:@/?#%\\[\\]\\\\0-9 üß]{0,40}") {
            if let Ok(target) = Target::parse(&text, &own()) {
                prop_assert!(location(target.as_str()).is_some());
                prop_assert_eq!(Target::parse(target.as_str(), &own()), Ok(target.clone()));
            }
        }
    }
}
