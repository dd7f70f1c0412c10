//! `[sites.*]`, valid.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use http::HeaderValue;

use super::names::is_served;
use crate::routing::Coding;

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SiteSettings {
    pub(crate) name: Arc<str>,
    pub(crate) directory: PathBuf,
    /// The file of a path that ends with a slash.
    pub(crate) index: Box<str>,
    /// For navigations to paths without a file. `None`: 404.
    pub(crate) fallback: Option<Box<str>>,
    /// The page with status 404.
    pub(crate) not_found: Option<Box<str>>,
    /// `/about` is `about.html`.
    pub(crate) clean_urls: bool,
    /// Of siblings, the preferred one first, where the client has no preference.
    pub(crate) precompressed: Vec<Coding>,
    pub(crate) immutable_names: bool,
    pub(crate) immutable_paths: Vec<PathRule>,
    /// Of files that are neither immutable nor pages; 0: they are revalidated.
    pub(crate) max_age_seconds: u64,
    pub(crate) check_interval: Duration,
    /// How long immutable files of the directory before are served.
    pub(crate) keep_previous: Duration,
    pub(crate) max_cache_bytes: u64,
    pub(crate) max_cached_file_bytes: u64,
    /// By the extension in lower case.
    pub(crate) content_types: BTreeMap<Box<str>, HeaderValue>,
}

/// `/assets/*` or `/name.js`, of paths within the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathRule {
    /// Without slash at its beginning.
    path: Box<str>,
    is_prefix: bool,
}

impl PathRule {
    /// # Errors
    /// The rule that the text breaks.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rule = || "must be a path within the site such as /assets/* or /logo.svg".to_owned();
        let path = text.strip_prefix('/').ok_or_else(rule)?;
        let (path, is_prefix) = match path.strip_suffix('*') {
            Some(path) if path.is_empty() || path.ends_with('/') => (path, true),
            Some(_) => return Err(rule()),
            None => (path, false),
        };
        let plain = path.strip_suffix('/').unwrap_or(path);
        let is_top = is_prefix && path.is_empty();
        if path.contains('*') || !(is_top || is_served(plain)) {
            return Err(rule());
        }
        Ok(Self {
            path: path.into(),
            is_prefix,
        })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        if self.is_prefix {
            name.starts_with(&*self.path)
        } else {
            *name == *self.path
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immutable_paths_are_within_the_site() {
        let assets = PathRule::parse("/assets/*").unwrap();
        assert!(assets.matches("assets/a") && assets.matches("assets/a/b"));
        assert!(!assets.matches("assetsb") && !assets.matches("b/assets/a"));
        assert!(PathRule::parse("/*").unwrap().matches("a"));
        assert!(PathRule::parse("/a.js").unwrap().matches("a.js"));
        for bad in [
            "", "assets/*", "/a*", "/*/a", "/../a", "/.git/*", "//*", "/a//b",
        ] {
            assert!(PathRule::parse(bad).is_err(), "{bad}");
        }
    }
}
