//! Which form of a file a client gets: a sibling that was compressed before (`app.js.br`), or one that
//! is compressed here for a route that asks for that.

use std::io;

use bytes::Bytes;
use http::HeaderValue;
use http::header;

use super::{
    Asked,
    entry::{Entry, Variant},
};
use crate::routing::{Coding, CompressionSettings, preferred};

/// Codings that there are.
pub(super) const CODINGS: usize = 3;

/// Compresses for the route. What does that belongs to the policies.
#[derive(Clone, Copy)]
pub(crate) struct Compressor<'a> {
    pub(crate) settings: &'a CompressionSettings,
    /// Whether bodies of this type are compressed.
    pub(crate) lists: fn(&CompressionSettings, &HeaderValue) -> bool,
    pub(crate) encode: fn(Coding, u32, &[u8]) -> io::Result<Bytes>,
}

/// What a client gets.
pub(super) enum Chosen<'e> {
    Variant(Option<Coding>, &'e Variant),
    /// It has to be made first.
    Unmade(Coding),
}

/// The names of siblings that a file may have.
pub(super) fn siblings(name: &str, codings: &[Coding]) -> impl Iterator<Item = (Coding, String)> {
    const SUFFIXES: [(Coding, &str); CODINGS] = [
        (Coding::Brotli, ".br"),
        (Coding::Zstd, ".zst"),
        (Coding::Gzip, ".gz"),
    ];
    let is_one = SUFFIXES.iter().any(|(_, suffix)| name.ends_with(suffix));
    let wanted = codings.iter().filter(move |_| !is_one);
    wanted.filter_map(move |coding| {
        let mut suffixes = SUFFIXES.iter();
        let (_, suffix) = suffixes.find(|(known, _)| known == coding)?;
        Some((*coding, format!("{name}{suffix}")))
    })
}

impl Entry {
    /// Whether responses depend on `Accept-Encoding`.
    pub(super) fn varies(&self, asked: &Asked<'_>) -> bool {
        !self.siblings.is_empty() || self.compressor(asked).is_some()
    }

    /// `None`: this file is not compressed for the route.
    pub(super) fn compressor<'a>(&self, asked: &Asked<'a>) -> Option<Compressor<'a>> {
        let contents = self.plain.contents.as_ref()?;
        asked.compressor.filter(|compressor| {
            let settings = compressor.settings;
            contents.len() as u64 >= settings.min_size_bytes
                && (compressor.lists)(settings, &self.content_type)
        })
    }

    pub(super) fn choose(&self, asked: &Asked<'_>) -> Chosen<'_> {
        let plain = Chosen::Variant(None, &self.plain);
        if !self.varies(asked) {
            return plain;
        }
        let mut offered: Vec<Coding> = self.siblings.iter().map(|(coding, _)| *coding).collect();
        if let Some(compressor) = self.compressor(asked) {
            let more = compressor.settings.algorithms.iter();
            let more = more.filter(|coding| !self.siblings.iter().any(|it| it.0 == **coding));
            offered.extend(more);
        }
        let accepted = asked.headers.all(header::ACCEPT_ENCODING);
        let Some(coding) = preferred(accepted, &offered) else {
            return plain;
        };
        let mut siblings = self.siblings.iter();
        if let Some((_, variant)) = siblings.find(|(known, _)| *known == coding) {
            return Chosen::Variant(Some(coding), variant);
        }
        match self.encoded[place(coding)].get() {
            Some(Some(variant)) => Chosen::Variant(Some(coding), variant),
            Some(None) => plain,
            None => Chosen::Unmade(coding),
        }
    }

    /// Makes the form that a client is to get. Called where that may take a while.
    pub(super) fn encode(&self, coding: Coding, encode: impl FnOnce(&[u8]) -> io::Result<Bytes>) {
        self.encoded[place(coding)].get_or_init(|| {
            let contents = self.plain.contents.as_ref()?;
            let encoded = encode(contents).ok()?;
            (encoded.len() < contents.len()).then(|| Variant::encoded(&self.plain, encoded))
        });
    }
}

fn place(coding: Coding) -> usize {
    match coding {
        Coding::Zstd => 0,
        Coding::Brotli => 1,
        Coding::Gzip => 2,
    }
}
