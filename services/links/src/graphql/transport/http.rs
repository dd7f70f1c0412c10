//! `/v1/links/graphql`: GET and POST by the GraphQL-over-HTTP specification.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use axum::{
    extract::{FromRequest, FromRequestParts, Request, State, WebSocketUpgrade},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use quartet_auth::Actor;
use quartet_common::problem::{FieldError, Problem, kinds as common};
use quartet_http::extract::Body;
use quartet_service::idempotency::undone;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    execution::{Operation, RejectedOperation},
    negotiation::{AcceptedTypes, JsonType},
    openapi::{EVENTS, EXPLORER, KeyErrors, RequestErrors, error_codes, executed},
    request::GraphQlRequest,
    response::GraphQlResponse,
    sse,
    state::GraphQlState,
    websocket,
};
use crate::{
    auth,
    config::GraphQl as Settings,
    graphql::{
        budget::{Balance, User},
        explorer,
    },
    problems,
};

static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

pub(crate) fn routes() -> OpenApiRouter<GraphQlState> {
    OpenApiRouter::new().routes(routes!(get_graphql, post_graphql))
}

/// Execute a GraphQL operation
///
/// Executes a query, a mutation or, with `Accept: text/event-stream`, a subscription. Documents are
/// checked against limits of size, depth, aliases and cost before they are executed. Errors are in
/// the response body, each with a stable `extensions.code`; errors of single fields leave the
/// status at 200. A mutation is executed once for each `Idempotency-Key`, unless all that it was to
/// change has failed; other operations ignore the header.
#[utoipa::path(
    post,
    path = "/v1/links/graphql",
    operation_id = "execute_graphql",
    tag = "graphql",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header)),
    request_body(content = GraphQlRequest, content_type = "application/json"),
    responses(
        (status = 200, description = "The response, including errors of single fields", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(executed())),
            (GraphQlResponse = "application/json", example = json!(executed())),
            (String = "text/event-stream", example = json!(EVENTS)),
        )),
        RequestErrors,
        KeyErrors,
    ),
    extensions(
        ("x-problem-codes" = json!([problems::NOT_ACCEPTABLE.code])),
        ("x-graphql-error-codes" = json!(error_codes())),
    ),
)]
async fn post_graphql(State(state): State<GraphQlState>, request: Request) -> Response {
    let accept = AcceptedTypes::read(request.headers());
    if accept.json.is_none() && !accept.events {
        return not_acceptable().into_response();
    }
    let exchange = Exchange {
        state,
        accept,
        is_get: false,
    };
    let actor = match exchange.authenticate(request.headers()).await {
        Ok(actor) => actor,
        Err(response) => return response,
    };
    match read_body(request).await {
        Ok((sent, request)) => exchange.execute(request, actor, Some(sent)).await,
        Err(problem) if problem.kind.status == StatusCode::BAD_REQUEST => exchange.reject(&problem),
        Err(problem) => problem.into_response(),
    }
}

/// Execute a GraphQL query, open a WebSocket, or get the explorer
///
/// With `query`: executes a query or a subscription; mutations require POST. With `Upgrade:
/// websocket`: opens a WebSocket with the subprotocol graphql-transport-ws, where the access token
/// goes into the payload of `connection_init`. With `Accept: text/html` and no `query`: a page for
/// trying out operations.
#[utoipa::path(
    get,
    path = "/v1/links/graphql",
    operation_id = "query_graphql",
    tag = "graphql",
    security(("bearer" = [])),
    params(
        ("query" = Option<String>, Query, description = "The document: operations and fragments", example = "{ links { nodes { slug } } }"),
        ("operationName" = Option<String>, Query, description = "The operation to execute; required if the document has several", example = "Mine"),
        ("variables" = Option<String>, Query, description = "The values of the variables, as JSON", example = "{\"first\": 20}"),
    ),
    responses(
        (status = 101, description = "A WebSocket with the subprotocol graphql-transport-ws"),
        (status = 200, description = "The response, including errors of single fields; or the page", content(
            (GraphQlResponse = "application/graphql-response+json", example = json!(executed())),
            (GraphQlResponse = "application/json", example = json!(executed())),
            (String = "text/event-stream", example = json!(EVENTS)),
            (String = "text/html", example = json!(EXPLORER)),
        )),
        RequestErrors,
    ),
    extensions(
        ("x-problem-codes" = json!([
            problems::INVALID_UPGRADE.code, problems::MUTATION_BY_GET.code, problems::NOT_ACCEPTABLE.code,
            problems::ORIGIN_NOT_ALLOWED.code,
        ])),
        ("x-graphql-error-codes" = json!(error_codes())),
    ),
)]
async fn get_graphql(State(state): State<GraphQlState>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if parts.headers.contains_key(header::UPGRADE) {
        if let Err(problem) = websocket::check_origin(&parts.headers, &state.app.ctx.config) {
            return problem.into_response();
        }
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => websocket::upgrade(upgrade, &parts.headers, state),
            Err(rejection) => websocket::invalid_upgrade(&rejection).into_response(),
        };
    }
    let accept = AcceptedTypes::read(&parts.headers);
    let query = parts.uri.query().unwrap_or_default();
    let has_document =
        url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "query");
    if accept.html && !has_document {
        return explorer::page();
    }
    if accept.json.is_none() && !accept.events {
        return not_acceptable().into_response();
    }
    let exchange = Exchange {
        state,
        accept,
        is_get: true,
    };
    match exchange.authenticate(&parts.headers).await {
        Err(response) => response,
        Ok(actor) => match GraphQlRequest::from_query(query) {
            Err(problem) => exchange.reject(&problem),
            Ok(request) => exchange.execute(request, actor, None).await,
        },
    }
}

/// The head of a request and its body, which its idempotency key stands for.
type Sent = (Parts, Bytes);

/// One request and the media types of its response.
#[derive(Clone)]
struct Exchange {
    state: GraphQlState,
    accept: AcceptedTypes,
    is_get: bool,
}

impl Exchange {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Actor, Response> {
        let verified = auth::actor(headers, &self.state.app).await;
        verified.map_err(|error| self.reject(&error.into()))
    }

    async fn execute(&self, request: GraphQlRequest, actor: Actor, sent: Option<Sent>) -> Response {
        let user = match self.state.user(&actor) {
            Ok(user) => user,
            Err(problem) => return self.reject(&problem),
        };
        let prepared = Operation::prepare(request, &actor, Arc::clone(&user), &self.state).await;
        let response = match prepared {
            Ok(operation) => self.run(operation, &actor, &user, sent).await,
            Err(RejectedOperation::Document(response)) => {
                self.write(StatusCode::BAD_REQUEST, &response)
            }
            Err(RejectedOperation::Refused(problem)) => self.refuse(&problem),
        };
        with_quota(response, user.balance(), &self.state.app.ctx.config.graphql)
    }

    async fn run(
        &self,
        operation: Operation,
        actor: &Actor,
        user: &Arc<User>,
        sent: Option<Sent>,
    ) -> Response {
        if self.is_get && operation.kind == OperationType::Mutation {
            return mutation_by_get().into_response();
        }
        match (self.accept.json, operation.kind) {
            (Some(_), OperationType::Query) => self.answer(operation, user).await,
            (Some(_), OperationType::Mutation) => self.once(operation, user, sent).await,
            _ if self.accept.events => {
                sse::respond(operation, actor, Arc::clone(user), &self.state)
            }
            _ => self.reject(&stream_needed()),
        }
    }

    /// Executes a mutation unless the response to it is kept for its idempotency key.
    async fn once(&self, operation: Operation, user: &Arc<User>, sent: Option<Sent>) -> Response {
        let (exchange, user) = (self.clone(), Arc::clone(user));
        let work = async move { exchange.answer(operation, &user).await };
        let Some((head, body)) = sent else {
            return work.await;
        };
        let done = self.state.app.idempotency().once(&head, &body, work).await;
        done.unwrap_or_else(|problem| self.reject(&problem))
    }

    /// The one response to a query or a mutation.
    async fn answer(&self, operation: Operation, user: &Arc<User>) -> Response {
        let (kind, is_single) = (operation.kind, operation.is_single);
        let response = match operation.run(&self.state).await {
            Ok(response) => response,
            Err(problem) => return undone(self.refuse(&problem)),
        };
        if response.is_request_error() {
            return undone(self.write(StatusCode::BAD_REQUEST, &response));
        }
        let answer = match user.counted(response.to_json()).await {
            Ok(body) => respond(StatusCode::OK, self.media_type(), body),
            // It has taken effect, and the client must know.
            Err(_) if kind == OperationType::Mutation => self.write(StatusCode::OK, &response),
            Err(problem) => return self.refuse(&problem),
        };
        if response.is_undone(is_single) {
            return undone(answer);
        }
        answer
    }

    /// Writes a problem with what a well-formed request asks for, such as its cost, as one with the
    /// document; any other one as `reject` does.
    fn refuse(&self, problem: &Problem) -> Response {
        if problem.kind.status != StatusCode::BAD_REQUEST {
            return self.reject(problem);
        }
        let settings = &self.state.app.ctx.config.graphql;
        let response = GraphQlResponse::from_problem(problem, settings);
        self.write(StatusCode::BAD_REQUEST, &response)
    }

    /// Writes a problem with who asks, how, or when. Its status is that of the problem, with
    /// `application/json` too.
    fn reject(&self, problem: &Problem) -> Response {
        let settings = &self.state.app.ctx.config.graphql;
        let body = GraphQlResponse::from_problem(problem, settings);
        let mut response = json(problem.kind.status, self.media_type(), &body);
        response.headers_mut().extend(problem.headers.clone());
        response
    }

    /// Writes a response to a well-formed request. Its status is always 200 with
    /// `application/json`.
    fn write(&self, status: StatusCode, response: &GraphQlResponse) -> Response {
        match self.accept.json {
            Some(JsonType::Json) => json(StatusCode::OK, JsonType::Json, response),
            _ => json(status, JsonType::GraphQlResponse, response),
        }
    }

    fn media_type(&self) -> JsonType {
        self.accept.json.unwrap_or(JsonType::GraphQlResponse)
    }
}

fn json(status: StatusCode, media_type: JsonType, response: &GraphQlResponse) -> Response {
    respond(status, media_type, response.to_json().into())
}

fn respond(status: StatusCode, media_type: JsonType, body: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type.content_type()),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::VARY, "accept, authorization"),
    ];
    (status, headers, body).into_response()
}

/// Adds what the user has left, as in draft-ietf-httpapi-ratelimit-headers-11. The units are those of
/// `graphql.max_cost`.
fn with_quota(mut response: Response, balance: Balance, settings: &Settings) -> Response {
    let whole_seconds = balance.full_in.as_secs() + u64::from(balance.full_in.subsec_nanos() > 0);
    let (burst, per_second) = (settings.cost_burst, settings.cost_per_second);
    let policy = format!(
        "\"graphql-cost\";q={burst};w={}",
        burst.div_ceil(per_second)
    );
    let left = format!("\"graphql-cost\";r={};t={whole_seconds}", balance.left);
    let headers = response.headers_mut();
    for (name, text) in [(&RATE_LIMIT_POLICY, policy), (&RATE_LIMIT, left)] {
        let value = HeaderValue::try_from(text).expect("numbers are valid in a header");
        headers.insert(name, value);
    }
    response
}

async fn read_body(request: Request) -> Result<(Sent, GraphQlRequest), Problem> {
    require_json(request.headers())?;
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head.clone(), body);
    let Body(bytes) = Body::from_request(request, &()).await?;
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let detail = format!("the body is not JSON: syntax error at line {line} column {column}");
        Problem::new(&common::MALFORMED_JSON).detail(detail)
    })?;
    Ok(((head, bytes), GraphQlRequest::from_json(value)?))
}

/// Rejects everything but JSON: browsers let the forms of other sites post any other type without
/// asking first (CSRF).
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let mut parts = value
        .unwrap_or_default()
        .split(';')
        .map(|part| part.trim().to_ascii_lowercase());
    let is_json = parts.next().as_deref() == Some("application/json");
    let is_utf8 = parts.all(|part| match part.split_once('=') {
        Some((name, charset)) if name.trim() == "charset" => {
            matches!(charset.trim().trim_matches('"'), "utf-8" | "utf8")
        }
        _ => true,
    });
    if is_json && is_utf8 {
        return Ok(());
    }
    let code = common::UNSUPPORTED_MEDIA_TYPE.code;
    let error = FieldError::parameter("content-type", code, "must be application/json in UTF-8");
    Err(Problem::new(&common::UNSUPPORTED_MEDIA_TYPE).field(error))
}

fn not_acceptable() -> Problem {
    let detail =
        "must allow application/graphql-response+json, application/json or text/event-stream";
    let error = FieldError::parameter("accept", problems::NOT_ACCEPTABLE.code, detail);
    Problem::new(&problems::NOT_ACCEPTABLE).field(error)
}

fn mutation_by_get() -> Problem {
    let detail = "must not be a mutation in a GET request";
    Problem::new(&problems::MUTATION_BY_GET)
        .field(FieldError::parameter("query", "mutation", detail))
        .header(header::ALLOW, HeaderValue::from_static("POST"))
}

fn stream_needed() -> Problem {
    let kind = &problems::graphql::STREAM_NEEDED;
    let detail = "must allow text/event-stream for a subscription; or use a WebSocket";
    Problem::new(kind).field(FieldError::parameter("accept", kind.code, detail))
}
