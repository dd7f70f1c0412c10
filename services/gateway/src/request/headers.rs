//! The headers of a request, whichever parser read them.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers by name. Names compare without case.
pub(crate) trait Headers: Sync {
    /// The value of the header's `index`-th occurrence, counted from 0.
    fn nth(&self, name: &HeaderName, index: usize) -> Option<&[u8]>;

    /// Every name, as it was sent, as often as it was.
    fn each_name(&self, see: &mut dyn FnMut(&[u8]));

    /// The value of the first occurrence.
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.nth(name, 0)
    }
}

impl Headers for HeaderMap {
    fn nth(&self, name: &HeaderName, index: usize) -> Option<&[u8]> {
        if index == 0 {
            return self.get(name).map(HeaderValue::as_bytes);
        }
        let mut values = self.get_all(name).iter();
        values.nth(index).map(HeaderValue::as_bytes)
    }

    fn each_name(&self, see: &mut dyn FnMut(&[u8])) {
        for name in self.keys() {
            see(name.as_str().as_bytes());
        }
    }
}

/// Whether a value has visible characters, spaces and tabs only.
pub(crate) fn is_visible(value: &[u8]) -> bool {
    // Without a branch per byte, so that many are looked at at once.
    let is_other = |byte: u8| (byte != b'\t') & !(b' '..=b'~').contains(&byte);
    !value
        .iter()
        .fold(false, |found, &byte| found | is_other(byte))
}

/// Whether every server reads the same text from a value.
pub(crate) fn is_text(value: &[u8]) -> bool {
    is_visible(value) && memchr::memchr(b'\t', value).is_none()
}

impl dyn Headers + '_ {
    /// All values of a header.
    pub(crate) fn all(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> + Clone {
        (0..).map_while(move |index| self.nth(&name, index))
    }

    /// Whether a list header has an element, compared without case.
    pub(crate) fn lists(&self, name: HeaderName, element: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(element.as_bytes()))
    }

    /// Whether `Accept` names HTML, as browsers do for pages: scripts and other programs accept anything.
    pub(crate) fn accept_html(&self) -> bool {
        let mut kinds = self
            .all(header::ACCEPT)
            .flat_map(|value| value.split(|&byte| byte == b','));
        kinds.any(|kind| {
            let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default();
            let kind = kind.trim_ascii();
            kind.eq_ignore_ascii_case(b"text/html")
                || kind.eq_ignore_ascii_case(b"application/xhtml+xml")
        })
    }

    /// These headers alone.
    pub(crate) fn only(&self, names: &[HeaderName]) -> HeaderMap {
        let mut found = HeaderMap::new();
        for name in names {
            let values = self.all(name.clone()).map(HeaderValue::from_bytes);
            for value in values.flatten() {
                found.append(name, value);
            }
        }
        found
    }

    /// The value of the first cookie of this name.
    pub(crate) fn cookie(&self, name: &str) -> Option<&[u8]> {
        self.all(header::COOKIE)
            .flat_map(|value| value.split(|&byte| byte == b';'))
            .find_map(|pair| {
                let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
                rest.strip_prefix(b"=")
            })
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        let value = self.first(&header::CONTENT_LENGTH)?;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    }
}

/// Of names and values in lower case.
#[cfg(test)]
pub(crate) fn header_map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = fields.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    fields.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let mut sent = HeaderMap::new();
        sent.append(header::COOKIE, HeaderValue::from_static("ab=1; b=2;a=3"));
        sent.append(header::COOKIE, HeaderValue::from_static("c=4; A=5"));
        let headers: &dyn Headers = &sent;
        assert_eq!(headers.cookie("a"), Some(&b"3"[..]));
        assert_eq!(headers.cookie("b"), Some(&b"2"[..]));
        assert_eq!(headers.cookie("c"), Some(&b"4"[..]));
        assert_eq!(headers.cookie("d"), None);
    }

    #[test]
    fn values_are_visible_as_the_crate_http_says() {
        for byte in 0..=u8::MAX {
            for at in [0, 15, 39] {
                let mut text = vec![b'a'; 40];
                text[at] = byte;
                let expected = HeaderValue::from_bytes(&text).is_ok_and(|v| v.to_str().is_ok());
                assert_eq!(is_visible(&text), expected, "{byte} at {at}");
            }
        }
        assert!(is_visible(b""));
    }
}
