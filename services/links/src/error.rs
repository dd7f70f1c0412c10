//! What can go wrong, and what a client is told of it.

use quartet_common::problem::{FieldError, Problem};
use quartet_db as db;

use crate::wal::AppendError;

pub(crate) mod kinds;

/// Everything that the rooms below the API may answer instead of a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no such link, or it belongs to somebody else")]
    LinkNotFound,
    #[error("the slug is taken")]
    SlugTaken { pointer: &'static str },
    #[error("no free slug was found")]
    NoFreeSlug,
    #[error("the input breaks a rule")]
    Invalid(Vec<FieldError>),
    #[error("the click cannot be kept")]
    LogUnavailable(#[source] AppendError),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl Error {
    /// One field of the input and the rule that it breaks.
    pub(crate) fn field(
        pointer: impl Into<String>,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::Invalid(vec![FieldError::body(pointer, code, detail)])
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if db::constraint(&error) == Some("links_slug_key") {
            return Self::SlugTaken {
                pointer: "/input/slug",
            };
        }
        Self::Database(error)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::LinkNotFound => Self::not_found("link"),
            Error::SlugTaken { pointer } => Self::new(&kinds::graphql::SLUG_TAKEN).field(
                FieldError::body(pointer, "taken", "is taken; choose another"),
            ),
            Error::NoFreeSlug => Self::unavailable(error),
            Error::Invalid(errors) => Self::new(&kinds::graphql::INVALID_INPUT).errors(errors),
            Error::LogUnavailable(source) => {
                Self::not_now(&kinds::CLICK_LOG_UNAVAILABLE).source(source)
            }
            Error::Database(source) => quartet_db::problem(source),
        }
    }
}
