//! Files beside a file, with its contents compressed.

use crate::routing::Coding;

/// Codings that there are.
pub(super) const CODINGS: usize = 3;

/// The names of siblings that a file may have.
pub(super) fn names(name: &str, codings: &[Coding]) -> impl Iterator<Item = (Coding, String)> {
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

/// Of a coding, among all.
pub(super) fn place(coding: Coding) -> usize {
    match coding {
        Coding::Zstd => 0,
        Coding::Brotli => 1,
        Coding::Gzip => 2,
    }
}
