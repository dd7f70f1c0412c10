//! GraphQL by POST.

use cynic::{GraphQlError, GraphQlResponse, Operation};
use http::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

use super::Links;
use crate::error::Error;
use crate::problem::{FieldError, Problem, ProblemCode};
use crate::retry::Repeat;
use crate::session::NoToken;
use crate::transport::{Answer, Call};

pub(super) const PATH: &str = "/v1/links/graphql";

/// What links adds to an error of GraphQL.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Extensions {
    code: String,
    errors: Vec<FieldError>,
    request_id: Option<String>,
    retry_after_seconds: Option<u64>,
}

impl Links {
    pub(super) async fn run<D, V>(
        &self,
        operation: &Operation<D, V>,
        repeat: Repeat,
    ) -> Result<D, Error>
    where
        D: DeserializeOwned,
        V: Serialize,
    {
        self.run_telling(operation, repeat).await.0
    }

    /// The same; tells also whether an attempt was sent whose answer was lost.
    pub(super) async fn run_telling<D, V>(
        &self,
        operation: &Operation<D, V>,
        repeat: Repeat,
    ) -> (Result<D, Error>, bool)
    where
        D: DeserializeOwned,
        V: Serialize,
    {
        let transport = &self.0.transport;
        let url = format!("{}{PATH}", transport.sender.base);
        let request = transport.sender.http.post(url).json(operation).build();
        let request = match request {
            Ok(request) => request,
            Err(error) => return (Err(error.into()), false),
        };
        let call = Call {
            request,
            repeat,
            with_token: true,
        };
        match transport.execute(&call).await {
            Ok(answer) => (read(&answer), answer.after_loss),
            Err(error) => (Err(error.into()), false),
        }
    }
}

fn read<D: DeserializeOwned>(answer: &Answer) -> Result<D, Error> {
    let parsed = serde_json::from_slice::<GraphQlResponse<D, Extensions>>(&answer.body);
    match parsed {
        Ok(response) => result(response),
        // Problem documents come from the gateway and the layers around GraphQL.
        Err(_) if answer.status != StatusCode::OK => Err(answer.problem().into()),
        Err(error) => Err(Error::Answer(error.to_string())),
    }
}

/// The data, or the first error: each of our operations has one field, which fails or does not.
pub(super) fn result<D>(response: GraphQlResponse<D, Extensions>) -> Result<D, Error> {
    let error = response.errors.and_then(|errors| errors.into_iter().next());
    match (error, response.data) {
        (Some(error), _) => Err(problem(error).into()),
        (None, Some(data)) => Ok(data),
        (None, None) => Err(Error::Answer("neither data nor errors".into())),
    }
}

/// Codes of GraphQL are those of problems in capitals.
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

impl From<NoToken> for Error {
    fn from(reason: NoToken) -> Self {
        match reason {
            NoToken::Refused(answer) => answer.problem().into(),
            NoToken::Transport(error) => error.into(),
            NoToken::Store(error) => Self::Session(error.to_string()),
        }
    }
}
