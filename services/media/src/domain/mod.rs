//! The rules: what may be uploaded, when it counts, and how it goes away.

pub(crate) mod assets;
pub(crate) mod content;
pub(crate) mod names;
pub(crate) mod uploads;
