//! What a process needs of OpenAPI while it runs: the names that documents use, a walk over their
//! operations and schemas, and the conversion to 3.0. Documents are built by `quartet-openapi`.

mod v3_0;
pub mod walk;

use serde_json::Value;

pub use v3_0::to_3_0;

use crate::cli::OpenapiVersion;

/// Name of the security scheme that protected operations refer to: `security(("bearer" = []))`.
pub const BEARER: &str = "bearer";
/// Media type of a problem (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// Extension of an operation with the codes of the problems that only it returns; in a finished
/// document, of each response with all of its codes.
pub const CODES: &str = "x-problem-codes";
/// Extension of a GraphQL operation with the codes that its errors carry.
pub const GRAPHQL_CODES: &str = "x-graphql-error-codes";

const LICENSE_URL: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "#license");

/// Pretty JSON with a final newline, always the same for the same document.
pub fn print(document: &Value) -> String {
    format!("{document:#}\n")
}

/// A 3.1 document as text in the given version.
///
/// # Errors
/// When the text is not JSON.
pub fn in_version(document: &str, version: OpenapiVersion) -> serde_json::Result<String> {
    match version {
        OpenapiVersion::V3_1 => Ok(document.to_owned()),
        OpenapiVersion::V3_0 => Ok(print(&to_3_0(&serde_json::from_str(document)?))),
    }
}
