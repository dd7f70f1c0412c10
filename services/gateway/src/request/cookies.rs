//! The cookies of a request (RFC 6265, 5.4).

use http::{HeaderValue, header};

use super::headers::Headers;

/// Names and values of a `Cookie` header.
pub(crate) fn cookie_pairs(value: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    value.split(|&byte| byte == b';').map(|pair| {
        let pair = pair.trim_ascii();
        match memchr::memchr(b'=', pair) {
            Some(at) => (
                pair[..at].trim_ascii_end(),
                pair[at + 1..].trim_ascii_start(),
            ),
            None => (pair, &pair[pair.len()..]),
        }
    })
}

/// What is left of the cookies of a request without those that `is_removed` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LeftCookies {
    /// None was removed.
    All,
    Some(HeaderValue),
    None,
}

/// A value that is none of a header is not forwarded in part.
pub(crate) fn without_cookies<'v>(
    values: impl Iterator<Item = &'v [u8]> + Clone,
    mut is_removed: impl FnMut(&[u8]) -> bool,
) -> LeftCookies {
    let mut is_removed = |pair: &(&[u8], &[u8])| is_removed(pair.0);
    // Most requests have none of these, and are not to pay for a copy.
    if !values
        .clone()
        .flat_map(cookie_pairs)
        .any(|pair| is_removed(&pair))
    {
        return LeftCookies::All;
    }
    let mut left = Vec::new();
    let kept = values
        .flat_map(cookie_pairs)
        .filter(|pair| !is_removed(pair));
    for (name, value) in kept {
        if !left.is_empty() {
            left.extend_from_slice(b"; ");
        }
        left.extend_from_slice(name);
        if !value.is_empty() {
            left.push(b'=');
            left.extend_from_slice(value);
        }
    }
    let left = HeaderValue::try_from(left).ok();
    left.filter(|left| !left.is_empty())
        .map_or(LeftCookies::None, LeftCookies::Some)
}

impl dyn Headers + '_ {
    /// The values of all cookies of this name.
    pub(crate) fn cookies<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        let pairs = self.all(header::COOKIE).flat_map(cookie_pairs);
        pairs
            .filter(move |(other, _)| *other == name.as_bytes())
            .map(|(_, value)| value)
    }
}
