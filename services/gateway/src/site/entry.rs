//! What is known of a file: its validators, its precompressed siblings, its contents if it is small.

use std::{
    fs::File,
    io,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use rustix::buffer::spare_capacity;

use super::{
    checked::Checked,
    directory::{Directory, OpenResult, Stamp, open_file},
    look::TRIES,
    rules::{self, CacheRule},
    siblings::{self, CODINGS},
    types, validators,
};
use crate::routing::Coding;

/// What a name leads to.
#[derive(Debug)]
pub(super) enum Located {
    File(Arc<Entry>),
    Directory,
    Missing,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Box<str>,
    pub(super) content_type: HeaderValue,
    pub(super) cache: CacheRule,
    pub(super) plain: Variant,
    /// Those of the site's codings that the directory has.
    pub(super) siblings: Vec<(Coding, Variant)>,
    /// Compressed for a route that wants that, by the place of the coding. `None`: it would not be
    /// smaller.
    pub(super) encoded: [OnceLock<Option<Variant>>; CODINGS],
    pub(super) checked: Checked,
}

/// One representation of a file.
#[derive(Debug)]
pub(super) struct Variant {
    /// Of its own file.
    pub(super) name: Box<str>,
    pub(super) stamp: Stamp,
    /// `ETag`, and `Last-Modified` if it says something.
    pub(super) validators: HeaderMap,
    /// `None`: it is read while it is sent.
    pub(super) contents: Option<Bytes>,
    pub(super) length: u64,
}

impl Entry {
    /// What it takes of the memory for contents. Compressed forms are smaller than the file, and taken for
    /// as much.
    pub(super) fn size_bytes(&self) -> usize {
        let all = self.siblings.iter().map(|(_, variant)| variant);
        let all = all.chain([&self.plain, &self.plain]);
        all.map(|variant| variant.contents.as_ref().map_or(0, Bytes::len))
            .sum()
    }

    fn is_as(&self, plain: Stamp, siblings: &[(Coding, Stamp)]) -> bool {
        let known = self.siblings.iter();
        let known = known.map(|(coding, variant)| (*coding, variant.stamp));
        let is_settled = |variant: &Variant| !validators::is_weak(&variant.validators);
        let mut variants = self.siblings.iter().map(|(_, variant)| variant);
        self.plain.stamp == plain
            && known.eq(siblings.iter().copied())
            && is_settled(&self.plain)
            && variants.all(is_settled)
    }
}

/// What a name leads to now. `known`: what it led to before.
///
/// # Errors
/// When the file system fails.
pub(super) fn load(
    directory: &Directory,
    name: &str,
    known: Option<Arc<Entry>>,
) -> io::Result<Located> {
    for _ in 1..TRIES {
        if let Some(found) = try_load(directory, name, known.as_ref())? {
            return Ok(found);
        }
    }
    let found = try_load(directory, name, known.as_ref())?;
    found.ok_or_else(|| io::Error::other("it changes all the time"))
}

/// `None`: the file has changed meanwhile.
fn try_load(
    directory: &Directory,
    name: &str,
    known: Option<&Arc<Entry>>,
) -> io::Result<Option<Located>> {
    let (file, stamp) = match open_file(directory, name)? {
        OpenResult::File(file, stamp) => (file, stamp),
        OpenResult::Directory => return Ok(Some(Located::Directory)),
        OpenResult::Missing => return Ok(Some(Located::Missing)),
    };
    let mut siblings = Vec::new();
    for (coding, name) in siblings::names(name, &directory.settings.precompressed) {
        // One that is older is of the file before.
        if let OpenResult::File(file, sibling) = open_file(directory, &name)?
            && sibling.modified.0 >= stamp.modified.0
        {
            siblings.push((coding, name, file, sibling));
        }
    }
    let stamps: Vec<_> = siblings.iter().map(|it| (it.0, it.3)).collect();
    if let Some(known) = known
        && known.is_as(stamp, &stamps)
    {
        known.checked.touch();
        return Ok(Some(Located::File(Arc::clone(known))));
    }
    let Some(plain) = Variant::read(directory, name, &file, stamp)? else {
        return Ok(None);
    };
    let mut variants = Vec::with_capacity(siblings.len());
    for (coding, name, file, stamp) in siblings {
        let Some(variant) = Variant::read(directory, &name, &file, stamp)? else {
            return Ok(None);
        };
        variants.push((coding, variant));
    }
    Ok(Some(Located::File(Arc::new(Entry {
        name: name.into(),
        content_type: types::of(name, &directory.settings.content_types),
        cache: rules::of(name, &directory.settings),
        plain,
        siblings: variants,
        encoded: [const { OnceLock::new() }; CODINGS],
        checked: Checked::now(),
    }))))
}

impl Variant {
    /// `None`: the file has changed meanwhile.
    fn read(
        directory: &Directory,
        name: &str,
        file: &File,
        stamp: Stamp,
    ) -> io::Result<Option<Self>> {
        let is_small = stamp.length <= directory.settings.max_cached_file_bytes;
        let contents = is_small.then(|| read_all(file, stamp.length)).transpose()?;
        if let Some(contents) = &contents
            && (contents.len() as u64 != stamp.length || Stamp::of(&file.metadata()?) != stamp)
        {
            return Ok(None);
        }
        let now = directory.clock.now().timestamp();
        Ok(Some(Self {
            name: name.into(),
            stamp,
            validators: validators::of(stamp, contents.as_deref(), now),
            contents,
            length: stamp.length,
        }))
    }

    /// `plain`: what it was made of.
    pub(super) fn encoded(plain: &Self, contents: Bytes) -> Self {
        let mut validators = plain.validators.clone();
        validators::set_of_contents(&mut validators, &contents);
        Self {
            name: plain.name.clone(),
            stamp: plain.stamp,
            validators,
            length: contents.len() as u64,
            contents: Some(contents),
        }
    }
}

fn read_all(file: &File, length: u64) -> io::Result<Bytes> {
    // It is no larger than a file that is kept.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut contents = Vec::with_capacity(length + 1);
    while contents.len() < length {
        let at = contents.len() as u64;
        let count = rustix::io::pread(file, spare_capacity(&mut contents), at)?;
        if count == 0 {
            break;
        }
    }
    contents.truncate(length);
    Ok(contents.into())
}
