//! Where a document comes from.

use quartet_common::problem::Kind;

/// What the code of a service contributes beside its operations.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// Name of a service that serves its own document; adds the operations that return it.
    pub service: Option<&'static str>,
    pub version: &'static str,
    /// Kinds of problems that any operation may return.
    pub everywhere: &'static [&'static Kind],
    /// Kinds of problems that only this service returns.
    pub kinds: &'static [&'static Kind],
}
