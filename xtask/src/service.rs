//! The four services.

use std::fmt;

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    Core,
    Media,
    Links,
    Gateway,
}

impl Service {
    pub(crate) const ALL: [Self; 4] = [Self::Core, Self::Media, Self::Links, Self::Gateway];

    /// Its package, which is also the name of its binary.
    pub(crate) fn package(self) -> String {
        format!("quartet-{self}")
    }

    /// The path of one of its files from the root of the source tree.
    pub(crate) fn file(self, name: &str) -> String {
        format!("services/{self}/{name}")
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Core => "core",
            Self::Media => "media",
            Self::Links => "links",
            Self::Gateway => "gateway",
        })
    }
}
