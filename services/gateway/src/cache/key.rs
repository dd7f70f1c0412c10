//! What a stored response is found by: everything of the request that the upstream can see and that
//! is not compared by `Vary`.
//!
//! Two requests share a key only if scheme, host, path and query are byte by byte what the upstream
//! receives, the route is the same, and so are the host and path that it matched and every header
//! and cookie that the cache lists. Nothing
//! is sorted, decoded or left out: what two servers may read differently has two keys.

use std::{hash::BuildHasher as _, sync::Arc};

use http::{HeaderName, header};

use crate::request::Headers;

/// A URL, and what parts its responses beside `Vary`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Scheme, host, path and query.
    pub(super) url: Arc<str>,
    /// The route, the host and path that were matched, then the listed headers and cookies, each with
    /// its length in front.
    pub(super) partition: Arc<[u8]>,
}

/// Where a request goes, as the upstream sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'t> {
    pub(crate) scheme: &'t [u8],
    /// In its one spelling.
    pub(crate) host: &'t [u8],
    /// Path and query that are forwarded.
    pub(crate) path_and_query: &'t [u8],
    /// Host and path that were matched, before a `rewrite`: headers for the upstream may depend on
    /// them.
    pub(crate) matched: (&'t [u8], &'t [u8]),
}

impl Target<'_> {
    /// `None`: a part of it is not text.
    pub(crate) fn url(&self) -> Option<Arc<str>> {
        let parts = [self.scheme, b"://", self.host, self.path_and_query].concat();
        String::from_utf8(parts).ok().map(Arc::from)
    }
}

impl Key {
    pub(crate) fn new(
        target: Target<'_>,
        route: &str,
        listed: (&[HeaderName], &[Box<str>]),
        headers: &dyn Headers,
    ) -> Option<Self> {
        let (names, cookies) = listed;
        let mut partition = Vec::with_capacity(route.len() + 4);
        let (host, path) = target.matched;
        for part in [route.as_bytes(), host, path] {
            push(&mut partition, part);
        }
        for name in names {
            push_all(&mut partition, headers.all(name.clone()));
        }
        for name in cookies {
            push_all(&mut partition, cookie_values(headers, name));
        }
        Some(Self {
            url: target.url()?,
            partition: partition.into(),
        })
    }

    /// For tables in which a collision costs time alone.
    pub(super) fn hash(&self, hasher: &std::hash::RandomState) -> u64 {
        hasher.hash_one(self)
    }
}

fn push(partition: &mut Vec<u8>, part: &[u8]) {
    partition.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    partition.extend_from_slice(part);
}

/// With the number of values behind them, so that no list continues another one.
fn push_all<'v>(partition: &mut Vec<u8>, values: impl Iterator<Item = &'v [u8]>) {
    let mut count = 0_u32;
    for value in values {
        push(partition, value);
        count += 1;
    }
    partition.extend_from_slice(&[0xff; 4]);
    partition.extend_from_slice(&count.to_be_bytes());
}

/// Whether the request has a cookie that no list of the cache names.
pub(super) fn has_unlisted_cookies(headers: &dyn Headers, listed: &[Box<str>]) -> bool {
    headers
        .all(header::COOKIE)
        .flat_map(|value| value.split(|&byte| byte == b';'))
        .map(<[u8]>::trim_ascii_start)
        .filter(|pair| !pair.is_empty())
        .any(|pair| {
            let name = pair.split(|&byte| byte == b'=').next().unwrap_or(pair);
            !listed.iter().any(|listed| listed.as_bytes() == name)
        })
}

/// All values of a cookie: which one of several counts is for the server to decide.
fn cookie_values<'h>(headers: &'h dyn Headers, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    headers
        .all(header::COOKIE)
        .flat_map(|value| value.split(|&byte| byte == b';'))
        .filter_map(move |pair| {
            let pair = pair.trim_ascii_start();
            pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
        })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz;

    /// What a key is made of.
    #[derive(Clone, Debug, PartialEq)]
    struct Asked {
        scheme: &'static str,
        host: String,
        target: String,
        matched: (String, String),
        route: String,
        header: Vec<String>,
        cookie: Option<String>,
    }

    fn key(asked: &Asked) -> Key {
        let mut headers = HeaderMap::new();
        for value in &asked.header {
            headers.append("x-key", HeaderValue::try_from(value).unwrap());
        }
        if let Some(value) = &asked.cookie {
            let text = format!("a=1; key={value}; b=2");
            headers.append("cookie", HeaderValue::try_from(text).unwrap());
        }
        let target = Target {
            scheme: asked.scheme.as_bytes(),
            host: asked.host.as_bytes(),
            path_and_query: asked.target.as_bytes(),
            matched: (asked.matched.0.as_bytes(), asked.matched.1.as_bytes()),
        };
        let names = [HeaderName::from_static("x-key")];
        let cookies = ["key".into()];
        Key::new(target, &asked.route, (&names, &cookies), &headers).unwrap()
    }

    /// As they leave the gateway: hosts have no slash, paths begin with one.
    fn asked() -> impl Strategy<Value = Asked> {
        (
            prop::sample::select(vec!["http", "https"]),
            "[a-c.:]{0,3}",
            "/[a-c/?&=%;]{0,5}",
            ("[a-c]{0,2}", "/[a-c]{0,2}"),
            "[ab]{1,2}",
            prop::collection::vec("[ab,]{0,3}", 0..3),
            prop::option::of("[ab=]{0,3}"),
        )
            .prop_map(
                |(scheme, host, target, matched, route, header, cookie)| Asked {
                    scheme,
                    host,
                    target,
                    matched,
                    route,
                    header,
                    cookie,
                },
            )
    }

    proptest! {
        #[test]
        fn two_requests_share_a_key_only_if_they_are_equal(one in asked(), other in asked()) {
            prop_assert_eq!(key(&one) == key(&other), one == other);
        }

        #[test]
        fn one_changed_part_is_another_key(one in asked(), other in asked(), part in 0..7) {
            let mut changed = one.clone();
            match part {
                0 => changed.scheme = other.scheme,
                1 => changed.host = other.host,
                2 => changed.target = other.target,
                3 => changed.route = other.route,
                4 => changed.header = other.header,
                5 => changed.matched = other.matched,
                _ => changed.cookie = other.cookie,
            }
            prop_assert_eq!(key(&one) == key(&changed), one == changed);
        }
    }

    #[test]
    fn every_value_of_a_cookie_counts() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("cookie", HeaderValue::from_static(text));
            let values: Vec<_> = cookie_values(&headers, "k").map(<[u8]>::to_vec).collect();
            values
        };
        assert_eq!(of("k=1; kk=2; x=k=3;k=4"), [b"1".to_vec(), b"4".to_vec()]);
        assert!(of("K=1; k").is_empty());
    }

    /// Two requests, one a line each: route, target, values of the header. The keys are equal if, and
    /// only if, the lines are.
    fn has_its_own_key(input: &[u8]) -> Result<(), TestCaseError> {
        let mut lines = input.splitn(2, |&byte| byte == b'\n');
        let mut read = || {
            let line = lines.next().unwrap_or_default();
            let parts: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
            let at = |index: usize| parts.get(index).copied().unwrap_or_default();
            let route = String::from_utf8_lossy(at(0)).into_owned();
            let mut headers = HeaderMap::new();
            for value in parts.iter().skip(2) {
                if let Ok(value) = HeaderValue::from_bytes(value) {
                    headers.append("x-key", value);
                }
            }
            (route, at(1).to_vec(), headers)
        };
        let (one, other) = (read(), read());
        let key = |(route, path, headers): &(String, Vec<u8>, HeaderMap)| {
            let target = Target {
                scheme: b"http",
                host: b"a",
                path_and_query: path,
                matched: (b"a", b"/"),
            };
            let names = [HeaderName::from_static("x-key")];
            Key::new(target, route, (&names, &[]), headers)
        };
        if let (Some(first), Some(second)) = (key(&one), key(&other)) {
            prop_assert_eq!(first == second, one == other);
        }
        Ok(())
    }

    #[test]
    fn fuzz_cache_keys() {
        let dictionary = [
            "\t",
            "\n",
            "/",
            "?",
            "%2F",
            "%00",
            "\u{0}",
            "\u{ff}",
            "a",
            "\u{0}\u{0}\u{0}\u{1}",
        ];
        fuzz::run("cache_keys", &dictionary, has_its_own_key);
    }
}
