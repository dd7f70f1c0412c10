use std::fmt;

use progenitor_client::Error as ApiError;

use crate::problem::{Problem, ProblemBody};

/// The status of a response that carries a local failure through generated code; see
/// [`crate::transport`].
pub(crate) const LOCAL_FAILURE: u16 = 599;

/// The error of every operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// There was no complete response.
    #[error(transparent)]
    Transport(TransportError),
    /// The object store refused a file.
    #[error("the object store returned status {status}")]
    Store { status: u16 },
    /// The response is not what this client expects.
    #[error("unexpected response: {0}")]
    Answer(String),
    /// The session could not be loaded or stored.
    #[error("the session could not be loaded or stored: {0}")]
    Session(String),
    /// A local file could not be read.
    #[error("the file could not be read: {0}")]
    File(#[from] std::io::Error),
    /// The client is configured wrongly.
    #[error("{0}")]
    Setup(String),
}

/// Why there is no complete response. Only after [`TransportKind::Connect`] is it certain that
/// the server did not receive the request.
#[derive(Debug)]
pub struct TransportError {
    pub kind: TransportKind,
    cause: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportKind {
    /// The server could not be reached.
    Connect,
    /// The timeout has elapsed.
    Timeout,
    /// The connection broke.
    Broken,
}

impl Error {
    /// The problem, if the server refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    pub(crate) fn broken(cause: impl fmt::Display) -> Self {
        Self::Transport(TransportError {
            kind: TransportKind::Broken,
            cause: cause.to_string(),
        })
    }

    pub(crate) fn stalled(what: &str) -> Self {
        Self::Transport(TransportError {
            kind: TransportKind::Timeout,
            cause: what.to_owned(),
        })
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<reqwest::Error> for Error {
    fn from(error: reqwest::Error) -> Self {
        let kind = if error.is_connect() {
            TransportKind::Connect
        } else if error.is_timeout() {
            TransportKind::Timeout
        } else {
            TransportKind::Broken
        };
        Self::Transport(TransportError {
            kind,
            // The URL may contain a signature.
            cause: causes(&error.without_url()),
        })
    }
}

/// Converts the error of a generated operation.
impl From<ApiError<ProblemBody>> for Error {
    fn from(error: ApiError<ProblemBody>) -> Self {
        match error {
            ApiError::ErrorResponse(response) => {
                let status = response.status().as_u16();
                let headers = response.headers().clone();
                let body = response.into_inner();
                if status == LOCAL_FAILURE {
                    return Self::Session(body.title);
                }
                Problem::new(body, status, &headers).into()
            }
            ApiError::CommunicationError(error)
            | ApiError::ResponseBodyError(error)
            | ApiError::InvalidUpgrade(error) => error.into(),
            ApiError::InvalidResponsePayload(_, error) => Self::Answer(error.to_string()),
            ApiError::UnexpectedResponse(response) => {
                Self::Answer(format!("status {}", response.status().as_u16()))
            }
            ApiError::InvalidRequest(what) | ApiError::Custom(what) => Self::Setup(what),
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            TransportKind::Connect => "the server cannot be reached",
            TransportKind::Timeout => "the request timed out",
            TransportKind::Broken => "the connection broke",
        };
        write!(f, "{what}: {}", self.cause)
    }
}

impl std::error::Error for TransportError {}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let line = inner.to_string();
        if !text.ends_with(&line) {
            text = format!("{text}: {line}");
        }
        cause = inner.source();
    }
    text
}
