//! Removes stored responses that an unsafe request makes invalid (RFC 9111, 4.4).

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use crate::cache::{Cache, Purge};

/// What an unsafe request makes invalid once it has succeeded.
#[derive(Debug)]
pub(crate) struct Invalidation {
    pub(super) caches: Arc<[Arc<Cache>]>,
    pub(super) url: Arc<str>,
}

impl Invalidation {
    pub(super) fn on_head(&self, status: StatusCode, headers: &HeaderMap) {
        if !(status.is_success() || status.is_redirection()) {
            return;
        }
        let named = [header::LOCATION, header::CONTENT_LOCATION].map(|name| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.and_then(|url| same_origin(&self.url, url))
        });
        let urls = named.into_iter().flatten().chain([Arc::clone(&self.url)]);
        for url in urls {
            for cache in &*self.caches {
                cache.purge(Purge::Url(Arc::clone(&url)));
            }
        }
    }
}

/// The URL that a response names, if it is one of the same origin. Others are not for this upstream
/// to change.
fn same_origin(url: &str, named: &str) -> Option<Arc<str>> {
    let named = named.split('#').next().unwrap_or(named);
    let authority = url.find("://")? + 3;
    let origin = url[authority..]
        .find('/')
        .map_or(url.len(), |at| authority + at);
    let (origin, is_path) = (
        &url[..origin],
        named.starts_with('/') && !named.starts_with("//"),
    );
    if is_path {
        return Some([origin, named].concat().into());
    }
    let path = named.strip_prefix(origin)?;
    path.starts_with('/').then(|| named.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_the_same_origin_are_invalidated() {
        for (named, expected) in [
            ("/b?c#d", Some("http://a/b?c")),
            ("http://a/b", Some("http://a/b")),
            ("http://ab/b", None),
            ("https://a/b", None),
            ("//a/b", None),
            ("b", None),
        ] {
            assert_eq!(
                same_origin("http://a/x?y=/z", named).as_deref(),
                expected,
                "{named}"
            );
        }
    }
}
