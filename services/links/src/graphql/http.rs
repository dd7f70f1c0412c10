//! `/v1/links/graphql`: GET and POST by the GraphQL-over-HTTP specification.

use async_graphql::parser::types::OperationType;
use axum::{
    extract::{FromRequest, FromRequestParts, Request, State, WebSocketUpgrade},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use quartet_auth::Caller;
use quartet_common::problem::{FieldError, Problem, kinds as common};
use quartet_http::extract::Body;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    description::{
        EVENTS, EXPLORER, GraphQlRequest, GraphQlResponse, error_codes, executed, refused,
    },
    execute::{Answer, Parameters},
    explorer,
    negotiation::{Accepted, JsonForm},
    sse, websocket,
};
use crate::{error::kinds, state::AppState};

pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_graphql, post_graphql))
}

/// Execute a GraphQL document
///
/// Queries, mutations, and (with `Accept: text/event-stream`) subscriptions. Documents are held
/// to limits of size, depth, aliases and cost before they are executed.
#[utoipa::path(
    post,
    path = "/v1/links/graphql",
    operation_id = "execute_graphql",
    tag = "graphql",
    security(("bearer" = [])),
    request_body(content = GraphQlRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "The answer, errors of single fields included", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(executed())),
            (GraphQlResponse = "application/json", example = json!(executed())),
            (String = "text/event-stream", example = json!(EVENTS)),
        )),
        (status = 400, description = "The parameters are wrong, or (for application/graphql-response+json) the document is", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(refused(&common::MALFORMED_JSON))),
            (GraphQlResponse = "application/json", example = json!(refused(&common::MALFORMED_JSON))),
        )),
        (status = 401, description = "The access token is missing, wrong or expired", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(refused(&common::UNAUTHENTICATED))),
            (GraphQlResponse = "application/json", example = json!(refused(&common::UNAUTHENTICATED))),
        )),
        (status = 503, description = "The keys that verify access tokens cannot be had just now", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(refused(&common::UNAVAILABLE))),
            (GraphQlResponse = "application/json", example = json!(refused(&common::UNAVAILABLE))),
        )),
    ),
    extensions(
        ("x-problem-codes" = json!(["not_acceptable"])),
        ("x-graphql-error-codes" = json!(error_codes())),
    ),
)]
async fn post_graphql(State(state): State<AppState>, request: Request) -> Response {
    let accepted = Accepted::read(request.headers());
    if accepted.json.is_none() && !accepted.events {
        return not_acceptable().into_response();
    }
    let door = Door {
        state: &state,
        accepted,
        is_get: false,
    };
    let caller = match door.caller(request.headers()).await {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    let parameters = match read_body(request).await {
        Ok(parameters) => parameters,
        Err(problem) if problem.kind.status == StatusCode::BAD_REQUEST => {
            return door.refuse(&problem);
        }
        Err(problem) => return problem.into_response(),
    };
    door.answer(parameters, caller).await
}

/// Query by GET, open a WebSocket, or explore
///
/// With `query`: executes a query (mutations are refused). With `Upgrade: websocket`: speaks
/// graphql-transport-ws; the token goes into the payload of `connection_init`. To a browser: a
/// page for trying things out.
#[utoipa::path(
    get,
    path = "/v1/links/graphql",
    operation_id = "query_graphql",
    tag = "graphql",
    security(("bearer" = [])),
    params(
        ("query" = Option<String>, Query, description = "The document", example = "{ links { nodes { slug } } }"),
        ("operationName" = Option<String>, Query, description = "Which of the document's operations is meant", example = "Mine"),
        ("variables" = Option<String>, Query, description = "Values of the document's variables, as JSON", example = "{\"first\": 20}"),
    ),
    responses(
        (status = 101, description = "A WebSocket with the sub-protocol graphql-transport-ws"),
        (status = 200, description = "The answer, or the page for browsers", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(executed())),
            (GraphQlResponse = "application/json", example = json!(executed())),
            (String = "text/event-stream", example = json!(EVENTS)),
            (String = "text/html", example = json!(EXPLORER)),
        )),
        (status = 400, description = "The parameters are wrong, or (for application/graphql-response+json) the document is", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(refused(&common::MALFORMED_JSON))),
            (GraphQlResponse = "application/json", example = json!(refused(&common::MALFORMED_JSON))),
        )),
        (status = 401, description = "The access token is missing, wrong or expired", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(refused(&common::UNAUTHENTICATED))),
            (GraphQlResponse = "application/json", example = json!(refused(&common::UNAUTHENTICATED))),
        )),
        (status = 503, description = "The keys that verify access tokens cannot be had just now", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(refused(&common::UNAVAILABLE))),
            (GraphQlResponse = "application/json", example = json!(refused(&common::UNAVAILABLE))),
        )),
    ),
    extensions(
        ("x-problem-codes" = json!(["invalid_upgrade", "mutation_by_get", "not_acceptable"])),
        ("x-graphql-error-codes" = json!(error_codes())),
    ),
)]
async fn get_graphql(State(state): State<AppState>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if parts.headers.contains_key(header::UPGRADE) {
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => websocket::upgrade(upgrade, &parts.headers, state),
            Err(rejection) => websocket::refused(&rejection).into_response(),
        };
    }
    let accepted = Accepted::read(&parts.headers);
    let query = parts.uri.query().unwrap_or_default();
    let has_document =
        url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "query");
    if accepted.html && !has_document {
        return explorer::page();
    }
    if accepted.json.is_none() && !accepted.events {
        return not_acceptable().into_response();
    }
    let door = Door {
        state: &state,
        accepted,
        is_get: true,
    };
    match door.caller(&parts.headers).await {
        Err(refused) => refused,
        Ok(caller) => match Parameters::from_query(query) {
            Err(problem) => door.refuse(&problem),
            Ok(parameters) => door.answer(parameters, caller).await,
        },
    }
}

/// One request, once it is known what its client takes.
struct Door<'a> {
    state: &'a AppState,
    accepted: Accepted,
    is_get: bool,
}

impl Door<'_> {
    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Response> {
        let verifier = &self.state.verifier;
        let verified = match quartet_auth::bearer_token(headers) {
            Ok(token) => Caller::from_token(verifier, token).await,
            Err(error) => Err(error),
        };
        verified.map_err(|error| self.refuse(&error.into()))
    }

    async fn answer(&self, parameters: Parameters, caller: Caller) -> Response {
        let prepared = match parameters.prepare(self.state, &caller) {
            Ok(prepared) => prepared,
            Err(answer) => return self.write(StatusCode::BAD_REQUEST, answer),
        };
        if self.is_get && prepared.kind == OperationType::Mutation {
            return mutation_by_get().into_response();
        }
        let streams = prepared.kind == OperationType::Subscription;
        match self.accepted.json {
            Some(_) if !streams => {
                let answer = prepared.run(self.state).await;
                let executed = !answer.is_request_error();
                let status = if executed {
                    StatusCode::OK
                } else {
                    StatusCode::BAD_REQUEST
                };
                self.write(status, answer)
            }
            _ if self.accepted.events => sse::respond(prepared, &caller, self.state),
            _ => self.refuse(&needs_stream()),
        }
    }

    /// What keeps the request from being executed, in the client's form.
    fn refuse(&self, problem: &Problem) -> Response {
        let form = self.accepted.json.unwrap_or(JsonForm::Response);
        let answer = Answer::problem(problem, self.state);
        let mut response = json(problem.kind.status, form, answer);
        response.headers_mut().extend(problem.headers.clone());
        response
    }

    /// `application/json` knows 200 only for requests that are well-formed.
    fn write(&self, status: StatusCode, answer: Answer) -> Response {
        match self.accepted.json {
            Some(JsonForm::Legacy) => json(StatusCode::OK, JsonForm::Legacy, answer),
            _ => json(status, JsonForm::Response, answer),
        }
    }
}

fn json(status: StatusCode, form: JsonForm, answer: Answer) -> Response {
    let body = serde_json::to_vec(&answer.into_json()).expect("an answer is plain data");
    let headers = [
        (header::CONTENT_TYPE, form.content_type()),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::VARY, "accept, authorization"),
    ];
    (status, headers, body).into_response()
}

async fn read_body(request: Request) -> Result<Parameters, Problem> {
    require_json(request.headers())?;
    let Body(bytes) = Body::from_request(request, &()).await?;
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::new(&common::MALFORMED_JSON).detail(format!(
            "the body is not JSON: error at line {line} column {column}"
        ))
    })?;
    Parameters::from_json(value)
}

/// Nothing but JSON: a form of another site must not be able to post here.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let mut parts = value
        .unwrap_or_default()
        .split(';')
        .map(|part| part.trim().to_ascii_lowercase());
    let is_json = parts.next().as_deref() == Some("application/json");
    let is_utf8 = parts.all(|part| {
        part.strip_prefix("charset=")
            .is_none_or(|charset| charset.trim_matches('"') == "utf-8")
    });
    if is_json && is_utf8 {
        return Ok(());
    }
    let detail = "must be application/json in UTF-8";
    Err(
        Problem::new(&common::UNSUPPORTED_MEDIA_TYPE).field(FieldError::parameter(
            "content-type",
            "unsupported_media_type",
            detail,
        )),
    )
}

fn not_acceptable() -> Problem {
    let detail =
        "must allow application/graphql-response+json, application/json or text/event-stream";
    Problem::new(&kinds::NOT_ACCEPTABLE).field(FieldError::parameter(
        "accept",
        "not_acceptable",
        detail,
    ))
}

fn mutation_by_get() -> Problem {
    let allow = HeaderValue::from_static("POST");
    Problem::new(&kinds::MUTATION_BY_GET)
        .field(FieldError::parameter(
            "query",
            "mutation",
            "must not be a mutation in a GET request",
        ))
        .header(header::ALLOW, allow)
}

fn needs_stream() -> Problem {
    let detail = "must allow text/event-stream for a subscription; or use a WebSocket";
    Problem::new(&kinds::graphql::STREAM_NEEDED).field(FieldError::parameter(
        "accept",
        "stream_needed",
        detail,
    ))
}
