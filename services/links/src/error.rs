//! Failures of the domain, and the problems that clients see.

use quartet_common::problem::{Problem, Rule};
use quartet_db as db;

use crate::{problems, wal::AppendError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the link does not exist or belongs to another user")]
    LinkNotFound,
    #[error("the slug is taken")]
    SlugTaken,
    #[error("no free slug was found")]
    NoFreeSlug,
    #[error("the input is invalid")]
    Invalid(Vec<Violation>),
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

/// A field and the rule that its value breaks.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) field: Field,
    pub(crate) rule: Rule,
}

/// Collects the violations of one input, so that a client sees all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<Violation>);

impl Error {
    /// One invalid field.
    pub(crate) fn invalid(field: Field, rule: Rule) -> Self {
        Self::Invalid(vec![Violation { field, rule }])
    }

    /// The fields of the input that caused the error.
    pub(crate) fn violations(&self) -> Vec<Violation> {
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

impl Checks {
    /// Returns the value, or records that `field` breaks a rule.
    pub(crate) fn take<T>(&mut self, field: Field, parsed: Result<T, Rule>) -> Option<T> {
        parsed
            .map_err(|rule| self.0.push(Violation { field, rule }))
            .ok()
    }

    /// The same for a field that may be absent.
    pub(crate) fn take_optional<T>(
        &mut self,
        field: Field,
        parsed: Option<Result<T, Rule>>,
    ) -> Option<T> {
        self.take(field, parsed?)
    }

    /// Returns the checked values; `values` is `None` only when a required field is invalid.
    ///
    /// # Errors
    /// `Invalid` with every violation.
    pub(crate) fn finish<T>(self, values: impl FnOnce() -> Option<T>) -> Result<T, Error> {
        match values() {
            Some(values) if self.0.is_empty() => Ok(values),
            _ => Err(Error::Invalid(self.0)),
        }
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
