//! Errors as GraphQL shows them: `extensions {code, field, errors}`.

use std::sync::Arc;

use async_graphql::{ErrorExtensionValues, Pos, ServerError, Value};
use quartet_common::problem::{FieldError, Problem};

use super::guard::Refusal;
use crate::error::{Error, kinds::graphql as kinds};

/// For `map_err` in resolvers.
pub(super) fn graphql(error: impl Into<Error>) -> async_graphql::Error {
    let problem = Problem::from(error.into());
    async_graphql::Error {
        message: message(&problem),
        extensions: Some(extensions(&problem)),
        source: Some(Arc::new(problem)),
    }
}

/// A problem that keeps a request from being executed.
pub(super) fn from_problem(problem: &Problem) -> ServerError {
    let mut error = ServerError::new(message(problem), None);
    error.extensions = Some(extensions(problem));
    error.source = Some(Arc::new(problem.clone()));
    error
}

/// A document that is not executed.
pub(super) fn from_refusal(refusal: &Refusal) -> ServerError {
    let at = refusal.at.map(|(line, column)| Pos { line, column });
    let mut error = ServerError::new(refusal.message.clone(), at);
    let mut values = ErrorExtensionValues::default();
    values.set("code", refusal.kind.code.to_uppercase());
    values.set("field", refusal.field);
    error.extensions = Some(values);
    error
}

/// Gives errors that async-graphql made a code, cuts the list, logs what is our fault.
pub(super) fn finish(errors: &mut Vec<ServerError>, max_errors: usize) {
    errors.truncate(max_errors);
    let request = quartet_telemetry::current_request();
    for error in errors {
        if let Some(problem) = error.source::<Problem>()
            && problem.kind.status.is_server_error()
        {
            let causes = problem.causes();
            tracing::error!(
                code = problem.kind.code,
                error = causes,
                "a GraphQL field failed"
            );
        }
        let values = error.extensions.get_or_insert_default();
        if values.get("code").is_none() {
            let in_resolver = !error.path.is_empty();
            let kind = if in_resolver {
                &kinds::BAD_USER_INPUT
            } else {
                &kinds::GRAPHQL_VALIDATION_FAILED
            };
            values.set("code", kind.code.to_uppercase());
        }
        if let Some(request) = &request {
            values.set("requestId", request.request_id.as_str());
        }
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
    if problem.headers.contains_key(http::header::RETRY_AFTER) {
        values.set("retryAfterSeconds", 1);
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

/// `/input/url` as `input.url`.
fn name(error: &FieldError) -> String {
    let pointer = error
        .pointer
        .as_deref()
        .map(|pointer| pointer.trim_start_matches('/'));
    pointer
        .or(error.parameter.as_deref())
        .unwrap_or("request")
        .replace('/', ".")
}
