//! Which form of a file a client gets: a sibling that was compressed before (`app.js.br`), or one that
//! is compressed here for a route that asks for that.

use std::io;

use bytes::Bytes;
use http::header;

use super::{
    asked::{Asked, Compressor},
    entry::{Entry, Variant},
    siblings::place,
};
use crate::routing::{Coding, preferred};

/// What a client gets.
pub(super) enum Chosen<'e> {
    Variant(Option<Coding>, &'e Variant),
    /// It has to be made first.
    Unmade(Coding),
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
