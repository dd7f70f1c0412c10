//! GraphQL in the OpenAPI document: the shape of errors, examples, and error codes.

use std::collections::BTreeMap;

use quartet_common::problem::{Kind, kinds as common};
use serde_json::{Value, json};
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder},
};

use crate::problems::graphql as problems;

/// A subscription's events.
pub(super) const EVENTS: &str = "event: next\ndata: {\"data\":{\"clicks\":{\"at\":\"2026-03-14T09:26:53.589793Z\"}}}\n\n\
    event: complete\ndata:\n\n";
pub(super) const EXPLORER: &str = "<!doctype html><title>Quartet links: GraphQL explorer</title>";
const REQUEST_ID: &str = "019a2f6e-7d64-7c30-9d5e-2f1f3a1f9f10";

/// One error.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what async-graphql writes")]
pub(super) struct GraphQlError {
    /// A message for people.
    #[schema(example = "input.url must be an absolute http or https URL")]
    message: String,
    /// The places in the document.
    #[schema(required = false, nullable = false)]
    locations: Option<Vec<GraphQlLocation>>,
    /// The field of the response that failed: names of fields, and indexes into lists.
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

/// The machine-readable part of an error.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes `graphql::error`")]
struct GraphQlErrorExtensions {
    /// The stable name of the error.
    #[schema(example = "INVALID_INPUT")]
    code: String,
    /// The invalid argument, variable or parameter.
    #[schema(required = false, nullable = false, example = "input.url")]
    field: Option<String>,
    /// Every field that breaks a rule.
    #[schema(required = false, nullable = false)]
    errors: Option<Vec<GraphQlFieldError>>,
    /// Equal to the `x-request-id` header.
    #[schema(required = false, nullable = false, example = json!(REQUEST_ID))]
    request_id: Option<String>,
    /// Retry after this number of seconds.
    #[schema(required = false, nullable = false, example = 1, minimum = 1)]
    retry_after_seconds: Option<u32>,
}

/// A field that breaks a rule.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes `graphql::error`")]
struct GraphQlFieldError {
    /// The path of the field, joined by dots.
    #[schema(example = "input.url")]
    field: String,
    /// JSON pointer (RFC 6901) into the arguments. Null for parameters of the HTTP request.
    #[schema(example = "/input/url")]
    pointer: Option<String>,
    /// The stable name of the rule.
    #[schema(example = "invalid_url")]
    code: String,
    /// The rule in words, with its bound.
    #[schema(example = "must be an absolute http or https URL")]
    detail: String,
}

/// The responses of both methods to a request that is not executed.
pub(super) struct RequestErrors;

impl IntoResponses for RequestErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let responses = [
            (
                &common::MALFORMED_JSON,
                "A parameter is invalid, or (with application/graphql-response+json) the document \
                 is invalid",
            ),
            (
                &common::UNAUTHENTICATED,
                "The access token is missing, invalid or expired",
            ),
            (
                &common::FORBIDDEN,
                "The access token has scopes, and not the one that the operation needs",
            ),
            (
                &problems::RATE_LIMITED,
                "The operation costs more than the user has left of the quota in `RateLimit-Policy`",
            ),
            (
                &common::UNAVAILABLE,
                "The keys that verify access tokens are not available",
            ),
        ];
        responses.map(response).into()
    }
}

/// The responses to a mutation whose idempotency key does not let it be executed.
pub(super) struct KeyErrors;

impl IntoResponses for KeyErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let responses = [
            (
                &common::REQUEST_IN_FLIGHT,
                "The first mutation with this idempotency key has not been completed yet",
            ),
            (
                &common::IDEMPOTENCY_KEY_REUSED,
                "A different mutation was sent with this idempotency key within the last 24 hours",
            ),
        ];
        responses.map(response).into()
    }
}

fn response((kind, description): (&Kind, &str)) -> (String, RefOr<Response>) {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("GraphQlResponse")))
        .example(Some(request_error(kind)))
        .build();
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/graphql-response+json", content.clone())
        .content("application/json", content);
    (kind.status.as_str().to_owned(), response.build().into())
}

/// The codes of GraphQL errors, sorted.
pub(super) fn error_codes() -> Vec<String> {
    let shared = [
        &common::UNAUTHENTICATED,
        &common::FORBIDDEN,
        &common::NOT_FOUND,
        &common::MALFORMED_JSON,
        &common::INCOMPLETE_BODY,
        &common::INVALID_PARAMETER,
        &common::REQUEST_IN_FLIGHT,
        &common::IDEMPOTENCY_KEY_REUSED,
        &common::INTERNAL,
        &common::UNAVAILABLE,
        &common::DATABASE_UNAVAILABLE,
    ];
    let own = problems::ALL.iter().copied();
    let mut codes: Vec<String> = own
        .chain(shared)
        .map(|kind| kind.code.to_uppercase())
        .collect();
    codes.sort();
    codes
}

/// The response to the example of the request.
pub(super) fn executed() -> Value {
    json!({"data": {"createLink": {
        "id": "lnk_01jd6x8rv3fq4t2m8n5k7c9e1z",
        "slug": "k7Rp2Wx",
        "shortUrl": "https://quartet.example/s/k7Rp2Wx",
    }}})
}

fn request_error(kind: &Kind) -> Value {
    json!({"errors": [{
        "message": kind.title,
        "extensions": {"code": kind.code.to_uppercase(), "requestId": REQUEST_ID},
    }]})
}
