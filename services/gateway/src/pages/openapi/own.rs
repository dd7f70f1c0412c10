//! The gateway's own operations, described as the services describe theirs.

use std::sync::LazyLock;

use quartet_openapi::{Origin, finish, introduce};
use serde_json::{Value, json};

use super::{door, merge::merge};
use crate::error::kinds;

const NAME: &str = "gateway";
const OWN: &str = include_str!("own.json");
const TITLE: &str = "Quartet";
const DESCRIPTION: &str = "Every operation of every service, as the gateway serves it. Errors are \
    problem documents (RFC 9457) with a stable `code`; each response lists its codes.";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const ORIGIN: Origin = Origin {
    service: None,
    version: VERSION,
    everywhere: &[],
    kinds: kinds::ALL,
};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let operations = serde_json::from_str(OWN).expect("own.json is an OpenAPI document");
    let finished = finish(operations, &ORIGIN);
    serde_json::from_str(&finished).expect("a finished document is JSON")
});

/// The documents of services and the gateway's own in one.
pub(crate) fn merge_with_own(documents: &[(&str, &Value)]) -> Value {
    let mut documents = documents.to_vec();
    documents.push((NAME, &DOCUMENT));
    let mut merged = merge(&documents);
    merged["info"] = json!({"title": TITLE, "description": DESCRIPTION});
    introduce(&mut merged, VERSION);
    door::add(&mut merged);
    merged
}
