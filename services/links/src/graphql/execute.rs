//! From the parameters of a request to an answer, the same for every transport.

use std::sync::Arc;

use async_graphql::{
    Request, Response, ServerError, Variables, dataloader::DataLoader, parser::types::OperationType,
};
use futures_util::{Stream, StreamExt};
use quartet_auth::Caller;
use quartet_common::problem::Problem;
use serde_json::{Map, Value, json};

use super::{Viewer, clicks::SeriesLoader, error, guard};
use crate::{error::kinds::graphql as kinds, state::AppState};

/// The parameters of a GraphQL request (GraphQL over HTTP, section 5).
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    pub(super) query: String,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Map<String, Value>,
}

/// A request whose document keeps to the limits.
pub(super) struct Prepared {
    request: Request,
    pub(super) kind: OperationType,
}

/// An answer before it is written.
pub(super) struct Answer {
    data: async_graphql::Value,
    errors: Vec<ServerError>,
}

impl Parameters {
    /// Reads them from a JSON object.
    ///
    /// # Errors
    /// 400 `invalid_request` naming the parameter.
    pub(super) fn from_json(body: Value) -> Result<Self, Problem> {
        let Value::Object(mut body) = body else {
            let is_batch = body.is_array();
            let rule = if is_batch {
                "must not be a batch"
            } else {
                "must be a JSON object"
            };
            return Err(invalid("", "invalid_type", rule));
        };
        let operation_name = match body.remove("operationName") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => {
                return Err(invalid(
                    "/operationName",
                    "invalid_type",
                    "must be a string",
                ));
            }
        };
        let variables = object(body.remove("variables"), "/variables")?;
        let extensions = object(body.remove("extensions"), "/extensions")?;
        let query = match body.remove("query") {
            Some(Value::String(query)) => query,
            None if extensions.contains_key("persistedQuery") => {
                let rule = "persisted queries are not supported; send the query";
                return Err(invalid("/query", "persisted_query_not_supported", rule));
            }
            None => return Err(invalid("/query", "required", "must be given")),
            Some(_) => return Err(invalid("/query", "invalid_type", "must be a string")),
        };
        Ok(Self {
            query,
            operation_name,
            variables,
        })
    }

    /// Reads them from a query string, in which variables and extensions are JSON.
    ///
    /// # Errors
    /// 400 `invalid_request` naming the parameter.
    pub(super) fn from_query(query: &str) -> Result<Self, Problem> {
        let mut body = Map::new();
        for (name, text) in url::form_urlencoded::parse(query.as_bytes()) {
            let pointer = format!("/{name}");
            let value = match &*name {
                "operationName" if text.is_empty() => Value::Null,
                "query" | "operationName" => Value::String(text.into_owned()),
                "variables" | "extensions" => serde_json::from_str(&text)
                    .map_err(|_| invalid(&pointer, "malformed_json", "must be a JSON object"))?,
                _ => continue,
            };
            if body.insert(name.into_owned(), value).is_some() {
                return Err(invalid(&pointer, "repeated", "must not be given twice"));
            }
        }
        Self::from_json(Value::Object(body))
    }

    /// Looks at the document before anything is done with it.
    pub(super) fn prepare(self, state: &AppState, caller: &Caller) -> Result<Prepared, Answer> {
        let name = self.operation_name.as_deref();
        let checked = guard::check(&self.query, name, &state.config.graphql)
            .map_err(|refusal| Answer::refused(error::from_refusal(&refusal), state))?;
        let owner: Arc<str> = caller.subject().into();
        if owner.chars().any(char::is_control) {
            let problem = Problem::unauthenticated("the token's subject holds control characters");
            return Err(Answer::problem(&problem, state));
        }
        let loader = SeriesLoader {
            links: state.links.clone(),
            owner: Arc::clone(&owner),
        };
        let mut request = Request::new(self.query)
            .variables(Variables::from_json(Value::Object(self.variables)))
            .data(Viewer { subject: owner })
            .data(DataLoader::new(loader, tokio::spawn));
        request.operation_name = self.operation_name;
        request.set_parsed_query(checked.document);
        Ok(Prepared {
            request,
            kind: checked.kind,
        })
    }
}

impl Prepared {
    /// Runs a query or a mutation.
    pub(super) async fn run(self, state: &AppState) -> Answer {
        Answer::new(state.schema.execute(self.request).await, state)
    }

    /// Runs anything; a query or a mutation gives one answer.
    pub(super) fn stream(self, state: &AppState) -> impl Stream<Item = Answer> + Send + use<> {
        let shared = state.clone();
        state
            .schema
            .execute_stream(self.request)
            .map(move |response| Answer::new(response, &shared))
    }
}

impl Answer {
    /// A request that is not executed because of this problem.
    pub(super) fn problem(problem: &Problem, state: &AppState) -> Self {
        Self::refused(error::from_problem(problem), state)
    }

    /// Whether nothing was executed, so that there is no data, not even null.
    pub(super) fn is_request_error(&self) -> bool {
        self.data == async_graphql::Value::Null
            && !self.errors.is_empty()
            && self.errors.iter().all(|error| error.path.is_empty())
    }

    /// `{data, errors}`, each where there is one.
    pub(super) fn into_json(self) -> Value {
        let mut object = Map::new();
        if !self.is_request_error() {
            object.insert("data".into(), json!(self.data));
        }
        if !self.errors.is_empty() {
            object.insert("errors".into(), json!(self.errors));
        }
        Value::Object(object)
    }

    /// The errors alone.
    pub(super) fn into_errors(self) -> Value {
        json!(self.errors)
    }

    fn new(response: Response, state: &AppState) -> Self {
        let Response {
            data, mut errors, ..
        } = response;
        error::finish(&mut errors, state.config.graphql.max_errors);
        Self { data, errors }
    }

    fn refused(error: ServerError, state: &AppState) -> Self {
        Self::new(Response::from_errors(vec![error]), state)
    }
}

fn object(value: Option<Value>, pointer: &str) -> Result<Map<String, Value>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(invalid(pointer, "invalid_type", "must be a JSON object")),
    }
}

fn invalid(pointer: &str, code: &'static str, rule: &str) -> Problem {
    use quartet_common::problem::FieldError;
    Problem::new(&kinds::INVALID_REQUEST).field(FieldError::body(pointer, code, rule))
}
