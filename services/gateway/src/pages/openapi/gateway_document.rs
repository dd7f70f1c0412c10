//! The operations of the gateway itself, and the merged document.

use std::sync::LazyLock;

use quartet_openapi::{About, finish, introduce};
use serde_json::Value;

use super::{gateway_responses, merge::merge};
use crate::error;

const NAME: &str = "gateway";
const OPERATIONS: &str = include_str!("gateway.json");
const ABOUT: About = About {
    title: "Quartet",
    description: "All operations of all services, through the gateway. Errors are problem documents (RFC 9457) \
        with a stable `code`; each response lists the codes it may have.",
    version: env!("CARGO_PKG_VERSION"),
    everywhere: &[],
    kinds: error::ALL,
};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let operations = serde_json::from_str(OPERATIONS).expect("gateway.json is an OpenAPI document");
    let finished = finish(operations, &ABOUT);
    serde_json::from_str(&finished).expect("a finished document is JSON")
});

/// Merges the documents of services with the gateway's own.
pub(crate) fn merge_with_gateway(documents: &[(&str, &Value)]) -> Value {
    let mut documents = documents.to_vec();
    documents.push((NAME, &DOCUMENT));
    let mut merged = merge(&documents);
    introduce(&mut merged, &ABOUT);
    gateway_responses::add(&mut merged);
    merged
}
