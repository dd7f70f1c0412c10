//! The gateway's own operations, described as the services describe theirs.

use std::sync::LazyLock;

use quartet_openapi::{About, finish, introduce};
use serde_json::Value;

use super::{door, merge::merge};
use crate::error::kinds;

const NAME: &str = "gateway";
const OWN: &str = include_str!("own.json");
const ABOUT: About = About {
    title: "Quartet",
    description: "Every operation of every service, as the gateway offers it. Errors are problem documents \
        (RFC 9457) with a stable `code`; each answer names the codes that it may have.",
    version: env!("CARGO_PKG_VERSION"),
    everywhere: &[],
    kinds: kinds::ALL,
};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let operations = serde_json::from_str(OWN).expect("own.json is an OpenAPI document");
    let finished = finish(operations, &ABOUT);
    serde_json::from_str(&finished).expect("a finished document is JSON")
});

/// The documents of services and the gateway's own in one.
pub(crate) fn merge_with_own(documents: &[(&str, &Value)]) -> Value {
    let mut documents = documents.to_vec();
    documents.push((NAME, &DOCUMENT));
    let mut merged = merge(&documents);
    introduce(&mut merged, &ABOUT);
    door::add(&mut merged);
    merged
}
