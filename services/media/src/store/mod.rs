//! SQL, checked at compile time, in plain functions; and the object store.

pub(crate) mod assets;
pub(crate) mod ids;
pub(crate) mod objects;
pub(crate) mod sweeps;
pub(crate) mod uploads;

/// The subject of a verified access token.
#[derive(Clone, Debug)]
pub(crate) struct Owner(String);

impl Owner {
    pub(crate) fn new(subject: &str) -> Self {
        Self(subject.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
