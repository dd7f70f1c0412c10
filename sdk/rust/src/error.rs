use std::fmt;

use progenitor_client::Error as ApiError;

use crate::problem::{Problem, ProblemBody};

/// Marks an answer that the client made itself; see [`crate::transport`].
pub(crate) const OWN_STATUS: u16 = 599;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server refused.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// No whole answer came.
    #[error(transparent)]
    Transport(TransportError),
    /// The object store refused a file.
    #[error("the object store answered with status {status}")]
    Store { status: u16 },
    /// What came is no answer that this client understands.
    #[error("the server's answer is not understood: {0}")]
    Answer(String),
    /// The session could not be read or kept.
    #[error("the session cannot be kept: {0}")]
    Session(String),
    /// A local file could not be read.
    #[error("the file cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// The client was set up wrongly.
    #[error("{0}")]
    Setup(String),
}

/// Why there is no whole answer. Whether the server got the request is only known for
/// [`TransportKind::Connect`]: it did not.
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
    /// It took too long.
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
            // The address may hold a signature.
            cause: causes(&error.without_url()),
        })
    }
}

/// Turns what a generated operation gives into an error of this crate.
impl From<ApiError<ProblemBody>> for Error {
    fn from(error: ApiError<ProblemBody>) -> Self {
        match error {
            ApiError::ErrorResponse(answer) => {
                let status = answer.status().as_u16();
                let headers = answer.headers().clone();
                let body = answer.into_inner();
                if status == OWN_STATUS {
                    return Self::Session(body.title);
                }
                Problem::new(body, status, &headers).into()
            }
            ApiError::CommunicationError(error)
            | ApiError::ResponseBodyError(error)
            | ApiError::InvalidUpgrade(error) => error.into(),
            ApiError::InvalidResponsePayload(_, error) => Self::Answer(error.to_string()),
            ApiError::UnexpectedResponse(answer) => {
                Self::Answer(format!("status {}", answer.status().as_u16()))
            }
            ApiError::InvalidRequest(what) | ApiError::Custom(what) => Self::Setup(what),
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            TransportKind::Connect => "the server cannot be reached",
            TransportKind::Timeout => "the server took too long",
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
