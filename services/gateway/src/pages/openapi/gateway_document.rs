//! The operations of the gateway itself, and the merged document.

use std::sync::LazyLock;

use quartet_openapi::{Origin, finish, introduce};
use serde_json::{Value, json};

use super::{gateway_responses, merge::merge};
use crate::error;

const NAME: &str = "gateway";
const OPERATIONS: &str = include_str!("gateway.json");
const TITLE: &str = "Quartet";
const DESCRIPTION: &str = "All operations of all services, through the gateway. Errors are problem \
    documents (RFC 9457) with a stable `code`; each response lists the codes it may have.";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const ORIGIN: Origin = Origin {
    service: None,
    version: VERSION,
    everywhere: &[],
    kinds: error::ALL,
};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let operations = serde_json::from_str(OPERATIONS).expect("gateway.json is an OpenAPI document");
    let finished = finish(operations, &ORIGIN);
    serde_json::from_str(&finished).expect("a finished document is JSON")
});

/// Merges the documents of services with the gateway's own.
pub(crate) fn merge_with_gateway(documents: &[(&str, &Value)]) -> Value {
    let mut documents = documents.to_vec();
    documents.push((NAME, &DOCUMENT));
    let mut merged = merge(&documents);
    merged["info"] = json!({"title": TITLE, "description": DESCRIPTION});
    introduce(&mut merged, VERSION);
    gateway_responses::add(&mut merged);
    merged
}
