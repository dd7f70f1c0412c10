//! `compress` of a route.

use serde::Deserialize;

use crate::routing::Coding;

/// A switch, or a table with further settings.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(
    untagged,
    expecting = "must be true, false, or a table with `min_size_bytes`, `content_types`, `algorithms` (zstd, br and gzip) or `level`"
)]
pub(crate) enum Compress {
    Switch(bool),
    Table(Compression),
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Compression {
    pub(crate) min_size_bytes: u64,
    pub(crate) content_types: Vec<String>,
    pub(crate) algorithms: Vec<Coding>,
    pub(crate) level: u64,
}

impl Compress {
    pub(crate) fn is_on(&self) -> bool {
        *self != Self::Switch(false)
    }
}

impl Default for Compress {
    fn default() -> Self {
        Self::Switch(false)
    }
}

impl Default for Compression {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/problem+json",
            "application/ld+json",
            "application/javascript",
            "application/manifest+json",
            "application/xml",
            "application/rss+xml",
            "application/atom+xml",
            "application/xhtml+xml",
            "application/wasm",
            "application/graphql-response+json",
            "image/svg+xml",
        ];
        Self {
            min_size_bytes: 1024,
            content_types: types.map(str::to_owned).into(),
            algorithms: vec![Coding::Zstd, Coding::Brotli, Coding::Gzip],
            level: 4,
        }
    }
}
