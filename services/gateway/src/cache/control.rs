//! Cache directives of requests and responses (RFC 9111, 5.2; RFC 5861; RFC 9213).

use http::{HeaderMap, HeaderName, header};

use crate::request::Headers;

/// Longer times are this one (RFC 9111, 1.2.2).
const MAX_SECONDS: u64 = 1 << 31;

/// What a response says about being stored and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseControl {
    /// There are directives at all.
    pub(super) present: bool,
    pub(super) no_store: bool,
    /// Also for a part of the fields: they would have to be left out otherwise.
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    pub(super) max_age: Option<u64>,
    pub(super) s_maxage: Option<u64>,
    pub(super) stale_while_revalidate: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
    /// They come from a targeted field, which replaces `Expires` too.
    pub(super) targeted: bool,
}

/// What a request asks of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestControl {
    pub(crate) no_store: bool,
    pub(super) no_cache: bool,
    pub(crate) only_if_cached: bool,
    pub(super) max_age: Option<u64>,
    /// Without a value: any time.
    pub(super) max_stale: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
}

impl ResponseControl {
    /// `targeted`: fields that replace `Cache-Control`, the first one that is valid and not empty.
    pub(crate) fn of(headers: &HeaderMap, targeted: &[HeaderName]) -> Self {
        for name in targeted {
            let mut control = Self::default();
            let values = headers
                .get_all(name)
                .iter()
                .map(http::HeaderValue::as_bytes);
            let valid = each(values, |name, value| control.targeted(name, value));
            if valid && control.present {
                control.targeted = true;
                return control;
            }
        }
        let mut control = Self::default();
        let values = headers.get_all(header::CACHE_CONTROL).iter();
        each(values.map(http::HeaderValue::as_bytes), |name, value| {
            control.note(name, value);
            true
        });
        control
    }

    /// False: the field is invalid (RFC 9213, 2.1).
    fn targeted(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        let is_key = |byte: &u8| byte.is_ascii_lowercase() || b"-_.*0123456789".contains(byte);
        if !name.iter().all(is_key) {
            return false;
        }
        let value = value.map(|value| value.split(|&byte| byte == b';').next().unwrap_or(value));
        if name.ends_with(b"age") && value.and_then(digits).is_none() {
            // The type of the value is wrong, so the directive is ignored.
            return true;
        }
        self.note(name, value);
        true
    }

    fn note(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        self.present = true;
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("max-age") {
            self.max_age.get_or_insert(seconds(value));
        } else if is("s-maxage") {
            self.s_maxage.get_or_insert(seconds(value));
        } else if is("stale-while-revalidate") {
            self.stale_while_revalidate.get_or_insert(seconds(value));
        } else if is("stale-if-error") {
            self.stale_if_error.get_or_insert(seconds(value));
        }
    }

    /// A stale response must not be used, whatever else allows it (RFC 9111, 4.2.4).
    pub(super) fn forbids_stale(&self) -> bool {
        self.no_cache || self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }

    /// A response to a request with `Authorization` may be stored (RFC 9111, 3.5).
    pub(super) fn allows_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }
}

impl RequestControl {
    pub(crate) fn of(headers: &dyn Headers) -> Self {
        let mut control = Self::default();
        if headers.first(&header::CACHE_CONTROL).is_some() {
            each(headers.all(header::CACHE_CONTROL), |name, value| {
                control.note(name, value);
                true
            });
        } else if headers.first(&header::PRAGMA).is_some() {
            // Of HTTP/1.0 clients (RFC 9111, 5.4).
            control.no_cache = headers.lists(header::PRAGMA, "no-cache");
        }
        control
    }

    fn note(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age.get_or_insert(seconds(value));
        } else if is("max-stale") {
            let any = value.is_none();
            self.max_stale
                .get_or_insert(if any { MAX_SECONDS } else { seconds(value) });
        } else if is("min-fresh") {
            self.min_fresh.get_or_insert(seconds(value));
        } else if is("stale-if-error") {
            self.stale_if_error.get_or_insert(seconds(value));
        }
    }
}

/// What cannot be read is no time at all: the response is stale then.
fn seconds(value: Option<&[u8]>) -> u64 {
    value.and_then(digits).unwrap_or(0)
}

/// A whole number of seconds; larger ones than any time are that time.
pub(super) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    Some(text.parse().unwrap_or(MAX_SECONDS).min(MAX_SECONDS))
}

/// Each directive with its value; a comma between quotes separates nothing. False: one of them
/// was refused.
fn each<'v>(
    values: impl Iterator<Item = &'v [u8]>,
    mut directive: impl FnMut(&[u8], Option<&[u8]>) -> bool,
) -> bool {
    let mut valid = true;
    for value in values {
        let mut rest = value;
        while !rest.is_empty() {
            let end = element(rest);
            let item = rest[..end].trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            if item.is_empty() {
                continue;
            }
            let (name, value) = match memchr::memchr(b'=', item) {
                Some(at) => (&item[..at], Some(unquoted(&item[at + 1..]))),
                None => (item, None),
            };
            valid &= directive(name, value);
        }
    }
    valid
}

/// The length of the first element of a list.
fn element(list: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return at,
            _ => {}
        }
    }
    list.len()
}

fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"");
    inner
        .and_then(|inner| inner.strip_suffix(b"\""))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in values {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn directives_of_responses_are_read_as_written() {
        let read = |text| ResponseControl::of(&headers(&[("cache-control", text)]), &[]);
        for (text, max_age) in [
            ("max-age=10", Some(10)),
            ("Max-Age=10", Some(10)),
            ("max-age=\"10\"", Some(10)),
            ("a=\"b, max-age=1\", max-age=2", Some(2)),
            ("max-age=3, max-age=4", Some(3)),
            ("max-age=-1", Some(0)),
            ("max-age=1.5", Some(0)),
            ("max-age", Some(0)),
            ("max-age=99999999999999999999", Some(MAX_SECONDS)),
            ("max-age =5", None),
            ("xmax-age=5", None),
            ("", None),
        ] {
            assert_eq!(read(text).max_age, max_age, "{text}");
        }
        let all = read(
            ",no-store,, no-cache=\"set-cookie\", private=\"a\", public ,must-revalidate,\
             proxy-revalidate, must-understand, s-maxage=1,stale-while-revalidate=2, stale-if-error=3",
        );
        assert!(all.no_store && all.no_cache && all.private && all.public);
        assert!(all.must_revalidate && all.proxy_revalidate && all.must_understand);
        assert_eq!(all.s_maxage, Some(1));
        assert_eq!(all.stale_while_revalidate, Some(2));
        assert_eq!(all.stale_if_error, Some(3));
        assert!(all.forbids_stale() && all.allows_authorized());
        assert!(!read("max-age=1").forbids_stale() && !read("max-age=1").allows_authorized());
    }

    #[test]
    fn a_targeted_field_replaces_cache_control_if_it_is_valid() {
        let targeted = [HeaderName::from_static("cdn-cache-control")];
        let read = |text| {
            let sent = headers(&[("cache-control", "no-store"), ("cdn-cache-control", text)]);
            ResponseControl::of(&sent, &targeted)
        };
        assert_eq!(read("max-age=5").max_age, Some(5));
        assert!(!read("max-age=5").no_store && read("max-age=5").targeted);
        assert_eq!(read("max-age=5;x=1").max_age, Some(5));
        assert!(read("").no_store);
        assert!(read("MAX-AGE=5").no_store, "keys are in lower case");
        assert!(read("max-age=x").no_store, "nothing is left of it");
        assert_eq!(read("private, max-age=x").max_age, None);
    }

    #[test]
    fn directives_of_requests_are_read_as_written() {
        let read = |values: &[_]| RequestControl::of(&headers(values));
        let all = read(&[(
            "cache-control",
            "no-store, no-cache, only-if-cached, max-age=1, max-stale, min-fresh=2",
        )]);
        assert!(all.no_store && all.no_cache && all.only_if_cached);
        assert_eq!((all.max_age, all.min_fresh), (Some(1), Some(2)));
        assert_eq!(all.max_stale, Some(MAX_SECONDS));
        let some = read(&[("cache-control", "max-stale=7")]);
        assert_eq!(some.max_stale, Some(7));
        assert!(read(&[("pragma", "no-cache")]).no_cache);
        assert!(!read(&[("pragma", "x")]).no_cache);
        let both = read(&[("pragma", "no-cache"), ("cache-control", "max-age=1")]);
        assert!(!both.no_cache, "Cache-Control counts");
    }
}
