//! Kinds of problems: one list that the code, the OpenAPI documents and `docs/errors.md` share.

use std::fmt::Write as _;

use http::StatusCode;

/// What all problems of a kind have in common.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub status: StatusCode,
    /// Stable machine-readable name, such as `invalid_body`.
    pub code: &'static str,
    /// A short noun phrase for people, without a period.
    pub title: &'static str,
    /// When it is returned: one or two sentences.
    pub when: &'static str,
    /// What the client should do: one or two sentences.
    pub then: &'static str,
}

/// The kinds as a Markdown table, by status.
#[must_use]
pub fn render_markdown(kinds: &[&Kind]) -> String {
    let mut text =
        "| status | code | title | when | what to do |\n|---|---|---|---|---|\n".to_owned();
    for kind in sorted(kinds) {
        let status = kind.status.as_u16();
        let _ = writeln!(text, "| {status} | `{}` | {} |", kind.code, rest(kind));
    }
    text
}

/// The kinds as GraphQL shows them: upper-case codes without a status.
#[must_use]
pub fn render_graphql_markdown(kinds: &[&Kind]) -> String {
    let mut text = "| code | title | when | what to do |\n|---|---|---|---|\n".to_owned();
    for kind in sorted(kinds) {
        let _ = writeln!(text, "| `{}` | {} |", kind.code.to_uppercase(), rest(kind));
    }
    text
}

fn sorted<'a>(kinds: &[&'a Kind]) -> Vec<&'a Kind> {
    let mut kinds = kinds.to_vec();
    kinds.sort_by_key(|kind| (kind.status.as_u16(), kind.code));
    kinds
}

fn rest(kind: &Kind) -> String {
    format!("{} | {} | {}", kind.title, kind.when, kind.then)
}

/// Declares kinds, and `ALL`, which lists them.
#[macro_export]
macro_rules! problem_kinds {
    ($($visibility:vis $name:ident = $status:ident $code:literal $title:literal {
        when: $when:literal, then: $then:literal $(,)?
    })+) => {
        $($visibility static $name: $crate::problem::Kind = $crate::problem::Kind {
            status: http::StatusCode::$status,
            code: $code,
            title: $title,
            when: $when,
            then: $then,
        };)+

        /// Every kind that this module declares.
        pub static ALL: &[&$crate::problem::Kind] = &[$(&$name),+];
    };
}

problem_kinds! {
    pub INVALID_PARAMETER = BAD_REQUEST "invalid_parameter" "Invalid parameter" {
        when: "A path, query or header parameter is unknown or invalid; `errors` names it.",
        then: "Follow the rule in `errors`.",
    }
    pub MALFORMED_JSON = BAD_REQUEST "malformed_json" "Malformed JSON" {
        when: "The body has a syntax error or ends early; `detail` has the line and column.",
        then: "Fix the JSON.",
    }
    pub INCOMPLETE_BODY = BAD_REQUEST "incomplete_body" "Incomplete request body" {
        when: "The connection was closed before the whole body had arrived.",
        then: "Send the request again.",
    }
    pub UNAUTHENTICATED = UNAUTHORIZED "unauthenticated" "Authentication required" {
        when: "The access token is missing, invalid or expired, or its session has ended.",
        then: "Refresh the session and repeat the request with the new access token, or log in again.",
    }
    pub FORBIDDEN = FORBIDDEN "forbidden" "Permission denied" {
        when: "The access token does not permit the request; `WWW-Authenticate` names the scope it lacks.",
        then: "Get a token with that scope.",
    }
    pub NOT_FOUND = NOT_FOUND "not_found" "Resource not found" {
        when: "The resource does not exist or belongs to another user.",
        then: "Check the id.",
    }
    pub NO_ROUTE = NOT_FOUND "no_route" "No such path" {
        when: "No operation has this path.",
        then: "Check the URL.",
    }
    pub METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed" {
        when: "The path exists, but has no operation with this method.",
        then: "Use a method that the API documents for this path.",
    }
    pub REQUEST_TIMEOUT = REQUEST_TIMEOUT "request_timeout" "Request timeout" {
        when: "The request head or the body did not arrive in time.",
        then: "Send the request again over a faster connection.",
    }
    pub REQUEST_IN_FLIGHT = CONFLICT "request_in_flight" "Request with the same idempotency key in progress" {
        when: "The first request with this idempotency key has not been completed yet.",
        then: "Send the request again after the time in `Retry-After`.",
    }
    pub PRECONDITION_FAILED = PRECONDITION_FAILED "precondition_failed" "Outdated version of the resource" {
        when: "`If-Match` does not list the current version of the resource.",
        then: "Read the resource again and decide whether the change still applies.",
    }
    pub BODY_TOO_LARGE = PAYLOAD_TOO_LARGE "body_too_large" "Request body too large" {
        when: "The body exceeds the limit of the operation.",
        then: "Send a smaller body.",
    }
    pub UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "Unsupported media type" {
        when: "The `Content-Type` of the body is not JSON.",
        then: "Send JSON with `Content-Type: application/json`.",
    }
    pub INVALID_BODY = UNPROCESSABLE_ENTITY "invalid_body" "Invalid request body" {
        when: "The body is JSON, but one or more fields are invalid; `errors` names each of them.",
        then: "Follow the rules in `errors`.",
    }
    pub IDEMPOTENCY_KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency_key_reused" "Idempotency key used for another request" {
        when: "A different request was sent with this idempotency key within the last 24 hours.",
        then: "Use a new key for each different request.",
    }
    pub INTERNAL = INTERNAL_SERVER_ERROR "internal" "Internal server error" {
        when: "Unexpected server error.",
        then: "Retry once, then report `request_id`.",
    }
    pub UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable" "Service unavailable" {
        when: "A dependency does not respond, or the service is overloaded.",
        then: "Send the request again after the time in `Retry-After`.",
    }
    pub DATABASE_UNAVAILABLE = SERVICE_UNAVAILABLE "database_unavailable" "Database unavailable" {
        when: "The database cannot be reached or does not respond in time.",
        then: "Send the request again after the time in `Retry-After`.",
    }
    pub TIMED_OUT = SERVICE_UNAVAILABLE "timed_out" "Response timeout" {
        when: "The service did not respond in time. The request may have taken effect.",
        then: "Send the request again after the time in `Retry-After`, with the same idempotency key if it had one.",
    }
}
