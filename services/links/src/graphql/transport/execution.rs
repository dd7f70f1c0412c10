//! Checks and runs an operation, the same for every transport.

use std::{future, sync::Arc};

use async_graphql::{
    Request, Response, Variables,
    parser::types::{OperationType, Selection},
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use quartet_auth::Actor;
use quartet_common::problem::Problem;
use quartet_telemetry::{REQUEST, RequestContext};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::{request::GraphQlRequest, response::GraphQlResponse, state::GraphQlState};
use crate::{
    auth,
    config::GraphQl as Settings,
    graphql::{
        budget::{Meter, User},
        guard::{self, CheckedDocument},
        schema,
        variables::{self, Values},
    },
    problems::graphql as problems,
};

/// An operation that may be executed: its document is within the limits, its variables have values,
/// its actor is known.
pub(super) struct Operation {
    request: Request,
    pub(super) kind: OperationType,
    /// Whether it has one field at its root.
    pub(super) is_single: bool,
    meter: Meter,
}

/// The result of an operation that ran, or the problem because of which it did not.
type Outcome = Result<GraphQlResponse, Problem>;

impl Operation {
    /// Checks the document, chooses the operation and puts the values of its variables into it.
    ///
    /// # Errors
    /// The response to a request that is not executed.
    pub(super) async fn prepare(
        request: GraphQlRequest,
        actor: &Actor,
        user: Arc<User>,
        state: &GraphQlState,
    ) -> Result<Self, RejectedOperation> {
        let settings = &state.app.ctx.config.graphql;
        let invalid = |error| {
            let response = GraphQlResponse::from_document_error(error, settings);
            RejectedOperation::Document(Box::new(response))
        };
        let meter = Meter::start(user, &request.query, settings)?;
        let name = request.operation_name;
        let variables = Variables::from_json(Value::Object(request.variables));
        let checked = guard::check(&request.query, name.as_deref(), &variables, settings);
        let checked = checked.map_err(invalid)?;
        meter.set_inputs(checked.inputs)?;
        let kind = checked.operation.node.ty;
        let fields = &checked.operation.node.selection_set.node.items;
        let is_single = matches!(&fields[..], [only] if matches!(only.node, Selection::Field(_)));
        let logged = quartet_telemetry::Operation::new(kind_name(kind), checked.name.as_deref());
        quartet_telemetry::set_operation(logged);
        auth::require(actor, kind)?;
        let values = Values::new(&checked.operation.node, &variables);
        let values = values.map_err(|error| invalid(error.into()))?;
        validate(&checked, name, variables, state).await?;
        let document = variables::replace(checked.operation, checked.document.fragments, &values);
        let mut executable = Request::new(String::new());
        executable.set_parsed_query(document);
        Ok(Self {
            request: schema::scoped(executable, &state.app.ctx, actor.clone(), meter.clone()),
            kind,
            is_single,
            meter,
        })
    }

    /// Runs a query or a mutation.
    ///
    /// # Errors
    /// When the user's quota does not allow it.
    pub(super) async fn run(self, state: &GraphQlState) -> Outcome {
        let _permit = self.meter.user().operation().await?;
        let response = state.schema.execute(self.request).await;
        outcome(
            response,
            self.kind,
            &self.meter,
            &state.app.ctx.config.graphql,
        )
    }

    /// Runs any operation. A query or a mutation has one response.
    pub(super) fn stream(self, state: &GraphQlState) -> BoxStream<'static, GraphQlResponse> {
        let config = Arc::clone(&state.app.ctx.config);
        let schema = state.schema.clone();
        let (kind, meter, request) = (self.kind, self.meter, self.request);
        // Streams run in tasks that know no request.
        let context = quartet_telemetry::current_request();
        let begin = async move {
            let settings = &config.graphql;
            match permit(kind, meter.user(), settings).await {
                Err(problem) => {
                    let response = within(context, || {
                        GraphQlResponse::from_problem(&problem, settings)
                    });
                    stream::once(future::ready(response)).boxed()
                }
                Ok(permit) => schema
                    .execute_stream(request)
                    .map(move |response| {
                        // Held until the stream is dropped.
                        let _ = &permit;
                        let settings = &config.graphql;
                        within(context.clone(), || {
                            outcome(response, kind, &meter, settings).unwrap_or_else(|problem| {
                                GraphQlResponse::from_problem(&problem, settings)
                            })
                        })
                    })
                    .boxed(),
            }
        };
        stream::once(begin).flatten().boxed()
    }
}

/// Makes a response that has the id of its request, in a task that knows no request.
pub(super) fn within(
    request: Option<Arc<RequestContext>>,
    make: impl FnOnce() -> GraphQlResponse,
) -> GraphQlResponse {
    match request {
        Some(request) => REQUEST.sync_scope(request, make),
        None => make(),
    }
}

fn kind_name(kind: OperationType) -> &'static str {
    match kind {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    }
}

/// Why an operation is not executed.
pub(super) enum RejectedOperation {
    /// Its document or variables are invalid.
    Document(Box<GraphQlResponse>),
    /// The token or the user's quota does not allow it.
    Refused(Problem),
}

impl From<Problem> for RejectedOperation {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl RejectedOperation {
    pub(super) fn into_response(self, settings: &Settings) -> GraphQlResponse {
        match self {
            Self::Document(response) => *response,
            Self::Refused(problem) => GraphQlResponse::from_problem(&problem, settings),
        }
    }
}

async fn permit(
    kind: OperationType,
    user: &User,
    settings: &Settings,
) -> Result<OwnedSemaphorePermit, Problem> {
    if kind != OperationType::Subscription {
        return user.operation().await;
    }
    user.subscription().ok_or_else(|| {
        let limit = settings.max_subscriptions_per_user;
        let detail = format!("the user already has {limit} subscriptions");
        Problem::new(&problems::TOO_MANY_SUBSCRIPTIONS).detail(detail)
    })
}

/// A mutation that has taken effect keeps its response, with the fields that did not fit as errors.
fn outcome(response: Response, kind: OperationType, meter: &Meter, settings: &Settings) -> Outcome {
    if let Some(problem) = meter.refused() {
        return Err(problem.clone());
    }
    if meter.is_too_large() && kind != OperationType::Mutation {
        return Err(meter.too_large());
    }
    Ok(GraphQlResponse::new(response, settings))
}

/// Validates the document as it was sent. Without variables and other operations, the validation
/// before the execution does the same.
async fn validate(
    checked: &CheckedDocument,
    operation_name: Option<String>,
    variables: Variables,
    state: &GraphQlState,
) -> Result<(), RejectedOperation> {
    if checked.is_one_operation_without_variables() {
        return Ok(());
    }
    let mut request = Request::new(String::new()).variables(variables);
    request.operation_name = operation_name;
    request.set_parsed_query(checked.document.clone());
    let response = state.schema.execute(schema::validate_only(request)).await;
    if response.is_err() {
        let settings = &state.app.ctx.config.graphql;
        let response = GraphQlResponse::new(response, settings);
        return Err(RejectedOperation::Document(Box::new(response)));
    }
    let checked = state
        .types
        .check(&checked.operation.node, &checked.document);
    checked.map_err(|error| {
        let settings = &state.app.ctx.config.graphql;
        let response = GraphQlResponse::from_wrong_usage(error, settings);
        RejectedOperation::Document(Box::new(response))
    })
}
