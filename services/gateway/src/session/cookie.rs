//! The cookies of a login: that of the session, and that of the browser while it logs in.
//!
//! Tabs that open at once, as after a restart of the browser, have no cookie yet, and each gets one of its
//! own. Under one name, the last would replace the others, and their logins would fail. So the name has a
//! part of the hash of the value.

use std::time::Duration;

use http::{HeaderValue, header};

use super::ids::SessionKey;
use crate::{
    config::logins::LoginConfig,
    request::{Headers, cookie_pairs},
};

/// Of one name in a request: another path or host may have set some, and only one is right.
const MAX_TRIED: usize = 8;
/// Tabs that open at once.
const MAX_FLOW_COOKIES: usize = 32;
const FLOW: &str = "_flow_";
const TAG_BYTES: usize = 8;

/// The names of a login's cookies.
#[derive(Clone, Debug)]
pub(super) struct Cookies {
    pub(super) session: Box<str>,
    /// Of the names of the others.
    flow: Box<str>,
    insecure: bool,
}

impl Cookies {
    pub(super) fn new(config: &LoginConfig) -> Self {
        Self {
            session: config.cookie.as_str().into(),
            flow: format!("{}{FLOW}", config.cookie).into(),
            insecure: config.insecure,
        }
    }

    /// `None`: until the browser is closed.
    pub(super) fn set(&self, name: &str, value: &str, max_age: Option<Duration>) -> HeaderValue {
        let secure = if self.insecure { "" } else { "; Secure" };
        let age = max_age.map_or(String::new(), |age| format!("; Max-Age={}", age.as_secs()));
        let text = format!("{name}={value}; Path=/{age}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::try_from(text).expect("names were checked, and values are base64")
    }

    /// Names the browser while it logs in.
    pub(super) fn set_flow(&self, browser: &str, max_age: Duration) -> HeaderValue {
        let tag = &SessionKey::of(browser.as_bytes()).hex()[..TAG_BYTES];
        self.set(&format!("{}{tag}", self.flow), browser, Some(max_age))
    }

    /// What the browser was named while it logs in: names of cookies and their values.
    pub(super) fn flows<'h>(
        &'h self,
        headers: &'h dyn Headers,
    ) -> impl Iterator<Item = (&'h str, &'h str)> {
        let pairs = headers.all(header::COOKIE).flat_map(cookie_pairs);
        let flows = pairs.filter_map(move |(name, value)| {
            let tag = name.strip_prefix(self.flow.as_bytes())?;
            let key = SessionKey::of_sent(value)?;
            if key.hex().as_bytes().get(..TAG_BYTES) != Some(tag) {
                return None;
            }
            Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?))
        });
        flows.take(MAX_FLOW_COOKIES)
    }

    pub(super) fn clear(&self, name: &str) -> HeaderValue {
        self.set(name, "", Some(Duration::ZERO))
    }
}

/// Whether a cookie is of the login whose session has this one.
pub(crate) fn is_of_login(session: &str, name: &[u8]) -> bool {
    let rest = name.strip_prefix(session.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(FLOW.as_bytes()))
}

/// The keys of all cookies of this name, as far as they may be ours.
pub(super) fn keys<'h>(
    headers: &'h dyn Headers,
    name: &'h str,
) -> impl Iterator<Item = SessionKey> + 'h {
    headers
        .cookies(name)
        .take(MAX_TRIED)
        .filter_map(SessionKey::of_sent)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, header};

    use super::*;
    use crate::session::ids::random_name;

    #[test]
    fn every_cookie_of_a_name_is_tried() {
        let (one, other) = (random_name(), random_name());
        let mut sent = HeaderMap::new();
        for text in [
            format!("a=b; s={one}; s=old; xs={other}"),
            format!("s={other}; s=; s"),
        ] {
            sent.append(header::COOKIE, text.parse().unwrap());
        }
        let found: Vec<_> = keys(&sent, "s").collect();
        let expected = [one, other].map(|name| SessionKey::of(name.as_bytes()));
        assert_eq!(found, expected);
        let many = format!("s={}", random_name());
        sent.insert(header::COOKIE, vec![many; 50].join("; ").parse().unwrap());
        assert_eq!(keys(&sent, "s").count(), MAX_TRIED);
    }

    #[test]
    fn browsers_that_log_in_are_known_by_cookies_of_their_own() {
        let cookies = Cookies {
            session: "s".into(),
            flow: "s_flow_".into(),
            insecure: false,
        };
        let pair = |browser: &str| {
            let set = cookies.set_flow(browser, Duration::from_secs(1));
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            pair.to_owned()
        };
        let (one, other) = (random_name(), random_name());
        let mut sent = HeaderMap::new();
        let forged = pair(&one).replace(&one, &other);
        let text = [
            pair(&one).as_str(),
            "s_flow_=x",
            &forged,
            "s_flow_0123",
            &pair(&other),
        ]
        .join("; ");
        sent.insert(header::COOKIE, text.parse().unwrap());
        let found: Vec<_> = cookies.flows(&sent).collect();
        let values: Vec<_> = found.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [&one, &other]);
        assert_ne!(found[0].0, found[1].0);
        for (name, expected) in [
            (found[0].0, true),
            ("s", true),
            ("s_flow_", true),
            ("s_flow", false),
            ("sx", false),
            ("xs", false),
        ] {
            assert_eq!(is_of_login("s", name.as_bytes()), expected, "{name}");
        }
    }
}
