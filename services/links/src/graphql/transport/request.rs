//! The parameters of a GraphQL-over-HTTP request.

use quartet_common::problem::{FieldError, Problem};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{graphql::guard::MAX_VALUE_LEVELS, problems::graphql as problems};

/// A GraphQL request.
#[derive(Clone, Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct GraphQlRequest {
    /// The document: operations and fragments.
    #[schema(
        example = "mutation Shorten($input: CreateLinkInput!) { createLink(input: $input) { id slug shortUrl } }"
    )]
    pub(super) query: String,
    /// The operation to execute. Required if the document has several.
    #[schema(example = "Shorten")]
    pub(super) operation_name: Option<String>,
    /// The values of the variables.
    #[schema(value_type = Option<Object>)]
    pub(super) variables: Map<String, Value>,
}

impl GraphQlRequest {
    /// Reads the parameters from a JSON object.
    ///
    /// # Errors
    /// 400 `invalid_request` with the pointer of the parameter.
    pub(super) fn from_json(body: Value) -> Result<Self, Problem> {
        let Value::Object(mut body) = body else {
            let detail = if body.is_array() {
                "must not be a batch"
            } else {
                "must be a JSON object"
            };
            return Err(invalid("", "invalid_type", detail));
        };
        let not_a_string = |pointer| invalid(pointer, "invalid_type", "must be a string");
        let operation_name = match body.remove("operationName") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(_) => return Err(not_a_string("/operationName")),
        };
        let variables = object(body.remove("variables"), "/variables")?;
        let extensions = object(body.remove("extensions"), "/extensions")?;
        let query = match body.remove("query") {
            Some(Value::String(query)) => query,
            Some(_) => return Err(not_a_string("/query")),
            None if extensions.contains_key("persistedQuery") => {
                let detail = "persisted queries are not supported; send the query";
                return Err(invalid("/query", "persisted_query_not_supported", detail));
            }
            None => return Err(invalid("/query", "required", "is required")),
        };
        Ok(Self {
            query,
            operation_name,
            variables,
        })
    }

    /// Reads the parameters from a query string, in which variables and extensions are JSON.
    ///
    /// # Errors
    /// 400 `invalid_request` with the pointer of the parameter.
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
}

fn object(value: Option<Value>, pointer: &str) -> Result<Map<String, Value>, Problem> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(value) if !has_levels(&value, MAX_VALUE_LEVELS + 1) => {
            let detail = format!("must have at most {MAX_VALUE_LEVELS} levels in each value");
            Err(invalid(pointer, "too_deep", &detail))
        }
        Some(Value::Object(map)) => Ok(map),
        Some(_) => Err(invalid(pointer, "invalid_type", "must be a JSON object")),
    }
}

/// Whether a value has at most this number of levels of lists and objects.
fn has_levels(value: &Value, levels: usize) -> bool {
    let (mut items, mut fields) = match value {
        Value::Array(items) => (Some(items.iter()), None),
        Value::Object(fields) => (None, Some(fields.values())),
        _ => return true,
    };
    let mut inside = items
        .iter_mut()
        .flatten()
        .chain(fields.iter_mut().flatten());
    levels > 0 && inside.all(|value| has_levels(value, levels - 1))
}

fn invalid(pointer: &str, code: &'static str, detail: &str) -> Problem {
    let error = FieldError::body(pointer, code, detail);
    Problem::new(&problems::INVALID_REQUEST).field(error)
}
