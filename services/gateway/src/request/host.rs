//! One spelling of a host, made before routing.

use std::{borrow::Cow, net::Ipv6Addr};

/// A `Host` header or `:authority` in its one spelling.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Authority<'r> {
    /// In lower case, without the dot that ends a fully qualified name.
    pub(crate) host: Cow<'r, str>,
    /// Digits, or empty.
    pub(crate) port: &'r str,
}

impl<'r> Authority<'r> {
    /// `None`: not a host with an optional port.
    pub(crate) fn parse(raw: &'r str) -> Option<Self> {
        let (name, port) = match raw.rfind(':') {
            Some(colon) if !raw.ends_with(']') => (&raw[..colon], &raw[colon + 1..]),
            _ => (raw, ""),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_port = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
        if !is_port || !(is_name(name) || is_ipv6(name)) {
            return None;
        }
        let host = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Some(Self { host, port })
    }

    /// Whether a `Host` header says this in its one spelling.
    pub(crate) fn is_spelled(&self, sent: &str) -> bool {
        match sent.strip_prefix(&*self.host) {
            Some("") => self.port.is_empty(),
            Some(rest) => !self.port.is_empty() && rest.strip_prefix(':') == Some(self.port),
            None => false,
        }
    }

    /// The value of a `Host` header.
    pub(crate) fn to_text(&self) -> String {
        if self.port.is_empty() {
            self.host.clone().into_owned()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_allowed);
    name.len() <= 253 && name.split('.').all(is_label)
}

fn is_ipv6(name: &str) -> bool {
    let inner = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_spelling() {
        let table = [
            (
                "Secret.Example.org.:8080",
                Some(("secret.example.org", "8080")),
            ),
            ("a.example:", Some(("a.example", ""))),
            ("[::1]:80", Some(("[::1]", "80"))),
            ("[::1]", Some(("[::1]", ""))),
            ("10.0.0.1", Some(("10.0.0.1", ""))),
            ("", None),
            (".", None),
            ("a..", None),
            ("a..b", None),
            (".a", None),
            ("a:b", None),
            ("a:123456", None),
            ("user@a", None),
            ("a/b", None),
            ("::1", None),
            ("[::1", None),
            ("[a]", None),
            ("a b", None),
            ("a%2eb", None),
        ];
        for (raw, expected) in table {
            let parsed = Authority::parse(raw);
            let parsed = parsed.as_ref().map(|a| (&*a.host, a.port));
            assert_eq!(parsed, expected, "{raw:?}");
            if let Some(parsed) = Authority::parse(raw) {
                let is_spelled = parsed.to_text() == raw;
                assert_eq!(parsed.is_spelled(raw), is_spelled, "{raw:?}");
            }
        }
    }
}
