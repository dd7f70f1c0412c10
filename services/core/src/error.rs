//! What can go wrong, and what a client is told of it.

use axum::response::{IntoResponse, Response};
use quartet_common::problem::{self, FieldError, Problem};
use quartet_db as db;

pub(crate) mod kinds;

/// Everything that the rooms below the API may answer instead of a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the address belongs to an account already")]
    EmailTaken,
    #[error("the address or the password is wrong")]
    InvalidCredentials,
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("the current password is missing")]
    PasswordNeeded,
    #[error("too many failed attempts")]
    Throttled { retry_after_seconds: u64 },
    #[error("too many passwords wait to be hashed")]
    TooBusy,
    #[error("the refresh token is wrong, spent, or its session has ended")]
    InvalidRefreshToken,
    #[error("the refresh token is not one of ours")]
    MalformedRefreshToken,
    #[error("the session has ended")]
    SessionEnded,
    #[error("the login is too long ago")]
    StaleLogin,
    #[error("there is no such session, or it belongs to somebody else")]
    SessionNotFound,
    #[error("the user was changed meanwhile")]
    Changed,
    #[error("the input breaks a rule")]
    Problem(Problem),
    #[error("no signing key can be used")]
    NoSigningKey,
    #[error("a secret could not be made or opened: {0}")]
    Crypto(&'static str),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if db::constraint(&error) == Some("users_email_key") {
            return Self::EmailTaken;
        }
        Self::Database(error)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::EmailTaken => Self::new(&kinds::EMAIL_TAKEN).field(FieldError::body(
                "/email",
                "taken",
                "must not belong to an account yet",
            )),
            Error::Throttled {
                retry_after_seconds,
            } => Self::new(&kinds::TOO_MANY_ATTEMPTS).retry_after(retry_after_seconds),
            Error::Changed => Self::new(&problem::kinds::PRECONDITION_FAILED),
            Error::SessionNotFound => Self::not_found("session"),
            Error::Problem(problem) => problem,
            Error::TooBusy => Self::unavailable(error),
            Error::Database(error) => quartet_db::problem(error),
            Error::NoSigningKey | Error::Crypto(_) => Self::internal(error),
            Error::WrongPassword | Error::PasswordNeeded | Error::StaleLogin => confirm(&error),
            Error::InvalidCredentials
            | Error::InvalidRefreshToken
            | Error::MalformedRefreshToken
            | Error::SessionEnded => unauthenticated(&error),
        }
    }
}

/// 401: who calls is not known.
fn unauthenticated(error: &Error) -> Problem {
    let kind = match error {
        Error::InvalidCredentials => &kinds::INVALID_CREDENTIALS,
        Error::InvalidRefreshToken | Error::MalformedRefreshToken => &kinds::INVALID_REFRESH_TOKEN,
        _ => &problem::kinds::UNAUTHENTICATED,
    };
    let problem = Problem::unauthorized(kind).detail(error.to_string());
    if matches!(error, Error::MalformedRefreshToken) {
        let rule = "must be `qrt_ref_` and the 51 characters that came with it";
        return problem.field(FieldError::body("/refresh_token", "malformed", rule));
    }
    problem
}

/// 403: who calls is known, but has to prove it again.
fn confirm(error: &Error) -> Problem {
    let field = |code, detail: &str| FieldError::body("/current_password", code, detail);
    match error {
        Error::WrongPassword => Problem::new(&kinds::WRONG_PASSWORD)
            .field(field("wrong", "must be the current password")),
        Error::PasswordNeeded => Problem::new(&kinds::PASSWORD_NEEDED).field(field(
            "missing",
            "is needed to change the address or the password",
        )),
        _ => Problem::new(&kinds::STALE_LOGIN)
            .detail("log in again, then repeat the request with the new access token"),
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
