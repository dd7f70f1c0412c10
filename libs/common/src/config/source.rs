//! Positions of keys in a TOML text, so that errors have a line and a column.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Line and column of a byte offset, counted from one.
pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let (lines, line) = before
        .rsplit_once('\n')
        .map_or((0, before), |(above, line)| {
            (above.matches('\n').count() + 1, line)
        });
    (lines + 1, line.chars().count() + 1)
}

/// Line and column of a key, or of the deepest part of it that the text has. `None`: not even its
/// first part.
pub(super) fn locate(text: &str, key: &str) -> Option<(usize, usize)> {
    let table = DeTable::parse(text).ok()?;
    let mut steps = steps(key).into_iter();
    let (mut span, mut value) = entry(table.get_ref(), &steps.next()?)?;
    for step in steps {
        let next = match value.get_ref() {
            DeValue::Table(table) => entry(table, &step),
            DeValue::Array(items) => step
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get(index))
                .map(|item| (item.span(), item)),
            _ => None,
        };
        let Some(next) = next else { break };
        (span, value) = next;
    }
    Some(position(text, span.start))
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
pub(super) fn steps(key: &str) -> Vec<String> {
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
    fn keys_are_located_as_far_as_the_text_has_them() {
        assert_eq!(locate(TEXT, "a"), Some((1, 1)));
        assert_eq!(locate(TEXT, "routes.core.paths"), Some((3, 1)));
        assert_eq!(locate(TEXT, "routes.core.paths[2]"), Some((4, 9)));
        assert_eq!(locate(TEXT, "routes.core.missing"), Some((2, 9)));
        assert_eq!(locate(TEXT, "nothing"), None);
    }
}
