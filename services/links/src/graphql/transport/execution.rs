//! Checks and runs an operation, the same for every transport.

use std::sync::Arc;

use async_graphql::{Request, Variables, parser::types::OperationType};
use futures_util::{Stream, StreamExt};
use quartet_auth::Caller;
use quartet_common::problem::Problem;
use serde_json::Value;

use super::{request::GraphQlRequest, response::GraphQlResponse, state::GraphQlState};
use crate::graphql::{guard, schema};

/// An operation that may be executed: its document is within the limits, its caller is known.
pub(super) struct Operation {
    request: Request,
    pub(super) kind: OperationType,
}

impl Operation {
    /// Checks the document and chooses the operation.
    ///
    /// # Errors
    /// The response to a request that is not executed.
    pub(super) fn prepare(
        request: GraphQlRequest,
        caller: &Caller,
        state: &GraphQlState,
    ) -> Result<Self, GraphQlResponse> {
        let settings = &state.app.ctx.config.graphql;
        let name = request.operation_name.as_deref();
        let checked = guard::check(&request.query, name, settings)
            .map_err(|error| GraphQlResponse::from_document_error(error, settings))?;
        let owner: Arc<str> = caller.subject().into();
        if owner.chars().any(char::is_control) {
            let problem = Problem::unauthenticated("the token's subject has control characters");
            return Err(GraphQlResponse::from_problem(&problem, settings));
        }
        let variables = Variables::from_json(Value::Object(request.variables));
        let mut executable = Request::new(request.query).variables(variables);
        executable.operation_name = request.operation_name;
        executable.set_parsed_query(checked.document);
        Ok(Self {
            request: schema::scoped(executable, &state.app.ctx, owner),
            kind: checked.kind,
        })
    }

    /// Runs a query or a mutation.
    pub(super) async fn run(self, state: &GraphQlState) -> GraphQlResponse {
        let response = state.schema.execute(self.request).await;
        GraphQlResponse::new(response, &state.app.ctx.config.graphql)
    }

    /// Runs any operation. A query or a mutation has one response.
    pub(super) fn stream(
        self,
        state: &GraphQlState,
    ) -> impl Stream<Item = GraphQlResponse> + Send + use<> {
        let config = Arc::clone(&state.app.ctx.config);
        state
            .schema
            .execute_stream(self.request)
            .map(move |response| GraphQlResponse::new(response, &config.graphql))
    }
}
