//! The rules: what may be uploaded, when an asset becomes ready, and how it is deleted.

pub(crate) mod assets;
pub(crate) mod completion;
pub(crate) mod content;
pub(crate) mod context;
pub(crate) mod uploads;
pub(crate) mod values;
mod verifications;

pub(crate) use context::Context;
