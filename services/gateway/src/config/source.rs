//! Where a setting stands in its file, so that a mistake is found at once.

use std::{fmt, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file, the variable, or the embedded defaults.
    pub origin: String,
    /// Line and column in the file, counted from one.
    pub position: Option<(usize, usize)>,
    /// Dotted key; empty where the text is not TOML at all.
    pub key: String,
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Line and column of a byte offset, counted from one.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..])
        .chars()
        .count()
        + 1;
    (line, column)
}

/// Where the key stands, or the deepest part of it that does.
///
/// `None` when not even its first part stands in the text. The flag tells whether the
/// whole key was found.
pub(super) fn locate(text: &str, key: &str) -> Option<(usize, usize, bool)> {
    let table = DeTable::parse(text).ok()?;
    let mut found: Option<(Range<usize>, bool)> = None;
    let mut steps = steps(key).into_iter().peekable();
    let first = steps.next()?;
    let (name, mut value) = entry(table.get_ref(), &first)?;
    found.replace((name, steps.peek().is_none()));
    while let Some(step) = steps.next() {
        let next = match value.get_ref() {
            DeValue::Table(table) => entry(table, &step),
            DeValue::Array(items) => step
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get(index))
                .map(|item| (item.span(), item)),
            _ => None,
        };
        let Some((span, inner)) = next else { break };
        found.replace((span, steps.peek().is_none()));
        value = inner;
    }
    let (span, whole) = found?;
    let (line, column) = position(text, span.start);
    Some((line, column, whole))
}

fn entry<'t, 'i>(
    table: &'t DeTable<'i>,
    name: &str,
) -> Option<(Range<usize>, &'t Spanned<DeValue<'i>>)> {
    table
        .iter()
        .find(|(key, _)| key.get_ref() == name)
        .map(|(key, value)| (key.span(), value))
}

/// `routes.core.methods[1]` as `routes`, `core`, `methods`, `1`.
fn steps(key: &str) -> Vec<String> {
    key.split(['.', '['])
        .map(|step| step.trim_end_matches(']').to_owned())
        .filter(|step| !step.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[routes.core]\npaths = [\"/x\",\n  \"/ü\", \"/y\"]\n";

    #[test]
    fn a_key_is_found_where_it_stands() {
        assert_eq!(locate(TEXT, "a"), Some((1, 1, true)));
        assert_eq!(locate(TEXT, "routes.core.paths"), Some((3, 1, true)));
        assert_eq!(locate(TEXT, "routes.core.paths[2]"), Some((4, 9, true)));
        assert_eq!(locate(TEXT, "routes.core.missing"), Some((2, 9, false)));
        assert_eq!(locate(TEXT, "nothing"), None);
    }
}
