//! The merged OpenAPI document of all services, and its 3.0 version.

mod documents;
mod gateway_document;
mod gateway_responses;
mod merge;
mod slots;

pub(crate) use documents::Documents;
pub(crate) use gateway_document::merge_with_gateway;
