//! A request, as far as a site is concerned.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Method};

use crate::{
    request::Headers,
    routing::{Coding, CompressionSettings},
};

/// What is asked of a site.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    /// Of the request, in its one spelling.
    pub(crate) path: &'a str,
    /// What of it is behind the prefix of the route: empty, or with a slash at the beginning.
    pub(crate) rest: &'a str,
    /// With its question mark.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a dyn Headers,
    /// Shared caches must not keep the responses.
    pub(crate) is_private: bool,
    pub(crate) compressor: Option<Compressor<'a>>,
}

/// Compresses for the route. What does that belongs to the policies.
#[derive(Clone, Copy)]
pub(crate) struct Compressor<'a> {
    pub(crate) settings: &'a CompressionSettings,
    /// Whether bodies of this type are compressed.
    pub(crate) lists: fn(&CompressionSettings, &HeaderValue) -> bool,
    pub(crate) encode: fn(Coding, u32, &[u8]) -> io::Result<Bytes>,
}

impl Asked<'_> {
    /// Whether a person opens this path, rather than a page that loads a part of itself. Browsers say so;
    /// of others, `Accept` names HTML.
    pub(super) fn is_navigation(&self) -> bool {
        static MODE: http::HeaderName = http::HeaderName::from_static("sec-fetch-mode");
        if let Some(mode) = self.headers.first(&MODE) {
            return mode.eq_ignore_ascii_case(b"navigate");
        }
        self.headers.accept_html()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::request::header_map;

    #[test]
    fn only_people_get_the_page_of_another_path() {
        let method = Method::GET;
        for (fields, expected) in [
            (&[("sec-fetch-mode", "navigate")][..], true),
            (
                &[("sec-fetch-mode", "cors"), ("accept", "text/html")],
                false,
            ),
            (&[("sec-fetch-mode", "no-cors")], false),
            (
                &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")],
                true,
            ),
            (&[("accept", "application/json, text/HTML;q=0.9")], true),
            (&[("accept", "*/*")], false),
            (&[("accept", "application/json, text/plain, */*")], false),
            (&[], false),
        ] {
            let headers: HeaderMap = header_map(fields);
            let asked = Asked {
                method: &method,
                path: "/",
                rest: "/",
                query: "",
                headers: &headers,
                is_private: false,
                compressor: None,
            };
            assert_eq!(asked.is_navigation(), expected, "{fields:?}");
        }
    }
}
