//! What the hand-written part needs to know about each operation.

use anyhow::Context as _;
use serde_json::Value;

use crate::document;

pub(crate) fn module(document: &Value) -> anyhow::Result<String> {
    let mut public = Vec::new();
    let mut keyed = Vec::new();
    for operation in document::operations(document) {
        let id = operation["operationId"]
            .as_str()
            .context("an operation has an id")?;
        let security = operation["security"].as_array();
        if security.is_none_or(Vec::is_empty) {
            public.push(id);
        }
        if document::takes_header(operation, "idempotency-key") {
            keyed.push(id);
        }
    }
    public.sort_unstable();
    keyed.sort_unstable();
    Ok(format!(
        "/// Operations that need no access token.\n\
         pub(crate) const PUBLIC: &[&str] = &{public:?};\n\n\
         /// Operations that take an `Idempotency-Key`.\n\
         pub(crate) const KEYED: &[&str] = &{keyed:?};\n"
    ))
}
