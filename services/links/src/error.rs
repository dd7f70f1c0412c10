//! Failures of the domain, and the problems that clients see.

use quartet_common::{
    checks::Violation,
    problem::{Problem, Rule},
};
use quartet_db as db;

use crate::{problems, wal::AppendError};

/// Why a link or its clicks cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the link does not exist or belongs to another user")]
    LinkNotFound,
    #[error("the slug is taken")]
    SlugTaken,
    #[error("no free slug was found")]
    NoFreeSlug,
    #[error("the input is invalid")]
    Invalid(Vec<Violation<Field>>),
    #[error("the click could not be logged")]
    LogUnavailable(#[source] AppendError),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

/// A field of an operation's input. Its name and place on the wire are up to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Url,
    Slug,
    Title,
    Enabled,
    RedirectStatus,
    ExpiresAt,
    MaxClicks,
    From,
    To,
}

impl Error {
    /// One invalid field.
    pub(crate) fn invalid(field: Field, rule: Rule) -> Self {
        Self::Invalid(vec![Violation { field, rule }])
    }

    /// The fields of the input that caused the error.
    pub(crate) fn violations(&self) -> Vec<Violation<Field>> {
        match self {
            Self::Invalid(violations) => violations.clone(),
            Self::SlugTaken => vec![Violation {
                field: Field::Slug,
                rule: Rule::new("taken", "is taken; choose another"),
            }],
            _ => Vec::new(),
        }
    }
}

impl From<Vec<Violation<Field>>> for Error {
    fn from(violations: Vec<Violation<Field>>) -> Self {
        Self::Invalid(violations)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if db::constraint(&error) == Some("links_slug_key") {
            return Self::SlugTaken;
        }
        Self::Database(error)
    }
}

/// Without field errors: an API adds those of [`Error::violations`] with its own pointers.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::LinkNotFound => Self::not_found("link"),
            Error::SlugTaken => Self::new(&problems::graphql::SLUG_TAKEN),
            Error::Invalid(_) => Self::new(&problems::graphql::INVALID_INPUT),
            Error::NoFreeSlug => Self::unavailable(error),
            Error::LogUnavailable(source) => {
                Self::not_now(&problems::CLICK_LOG_UNAVAILABLE).source(source)
            }
            Error::Database(source) => db::problem(source),
        }
    }
}
