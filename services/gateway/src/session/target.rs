//! Where a browser may be sent after a login or logout: pages of this host, and of hosts that the
//! configuration names. Anything else would make the gateway a door to other sites (open redirect).

use url::Url;

/// A longer one is not kept.
const MAX_BYTES: usize = 2048;

/// The places that are allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Targets<'t> {
    pub(super) base: &'t Url,
    /// Exact, or with a dot in front for all below.
    pub(super) hosts: &'t [String],
}

impl Targets<'_> {
    /// The target as it is sent to browsers: a path, or a URL of another allowed host. `None`: not allowed.
    pub(super) fn check(self, sent: &str) -> Option<String> {
        // What parsers remove or read in several ways.
        let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if sent.is_empty() || sent.len() > MAX_BYTES || !sent.bytes().all(is_plain) {
            return None;
        }
        // As browsers do it (WHATWG URL), and not by looking at the beginning.
        let url = self.base.join(sent).ok()?;
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        if url.origin() == self.base.origin() {
            let is_path = sent.starts_with('/') && !sent.starts_with("//");
            let is_whole = sent.starts_with("http://") || sent.starts_with("https://");
            return (is_path || is_whole).then(|| path_of(&url));
        }
        let is_allowed = url.scheme() == self.base.scheme()
            && url.host_str().is_some_and(|host| self.is_listed(host));
        is_allowed.then(|| url.to_string())
    }

    /// The target, or the front page.
    pub(super) fn or_front(self, sent: Option<&str>) -> String {
        let checked = sent.and_then(|sent| self.check(sent));
        checked.unwrap_or_else(|| "/".to_owned())
    }

    fn is_listed(self, host: &str) -> bool {
        self.hosts
            .iter()
            .any(|listed| match listed.strip_prefix('.') {
                Some(_) => host.ends_with(listed.as_str()),
                None => host == listed,
            })
    }
}

/// Path, query and fragment. A path of the parser begins with one slash and not with two: `//` is left as
/// it is by the parser, so that it is taken away here.
fn path_of(url: &Url) -> String {
    let rest = &url[url::Position::BeforePath..];
    format!("/{}", rest.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(sent: &str) -> Option<String> {
        let base: Url = "https://app.example.org".parse().unwrap();
        let hosts = [
            "wiki.example.org".to_owned(),
            ".apps.example.org".to_owned(),
        ];
        let targets = Targets {
            base: &base,
            hosts: &hosts,
        };
        targets.check(sent)
    }

    #[test]
    fn only_known_places_are_targets() {
        for (sent, expected) in [
            ("/", Some("/")),
            ("/a?b=c#d", Some("/a?b=c#d")),
            ("/a/../b", Some("/b")),
            ("/a//b", Some("/a//b")),
            ("https://app.example.org/x", Some("/x")),
            (
                "https://app.example.org//evil.example",
                Some("/evil.example"),
            ),
            ("/..//evil.example", Some("/evil.example")),
            (
                "https://wiki.example.org/x",
                Some("https://wiki.example.org/x"),
            ),
            (
                "https://a.apps.example.org/",
                Some("https://a.apps.example.org/"),
            ),
            ("https://apps.example.org/", None),
            ("https://xapps.example.org/", None),
            ("https://x.wiki.example.org/", None),
            ("http://wiki.example.org/x", None),
            ("http://app.example.org/x", None),
            ("https://app.example.org:8443/", None),
            ("https://app.example.org@evil.example/", None),
            ("https://user@app.example.org/", None),
            ("//evil.example", None),
            ("///evil.example", None),
            ("/\\evil.example", None),
            ("\\\\evil.example", None),
            ("/\t/evil.example", None),
            ("/\r\nSet-Cookie: a=b", None),
            (" /a", None),
            ("", None),
            ("a", None),
            ("?a", None),
            ("javascript:alert(1)", None),
            ("data:text/html,x", None),
            ("https:evil.example", None),
            ("https:/evil.example", None),
            ("https:///evil.example", None),
            ("/%09/evil.example", Some("/%09/evil.example")),
            ("/%5cevil.example", Some("/%5cevil.example")),
            ("/ü", None),
        ] {
            assert_eq!(check(sent).as_deref(), expected, "{sent:?}");
        }
        assert_eq!(
            check(&format!("/{}", "a".repeat(2047))).map(|it| it.len()),
            Some(2048)
        );
        assert_eq!(check(&format!("/{}", "a".repeat(2048))), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Whatever is accepted leads a browser, which resolves it against the page, to an allowed host.
        #[test]
        fn no_target_leads_elsewhere(
            start in prop::sample::select(vec!["/", "//", "///", "/\\", "https://", "https:", "http://", "/./", "/../", ""]),
            host in prop::sample::select(vec!["app.example.org", "evil.example", "wiki.example.org", "a.apps.example.org", ""]),
            rest in "[/\\\\@:?#.%a-z0-9\t\r\n ]{0,12}",
        ) {
            let sent = format!("{start}{host}{rest}");
            if let Some(target) = check(&sent) {
                let page: Url = "https://app.example.org/auth/callback".parse().unwrap();
                let led = page.join(&target).unwrap();
                let host = led.host_str().unwrap_or_default().to_owned();
                let allowed = ["app.example.org", "wiki.example.org"].contains(&host.as_str())
                    || host.ends_with(".apps.example.org");
                prop_assert!(allowed && led.scheme() == "https" && led.port().is_none(), "{sent:?} -> {target:?}");
                // A path stays one for readers that know nothing of URLs.
                prop_assert!(!target.starts_with("//") && !target.contains('\\'));
                prop_assert!(target.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
