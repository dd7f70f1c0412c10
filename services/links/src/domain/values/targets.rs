//! Target URLs: where links redirect to.

use quartet_common::problem::Rule;
use url::{Host, ParseError, Url};

use super::domains::Domains;

const MAX_BYTES: usize = 8192;

/// A valid target URL: http or https, normalized, visible ASCII, at most 8192 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target(Url);

/// The hosts that serve short links. A link to one of them would be a loop.
#[derive(Clone, Debug)]
pub(crate) struct OwnHosts {
    hosts: Vec<(String, Option<u16>)>,
    /// Each on every port: it is not known on which one they are served.
    domains: Domains,
}

impl OwnHosts {
    /// The host of the short URLs, and others as `host` or `host:port`.
    pub(crate) fn new(short_url: &Url, others: &[String], domains: Domains) -> Self {
        let others = others
            .iter()
            .filter_map(|other| Url::parse(&format!("http://{other}/")).ok());
        let hosts = std::iter::once(short_url.clone()).chain(others);
        Self {
            hosts: hosts
                .filter_map(|url| Some((host_of(&url)?, port_of(&url))))
                .collect(),
            domains,
        }
    }

    fn contains(&self, url: &Url) -> bool {
        let Some(host) = host_of(url) else {
            return false;
        };
        let is_own = |(own, port): &(String, _)| *own == host && *port == port_of(url);
        self.hosts.iter().any(is_own) || self.domains.contains(&host)
    }
}

impl Target {
    pub(crate) fn parse(text: &str, own: &OwnHosts) -> Result<Self, Rule> {
        let too_long = || Rule::new("too_long", format!("must have at most {MAX_BYTES} bytes"));
        if text.len() > MAX_BYTES {
            return Err(too_long());
        }
        // The URL parser silently drops tabs, newlines and surrounding whitespace.
        if text.chars().any(char::is_control) || text.trim() != text {
            let detail = "must not contain control characters, nor start or end with whitespace";
            return Err(Rule::new("invalid_characters", detail));
        }
        let url = Url::parse(text).map_err(|error| {
            let rule = "must be an absolute URL such as https://example.com";
            match error {
                ParseError::RelativeUrlWithoutBase => Rule::new("invalid_url", rule),
                other => Rule::new("invalid_url", format!("{rule}: {other}")),
            }
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Rule::new(
                "invalid_scheme",
                "must start with http:// or https://",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Rule::new(
                "userinfo",
                "must not contain a user name or a password",
            ));
        }
        if own.contains(&url) {
            let detail = "must not point to a host of the short links, which would be a loop";
            return Err(Rule::new("loop", detail));
        }
        // Percent-encoding can make the URL longer.
        if url.as_str().len() > MAX_BYTES {
            return Err(too_long());
        }
        Ok(Self(url))
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.0.into()
    }
}

/// The host in one spelling: a trailing dot does not change it, nor that an IPv4 address is written as
/// an IPv6 one (`[::ffff:127.0.0.1]`).
fn host_of(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        Host::Ipv4(ip) => Some(ip.to_string()),
        Host::Ipv6(ip) => Some(ip.to_canonical().to_string()),
    }
}

/// `None` for 80 and 443, which serve the same site.
fn port_of(url: &Url) -> Option<u16> {
    url.port_or_known_default()
        .filter(|port| !matches!(port, 80 | 443))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn domains() -> Domains {
        let domains = Domains::default();
        let id = uuid::Uuid::from_u128(1).into();
        let host = "brand.example".into();
        domains.replace(vec![crate::store::domains::DomainRow { id, host }]);
        domains
    }

    fn own() -> OwnHosts {
        OwnHosts::new(
            &"https://go.example.com/s/".parse().unwrap(),
            &[
                "localhost:8080".into(),
                "[::1]:8080".into(),
                "127.0.0.1:8080".into(),
            ],
            domains(),
        )
    }

    fn code(text: &str) -> &'static str {
        Target::parse(text, &own()).unwrap_err().code
    }

    #[test]
    fn valid_urls_are_normalized() {
        let parse = |text| String::from(Target::parse(text, &own()).unwrap());
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
    fn a_url_without_a_scheme_gets_the_rule_alone() {
        let detail = |text: &str| Target::parse(text, &own()).unwrap_err().detail;
        let rule = "must be an absolute URL such as https://example.com";
        assert_eq!(detail("nonsense"), rule);
        assert_eq!(detail("https://"), format!("{rule}: empty host"));
    }

    #[test]
    fn invalid_urls_are_rejected_with_a_code() {
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
    fn own_hosts_are_recognized_in_every_spelling() {
        for text in [
            "https://go.example.com/s/abc",
            "http://go.example.com/elsewhere",
            "https://GO.Example.COM./s/abc",
            "https://go.example.com:443/s/abc",
            "http:\\\\go.example.com\\s\\abc",
            "https://go%2eexample.com/s/abc",
            "http://localhost:8080/s/abc",
            "http://[0:0::1]:8080/s/abc",
            "http://[::ffff:127.0.0.1]:8080/s/abc",
            "http://[::ffff:7f00:1]:8080/s/abc",
            "https://brand.example/s/abc",
            "http://BRAND.example.:8080/",
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
        fn valid_urls_are_visible_ascii_and_parse_to_themselves(text in "https?://[a-z.:@/?#%\\[\\]\\\\0-9 üß]{0,40}") {
            if let Ok(target) = Target::parse(&text, &own()) {
                let text = String::from(target.clone());
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert_eq!(Target::parse(&text, &own()), Ok(target));
            }
        }
    }
}
