//! GraphQL as the OpenAPI document describes it: bodies, their examples, the codes of errors.

use quartet_common::problem::{Kind, kinds as common};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::kinds::graphql;

/// Results of a subscription as server-sent events.
pub(super) const EVENTS: &str = "event: next\ndata: {\"data\":{\"clicks\":{\"at\":\"2026-03-14T09:26:53.589793Z\"}}}\n\n\
    event: complete\ndata:\n\n";
pub(super) const EXPLORER: &str = "<!doctype html><title>GraphiQL</title>";

/// A GraphQL request.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body; reading it names each wrong parameter"
)]
pub(super) struct GraphQlRequest {
    /// The document.
    #[schema(
        example = "mutation Shorten($input: CreateLinkInput!) { createLink(input: $input) { id slug shortUrl } }"
    )]
    query: String,
    /// Which of the document's operations is meant.
    #[schema(rename = "operationName", example = "Shorten")]
    operation_name: Option<String>,
    /// Values of the document's variables.
    #[schema(value_type = Option<Object>, example = json!({"input": {"url": "https://example.com/"}}))]
    variables: Option<Value>,
}

/// A GraphQL answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what async-graphql writes")]
pub(super) struct GraphQlResponse {
    /// What was asked for; left out when the document was not executed, null when a field that
    /// must not be null failed.
    #[schema(
        value_type = Value,
        required = false,
        example = json!({"createLink": {
            "id": "lnk_01jd6x8rv3fq4t2m8n5k7c9e1z",
            "slug": "k7Rp2Wx",
            "shortUrl": "https://quartet.example/s/k7Rp2Wx",
        }})
    )]
    data: Option<Value>,
    /// What went wrong; left out when nothing did.
    #[schema(required = false, nullable = false)]
    errors: Option<Vec<GraphQlError>>,
}

/// One thing that went wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what async-graphql writes")]
struct GraphQlError {
    /// For people.
    #[schema(example = "input.url must be an absolute http or https address")]
    message: String,
    /// Where in the document.
    #[schema(required = false, nullable = false)]
    locations: Option<Vec<GraphQlLocation>>,
    /// The field of the answer that failed: names, and numbers of list items.
    #[schema(value_type = Vec<Value>, required = false, nullable = false, example = json!(["createLink"]))]
    path: Option<Vec<Value>>,
    extensions: GraphQlErrorExtensions,
}

/// A place in the document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what async-graphql writes")]
struct GraphQlLocation {
    #[schema(example = 1, minimum = 1)]
    line: u32,
    #[schema(example = 45, minimum = 1)]
    column: u32,
}

/// What programs read of an error.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what errors are given")]
struct GraphQlErrorExtensions {
    /// Stable name of the error.
    #[schema(example = "INVALID_INPUT")]
    code: String,
    /// The argument, variable or parameter that is at fault.
    #[schema(required = false, nullable = false, example = "input.url")]
    field: Option<String>,
    /// Every field that breaks a rule.
    #[schema(required = false, nullable = false)]
    errors: Option<Vec<GraphQlFieldError>>,
    /// Equal to the `x-request-id` header.
    #[schema(
        required = false,
        nullable = false,
        example = "019a2f6e-7d64-7c30-9d5e-2f1f3a1f9f10"
    )]
    request_id: Option<String>,
    /// Seconds after which the same may work.
    #[schema(required = false, nullable = false, example = 1, minimum = 1)]
    retry_after_seconds: Option<u32>,
}

/// One field of the input and the rule that it breaks.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what errors are given")]
struct GraphQlFieldError {
    /// With dots.
    #[schema(example = "input.url")]
    field: String,
    /// JSON pointer (RFC 6901); null for parameters.
    #[schema(example = "/input/url")]
    pointer: Option<String>,
    /// Stable name of the rule.
    #[schema(example = "invalid_url")]
    code: String,
    /// The rule in words, with its bound.
    #[schema(example = "must be an absolute http or https address")]
    detail: String,
}

/// Codes that an error of GraphQL may have.
pub(super) fn error_codes() -> Vec<String> {
    let shared = [
        &common::UNAUTHENTICATED,
        &common::NOT_FOUND,
        &common::MALFORMED_JSON,
        &common::INCOMPLETE_BODY,
        &common::INTERNAL,
        &common::UNAVAILABLE,
        &common::DATABASE_UNAVAILABLE,
    ];
    let own = graphql::ALL.iter().copied();
    let mut codes: Vec<String> = own
        .chain(shared)
        .map(|kind| kind.code.to_uppercase())
        .collect();
    codes.sort();
    codes
}

/// The answer to the document of the request's example.
pub(super) fn executed() -> Value {
    json!({"data": {"createLink": {
        "id": "lnk_01jd6x8rv3fq4t2m8n5k7c9e1z",
        "slug": "k7Rp2Wx",
        "shortUrl": "https://quartet.example/s/k7Rp2Wx",
    }}})
}

/// A request that is not executed for this reason.
pub(super) fn refused(kind: &Kind) -> Value {
    json!({"errors": [{
        "message": kind.title,
        "extensions": {
            "code": kind.code.to_uppercase(),
            "requestId": "019a2f6e-7d64-7c30-9d5e-2f1f3a1f9f10",
        },
    }]})
}
