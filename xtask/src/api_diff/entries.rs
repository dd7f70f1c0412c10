//! The members of two JSON objects, side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

pub(super) type Entries<'a> = BTreeMap<String, &'a Value>;

pub(super) fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

pub(super) fn entries(value: &Value) -> Entries<'_> {
    members(value)
        .map(|(name, value)| (name.clone(), value))
        .collect()
}

/// Entries of the same name, in the order of names.
pub(super) fn pairs<'a>(
    before: Entries<'a>,
    after: Entries<'a>,
) -> Vec<(String, Option<&'a Value>, Option<&'a Value>)> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let pair = |name: &String| {
        let find = |entries: &Entries<'a>| entries.get(name).copied();
        (name.clone(), find(&before), find(&after))
    };
    names.into_iter().map(pair).collect()
}
