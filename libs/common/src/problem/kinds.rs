//! Kinds of problems: the list that documents, the reference of errors and the code share.

use std::fmt::Write as _;

use http::StatusCode;

/// What is the same for every problem of a kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    pub status: StatusCode,
    /// Stable machine-readable name, such as `invalid_body`.
    pub code: &'static str,
    /// One sentence for people.
    pub title: &'static str,
    /// When it is answered.
    pub when: &'static str,
    /// What the client does about it.
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

/// The kinds as GraphQL tells them: in capitals, without a status.
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
    pub INVALID_PARAMETER = BAD_REQUEST "invalid_parameter"
        "A path, query or header parameter breaks a rule" {
        when: "a parameter is unknown, misspelt or outside its bounds; `errors` names it",
        then: "send what the rule in `errors` asks for",
    }
    pub MALFORMED_JSON = BAD_REQUEST "malformed_json" "The request body is not JSON" {
        when: "the body has a syntax error or ends early; `detail` tells line and column",
        then: "mend the body",
    }
    pub INCOMPLETE_BODY = BAD_REQUEST "incomplete_body" "The request body could not be read" {
        when: "the connection broke while the body arrived",
        then: "send the request again",
    }
    pub UNAUTHENTICATED = UNAUTHORIZED "unauthenticated" "A valid access token is needed" {
        when: "the access token is missing, wrong or expired, or its session has ended",
        then: "refresh the session and repeat the request with the new access token, or log in",
    }
    pub FORBIDDEN = FORBIDDEN "forbidden" "The caller may not do this" {
        when: "the caller is known and not allowed to do this",
        then: "do not repeat the request",
    }
    pub NOT_FOUND = NOT_FOUND "not_found" "There is no such resource" {
        when: "the resource does not exist, or belongs to somebody else",
        then: "do not repeat the request",
    }
    pub NO_ROUTE = NOT_FOUND "no_route" "There is nothing at this path" {
        when: "no operation has this path",
        then: "mend the address",
    }
    pub METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method_not_allowed"
        "This path does not know that method" {
        when: "the path exists and has no operation with this method",
        then: "use a method that the documents name",
    }
    pub REQUEST_TIMEOUT = REQUEST_TIMEOUT "request_timeout" "The request took too long to arrive" {
        when: "the head or the body did not arrive in time; `detail` tells the time",
        then: "send the request again over a better connection",
    }
    pub REQUEST_IN_FLIGHT = CONFLICT "request_in_flight"
        "A request with this Idempotency-Key is still running" {
        when: "the first request with the same key has not been answered yet",
        then: "send it again after `Retry-After`",
    }
    pub PRECONDITION_FAILED = PRECONDITION_FAILED "precondition_failed"
        "The resource has changed since it was read" {
        when: "`If-Match` names another version than the current one",
        then: "read the resource again, then decide whether the change still makes sense",
    }
    pub BODY_TOO_LARGE = PAYLOAD_TOO_LARGE "body_too_large" "The request body is too large" {
        when: "the body is larger than the operation takes",
        then: "send less",
    }
    pub UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type"
        "The request body must be JSON" {
        when: "the `Content-Type` is not one of JSON",
        then: "send JSON, and say so",
    }
    pub INVALID_BODY = UNPROCESSABLE_ENTITY "invalid_body" "The request body breaks a rule" {
        when: "the body is JSON and one or more of its fields break a rule; `errors` names each",
        then: "send what the rules in `errors` ask for",
    }
    pub IDEMPOTENCY_KEY_REUSED = UNPROCESSABLE_ENTITY "idempotency_key_reused"
        "The Idempotency-Key was used for another request" {
        when: "the same key came with another body within 24 hours",
        then: "make a new key for each different request",
    }
    pub INTERNAL = INTERNAL_SERVER_ERROR "internal" "Something broke on our side" {
        when: "an error that nobody foresaw; the log has its cause under `request_id`",
        then: "try again once, then report `request_id`",
    }
    pub UNAVAILABLE = SERVICE_UNAVAILABLE "unavailable"
        "A part that this needs does not answer just now" {
        when: "the public keys cannot be had, or there is more work than can be done at once",
        then: "send the request again after `Retry-After`",
    }
    pub DATABASE_UNAVAILABLE = SERVICE_UNAVAILABLE "database_unavailable"
        "The database does not answer just now" {
        when: "the database cannot be reached or takes too long",
        then: "send the request again after `Retry-After`",
    }
    pub TIMED_OUT = SERVICE_UNAVAILABLE "timed_out" "The request took too long" {
        when: "the service gave no answer within its time; the work may have been done",
        then: "send the request again after `Retry-After`, with the same Idempotency-Key if it had one",
    }
}
