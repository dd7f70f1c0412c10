//! Cookies that belong to one host: `__Host-` names (RFC 6265bis, 4.1.3.2), which no other host, no
//! other path and no request without TLS can set.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

const PREFIX: &str = "__Host-";

/// A cookie for this host, unreadable for scripts.
#[derive(Clone, Copy, Debug)]
pub struct HostCookie<'a> {
    /// Without the prefix.
    pub name: &'a str,
    pub value: &'a str,
    /// Zero deletes it.
    pub max_age: Duration,
}

impl HostCookie<'_> {
    /// The value of `Set-Cookie`; `None` unless name and value consist of characters that a cookie may
    /// have: anything else could add an attribute or another header.
    pub fn to_header(self) -> Option<HeaderValue> {
        let is_plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
        };
        if self.name.is_empty() || !is_plain(self.name) || !is_plain(self.value) {
            return None;
        }
        let Self { name, value, .. } = self;
        let seconds = self.max_age.as_secs();
        let text = format!(
            "{PREFIX}{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax"
        );
        HeaderValue::try_from(text).ok()
    }
}

/// The value of a [`HostCookie`] in a request; `None` when it is there twice, since only one of them
/// can be what this host has set.
pub fn read_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(key, _)| key.strip_prefix(PREFIX) == Some(name));
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie<'a>(name: &'a str, value: &'a str) -> HostCookie<'a> {
        let max_age = Duration::from_mins(10);
        HostCookie {
            name,
            value,
            max_age,
        }
    }

    #[test]
    fn cookies_are_bound_to_the_host() {
        assert_eq!(
            cookie("pass", "a.b-c_d").to_header().unwrap(),
            "__Host-pass=a.b-c_d; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"
        );
        for (name, value) in [
            ("", "x"),
            ("a=b", "x"),
            ("a", "x; Domain=evil.example"),
            ("a", "x\r\nSet-Cookie: y"),
            ("a", "ü"),
        ] {
            assert_eq!(cookie(name, value).to_header(), None, "{name} {value}");
        }
    }

    #[test]
    fn only_the_prefixed_cookie_is_read_and_only_once() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, text.parse().unwrap());
            read_cookie(&headers, "pass").map(str::to_owned)
        };
        assert_eq!(read("a=b; __Host-pass=x.y; c=d").as_deref(), Some("x.y"));
        for text in [
            "pass=x",
            "__host-pass=x",
            "__Host-passx=x",
            "__Host-pass=x; __Host-pass=y",
            "",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
