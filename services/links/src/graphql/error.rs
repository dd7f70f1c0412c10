//! Errors as GraphQL shows them: a message for people, and `extensions` for programs:
//! `{code, field, errors, requestId, retryAfterSeconds}`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, ServerError, Value};
use quartet_common::problem::{FieldError, Problem, Rule};

use crate::{
    error::{Error, Field},
    problems::graphql as problems,
};

pub(super) type Result<T, E = ResolverError> = std::result::Result<T, E>;

/// The error of a resolver. It is not `Display`: async-graphql turns whatever is `Display` into an
/// error without a code.
#[derive(Clone, Debug)]
pub(super) struct ResolverError(async_graphql::Error);

impl From<ResolverError> for async_graphql::Error {
    fn from(error: ResolverError) -> Self {
        error.0
    }
}

impl From<async_graphql::Error> for ResolverError {
    fn from(error: async_graphql::Error) -> Self {
        Self(error)
    }
}

impl From<Problem> for ResolverError {
    fn from(problem: Problem) -> Self {
        Self(async_graphql::Error {
            message: message(&problem),
            extensions: Some(extensions(&problem)),
            source: Some(Arc::new(problem)),
        })
    }
}

impl From<Error> for ResolverError {
    fn from(error: Error) -> Self {
        let violations = error.violations().into_iter();
        let fields = violations
            .map(|it| FieldError::body(pointer(it.field), it.rule.code, it.rule.detail))
            .collect();
        Problem::from(error).errors(fields).into()
    }
}

/// An argument that breaks a rule, named by its JSON pointer.
pub(super) fn invalid_argument(pointer: impl Into<String>, rule: Rule) -> Problem {
    let error = FieldError::body(pointer, rule.code, rule.detail);
    Problem::new(&problems::INVALID_INPUT).field(error)
}

/// Values that are not of their type, each named by its JSON pointer.
pub(super) fn unreadable<P: Into<String>>(values: impl IntoIterator<Item = (P, Rule)>) -> Problem {
    let errors = values.into_iter();
    let errors = errors.map(|(pointer, rule)| FieldError::body(pointer, rule.code, rule.detail));
    Problem::new(&problems::BAD_USER_INPUT).errors(errors.collect())
}

/// The error of a request that is not executed.
pub(super) fn request_error(problem: &Problem) -> ServerError {
    let mut error = ServerError::new(message(problem), None);
    error.extensions = Some(extensions(problem));
    error.source = Some(Arc::new(problem.clone()));
    error
}

/// Shortens the list, adds codes to the errors of async-graphql and the request id to all, and
/// logs server errors.
pub(super) fn finish(errors: &mut Vec<ServerError>, max_errors: usize) {
    errors.truncate(max_errors);
    let request = quartet_telemetry::current_request();
    for error in errors {
        if let Some(problem) = error.source::<Problem>()
            && problem.kind.status.is_server_error()
        {
            let (code, causes) = (problem.kind.code, problem.causes());
            tracing::error!(code, error = causes, "GraphQL field failed");
        }
        let values = error.extensions.get_or_insert_default();
        if values.get("code").is_none() {
            let in_resolver = !error.path.is_empty();
            let kind = if in_resolver {
                &problems::BAD_USER_INPUT
            } else {
                &problems::GRAPHQL_VALIDATION_FAILED
            };
            values.set("code", kind.code.to_uppercase());
        }
        if let Some(request) = &request {
            values.set("requestId", request.request_id.as_str());
        }
    }
}

/// Where the schema has a field of the domain.
fn pointer(field: Field) -> &'static str {
    match field {
        Field::Url => "/input/url",
        Field::Slug => "/input/slug",
        Field::Title => "/input/title",
        Field::Enabled => "/input/enabled",
        Field::RedirectStatus => "/input/redirectStatus",
        Field::ExpiresAt => "/input/expiresAt",
        Field::MaxClicks => "/input/maxClicks",
        Field::From => "/from",
        Field::To => "/to",
    }
}

fn message(problem: &Problem) -> String {
    match problem.errors.first() {
        Some(error) => format!("{} {}", name(error), error.detail),
        None => problem
            .detail
            .clone()
            .unwrap_or_else(|| problem.kind.title.to_owned()),
    }
}

fn extensions(problem: &Problem) -> ErrorExtensionValues {
    let mut values = ErrorExtensionValues::default();
    values.set("code", problem.kind.code.to_uppercase());
    if let Some(first) = problem.errors.first() {
        values.set("field", name(first));
        let errors: Vec<Value> = problem.errors.iter().map(field_error).collect();
        values.set("errors", Value::List(errors));
    }
    let retry_after = problem.headers.get(http::header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(seconds) = retry_after {
        values.set("retryAfterSeconds", seconds);
    }
    values
}

fn field_error(error: &FieldError) -> Value {
    async_graphql::value!({
        "field": (name(error)),
        "pointer": (error.pointer.clone()),
        "code": (error.code),
        "detail": (error.detail.clone()),
    })
}

/// `input.url` for `/input/url`.
fn name(error: &FieldError) -> String {
    let pointer = error
        .pointer
        .as_deref()
        .map(|pointer| pointer.trim_start_matches('/'))
        // The pointer of the whole request is empty.
        .filter(|pointer| !pointer.is_empty());
    pointer
        .or(error.parameter.as_deref())
        .unwrap_or("request")
        .replace('/', ".")
}
