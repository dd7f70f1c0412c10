//! `[validation]`.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Validation {
    pub(crate) max_body_bytes: u64,
    pub(crate) max_response_bytes: u64,
    pub(crate) response_percent: u32,
    pub(crate) max_buffered_bytes: u64,
    pub(crate) unknown_operations: UnknownOperations,
    pub(crate) refuse_unknown_query: bool,
    pub(crate) formats: Vec<String>,
    pub(crate) previous_document_seconds: u64,
}

/// With `validate = "block"`, what becomes of requests for which the document has no operation.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UnknownOperations {
    Refuse,
    Pass,
}
