//! Short URLs as keys: a slug and its domain, owned or borrowed.

use equivalent::Equivalent;

use crate::store::domains::DomainId;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShortUrl {
    domain: DomainId,
    slug: Box<str>,
}

/// Hashes like a [`ShortUrl`], so that looking one up allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShortUrlRef<'a> {
    pub(crate) domain: DomainId,
    pub(crate) slug: &'a str,
}

impl ShortUrl {
    pub(crate) fn as_ref(&self) -> ShortUrlRef<'_> {
        ShortUrlRef {
            domain: self.domain,
            slug: &self.slug,
        }
    }
}

impl ShortUrlRef<'_> {
    pub(crate) fn to_owned(self) -> ShortUrl {
        ShortUrl {
            domain: self.domain,
            slug: self.slug.into(),
        }
    }
}

impl Equivalent<ShortUrl> for ShortUrlRef<'_> {
    fn equivalent(&self, key: &ShortUrl) -> bool {
        *self == key.as_ref()
    }
}
