//! What several tables have: lists, names of other tables, methods.

use std::collections::BTreeMap;

use http::Method;

use super::checker::Checker;

/// Names in the message about one that there is not.
const MAX_LISTED: usize = 20;

/// The index of a name; `field` is also the noun of the message.
pub(super) fn resolve(
    key: &str,
    field: &str,
    name: &str,
    known: &BTreeMap<&str, usize>,
    checker: &mut Checker,
) -> Option<usize> {
    let index = known.get(name).copied();
    let index = index.ok_or_else(|| unknown(field, name, known.keys().copied()));
    checker.ok(&format!("{key}.{field}"), index)
}

/// Says what there is instead, unless that is nothing or too much to read.
pub(super) fn unknown<'k>(
    kind: &str,
    name: &str,
    known: impl ExactSizeIterator<Item = &'k str>,
) -> String {
    if (1..=MAX_LISTED).contains(&known.len()) {
        let known: Vec<&str> = known.collect();
        format!("there is no {kind} `{name}` among {}", known.join(", "))
    } else {
        format!("there is no {kind} `{name}`")
    }
}

pub(super) fn check_list<T>(
    key: &str,
    field: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
    checker: &mut Checker,
) -> Option<Vec<T>> {
    let parsed: Vec<Option<T>> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| checker.ok(&format!("{key}.{field}[{at}]"), parse(text)))
        .collect();
    parsed.into_iter().collect()
}

pub(super) fn parse_method(text: &str) -> Result<Method, String> {
    if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return Err("must be a method in upper case, such as GET".to_owned());
    }
    Method::from_bytes(text.as_bytes()).map_err(|_| "is not a valid method".to_owned())
}

/// Names of a table with their positions.
pub(super) fn indices<T>(table: &BTreeMap<String, T>) -> BTreeMap<&str, usize> {
    table
        .keys()
        .enumerate()
        .map(|(index, name)| (name.as_str(), index))
        .collect()
}
