//! The response to a GraphQL request, before a transport writes it.

use async_graphql::{ErrorExtensionValues, Pos, Response, ServerError, Value as GraphQlValue};
use quartet_common::problem::Problem;
use serde::{Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;

use super::openapi::GraphQlError;
use crate::{
    config::GraphQl as Settings,
    graphql::{error, guard::DocumentError, usages::WrongUsage},
    problems::graphql::GRAPHQL_VALIDATION_FAILED,
};

/// A GraphQL response.
#[derive(ToSchema)]
pub(super) struct GraphQlResponse {
    /// The requested fields. Missing if the document was not executed; null if a field that must
    /// not be null failed.
    #[schema(value_type = Value, required = false)]
    data: GraphQlValue,
    /// The errors. Missing if there are none.
    #[schema(value_type = Vec<GraphQlError>, required = false)]
    errors: Vec<ServerError>,
}

impl GraphQlResponse {
    pub(super) fn new(response: Response, settings: &Settings) -> Self {
        let Response {
            data, mut errors, ..
        } = response;
        error::finish(&mut errors, settings.max_errors);
        Self { data, errors }
    }

    /// To a request that is not executed because of this problem.
    pub(super) fn from_problem(problem: &Problem, settings: &Settings) -> Self {
        Self::from_error(error::request_error(problem), settings)
    }

    /// To a request with a variable in a place that it does not fit.
    pub(super) fn from_wrong_usage(usage: WrongUsage, settings: &Settings) -> Self {
        let (line, column) = usage.at;
        let mut error = ServerError::new(usage.message, Some(Pos { line, column }));
        let mut values = ErrorExtensionValues::default();
        values.set("code", GRAPHQL_VALIDATION_FAILED.code.to_uppercase());
        error.extensions = Some(values);
        Self::from_error(error, settings)
    }

    /// To a request whose document is rejected.
    pub(super) fn from_document_error(rejected: DocumentError, settings: &Settings) -> Self {
        let at = rejected.at.map(|(line, column)| Pos { line, column });
        let mut error = ServerError::new(rejected.message, at);
        let mut values = ErrorExtensionValues::default();
        values.set("code", rejected.kind.code.to_uppercase());
        values.set("field", rejected.field);
        error.extensions = Some(values);
        Self::from_error(error, settings)
    }

    fn from_error(error: ServerError, settings: &Settings) -> Self {
        Self::new(Response::from_errors(vec![error]), settings)
    }

    /// Whether this is a *request error*: nothing was executed, so there is no `data`, not even
    /// null.
    pub(super) fn is_request_error(&self) -> bool {
        self.data == GraphQlValue::Null
            && !self.errors.is_empty()
            && self.errors.iter().all(|error| error.path.is_empty())
    }

    /// Whether a mutation with this response has changed nothing: its only field failed, and not one of
    /// the fields of its result.
    pub(super) fn is_undone(&self, is_single: bool) -> bool {
        let outermost = self.errors.iter().all(|error| error.path.len() <= 1);
        self.is_request_error() || (is_single && outermost && !self.errors.is_empty())
    }

    /// The list of errors.
    pub(super) fn errors(&self) -> &[ServerError] {
        &self.errors
    }

    /// As JSON on one line: line ends within strings are escaped.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a response is plain data")
    }
}

/// `{data, errors}`, without those that are missing.
impl Serialize for GraphQlResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        if !self.is_request_error() {
            object.serialize_entry("data", &self.data)?;
        }
        if !self.errors.is_empty() {
            object.serialize_entry("errors", &self.errors)?;
        }
        object.end()
    }
}
