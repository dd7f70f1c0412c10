//! What a route says about compressed bodies.

use serde::{Deserialize, Serialize};

/// A coding of bodies, by its name in `Content-Encoding`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Coding {
    Zstd,
    #[serde(rename = "br")]
    Brotli,
    Gzip,
}

/// How responses are compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompressionSettings {
    /// Smaller bodies are sent as they are, if their length is known.
    pub(crate) min_size_bytes: u64,
    /// Media types in lower case; `text/*` are all of one kind.
    pub(crate) content_types: Vec<Box<str>>,
    /// The preferred one first, where the client has no preference.
    pub(crate) algorithms: Vec<Coding>,
    /// 1 to 9.
    pub(crate) level: u32,
}

/// What becomes of compressed request bodies.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RequestDecompression {
    #[default]
    Pass,
    /// 415.
    Refuse,
    /// 413 beyond the bounds, 415 for other codings.
    Decode,
}
