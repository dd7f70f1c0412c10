//! The two cookies of a login: that of the session, and that of the browser while it logs in.

use std::time::Duration;

use http::HeaderValue;

use super::ids::SessionKey;
use crate::{config::logins::LoginConfig, request::Headers};

/// Of one name in a request: another path or host may have set some, and only one is right.
const MAX_TRIED: usize = 8;
const FLOW_SUFFIX: &str = "_flow";

/// The names of a login's cookies.
#[derive(Clone, Debug)]
pub(super) struct Cookies {
    pub(super) session: Box<str>,
    pub(super) flow: Box<str>,
    insecure: bool,
}

impl Cookies {
    pub(super) fn new(config: &LoginConfig) -> Self {
        Self {
            session: config.cookie.as_str().into(),
            flow: format!("{}{FLOW_SUFFIX}", config.cookie).into(),
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

    pub(super) fn clear(&self, name: &str) -> HeaderValue {
        self.set(name, "", Some(Duration::ZERO))
    }
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
}
