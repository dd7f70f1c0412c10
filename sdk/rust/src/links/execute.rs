//! GraphQL operations by POST.

use cynic::{GraphQlError, GraphQlResponse, Operation};
use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

use crate::client::Quartet;
use crate::error::Error;
use crate::problem::{FieldError, Problem, ProblemCode};
use crate::retry::Repeat;
use crate::sender::Response;
use crate::transport::Call;

pub(super) const PATH: &str = "/v1/links/graphql";

/// The extensions of a GraphQL error.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Extensions {
    code: String,
    errors: Vec<FieldError>,
    request_id: Option<String>,
    retry_after_seconds: Option<u64>,
}

pub(super) async fn run<D, V>(
    quartet: &Quartet,
    operation: &Operation<D, V>,
    repeat: Repeat,
) -> Result<D, Error>
where
    D: DeserializeOwned,
    V: Serialize,
{
    run_reporting_loss(quartet, operation, repeat).await.0
}

/// The same, and whether an attempt was sent whose response was lost.
pub(super) async fn run_reporting_loss<D, V>(
    quartet: &Quartet,
    operation: &Operation<D, V>,
    repeat: Repeat,
) -> (Result<D, Error>, bool)
where
    D: DeserializeOwned,
    V: Serialize,
{
    let transport = &quartet.transport;
    let url = format!("{}{PATH}", transport.sender.base);
    let request = match transport.sender.http.post(url).json(operation).build() {
        Ok(request) => request,
        Err(error) => return (Err(error.into()), false),
    };
    let call = Call {
        request,
        repeat,
        with_token: true,
    };
    match transport.execute(&call).await {
        Ok(response) => (read(&response), response.after_loss),
        Err(error) => (Err(error.into()), false),
    }
}

fn read<D: DeserializeOwned>(response: &Response) -> Result<D, Error> {
    let parsed = serde_json::from_slice::<GraphQlResponse<D, Extensions>>(&response.body);
    match parsed {
        Ok(parsed) => result(parsed),
        // Problem documents come from the gateway and from the layers around GraphQL.
        Err(_) if response.status != StatusCode::OK => Err(response.problem().into()),
        Err(error) => Err(Error::Answer(error.to_string())),
    }
}

/// The data, or the first error: each operation here has a single field, so there is one or the
/// other.
pub(super) fn result<D>(response: GraphQlResponse<D, Extensions>) -> Result<D, Error> {
    let error = response.errors.and_then(|errors| errors.into_iter().next());
    match (error, response.data) {
        (Some(error), _) => Err(problem(error).into()),
        (None, Some(data)) => Ok(data),
        (None, None) => Err(Error::Answer("neither data nor errors".into())),
    }
}

/// The codes of GraphQL are those of problems in upper case.
pub(super) fn problem(error: GraphQlError<Extensions>) -> Problem {
    let extensions = error.extensions.unwrap_or_default();
    Problem {
        code: ProblemCode::from(extensions.code.to_lowercase().as_str()),
        status: StatusCode::OK.as_u16(),
        title: error.message,
        detail: None,
        request_id: extensions.request_id,
        errors: extensions.errors,
        retry_after: extensions.retry_after_seconds.map(Duration::from_secs),
    }
}
