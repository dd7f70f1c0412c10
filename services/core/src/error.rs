//! Errors and the problems that clients see.

use quartet_auth::master_key::SealError;
use quartet_common::problem::{self, FieldError, Problem, Rule};
use quartet_db as db;

use crate::problems;

/// Every way in which an operation fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the email belongs to another account")]
    EmailTaken,
    #[error("the email or the password is wrong")]
    InvalidCredentials,
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("the current password is missing")]
    PasswordNeeded,
    #[error("the new password is too weak: {0}")]
    WeakPassword(Rule),
    #[error("too many failed attempts")]
    Throttled { retry_after_seconds: u64 },
    #[error("too many passwords are waiting to be hashed")]
    TooBusy,
    #[error("the refresh token is unknown or used, or its session has ended")]
    InvalidRefreshToken,
    #[error("the refresh token is malformed")]
    MalformedRefreshToken,
    #[error("the session has ended")]
    SessionEnded,
    #[error("the session was opened too long ago")]
    StaleLogin,
    #[error("the session does not exist or belongs to another user")]
    SessionNotFound,
    #[error("the API key does not exist or belongs to another user")]
    ApiKeyNotFound,
    #[error("the user has {0} API keys already")]
    TooManyApiKeys(i64),
    #[error("the account kept changing during the update")]
    Changed,
    #[error("a precondition failed")]
    Precondition(#[source] Problem),
    #[error("no signing key is active")]
    NoSigningKey,
    #[error("no signing key can be used for {0}")]
    UnusableSigningKeys(String),
    #[error("cryptography failed: {0}")]
    Crypto(&'static str),
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if db::constraint(&error) == Some("emails_address_key") {
            return Self::EmailTaken;
        }
        Self::Database(error)
    }
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        Self::Crypto(match error {
            SealError::OtherKey => {
                "a stored key was encrypted with another keys.master_key, which is not in \
                 keys.previous_master_keys either"
            }
            SealError::Failed(what) => what,
        })
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::EmailTaken => Self::new(&problems::EMAIL_TAKEN).field(FieldError::body(
                "/email",
                "taken",
                "must not belong to another account",
            )),
            Error::WeakPassword(rule) => {
                Self::invalid(vec![FieldError::body("/password", rule.code, rule.detail)])
            }
            Error::Throttled {
                retry_after_seconds,
            } => Self::new(&problems::TOO_MANY_ATTEMPTS).retry_after(retry_after_seconds),
            Error::Changed => Self::new(&problem::kinds::PRECONDITION_FAILED),
            Error::SessionNotFound => Self::not_found("session"),
            Error::ApiKeyNotFound => Self::not_found("API key"),
            Error::TooManyApiKeys(_) => {
                Self::new(&problems::TOO_MANY_API_KEYS).detail(error.to_string())
            }
            Error::Precondition(problem) => problem,
            Error::TooBusy => Self::unavailable(error),
            Error::Database(error) => quartet_db::problem(error),
            Error::NoSigningKey | Error::UnusableSigningKeys(_) | Error::Crypto(_) => {
                Self::internal(error)
            }
            Error::WrongPassword | Error::PasswordNeeded | Error::StaleLogin => forbidden(&error),
            Error::InvalidCredentials
            | Error::InvalidRefreshToken
            | Error::MalformedRefreshToken
            | Error::SessionEnded => unauthenticated(&error),
        }
    }
}

/// 401: the caller is unknown.
fn unauthenticated(error: &Error) -> Problem {
    let kind = match error {
        Error::InvalidCredentials => &problems::INVALID_CREDENTIALS,
        Error::InvalidRefreshToken | Error::MalformedRefreshToken => {
            &problems::INVALID_REFRESH_TOKEN
        }
        _ => &problem::kinds::UNAUTHENTICATED,
    };
    let problem = Problem::unauthorized(kind).detail(error.to_string());
    if matches!(error, Error::MalformedRefreshToken) {
        let rule = "must be `qrt_ref_` followed by 72 characters";
        return problem.field(FieldError::body("/refresh_token", "malformed", rule));
    }
    problem
}

/// 403: the caller is known and has to prove it again.
fn forbidden(error: &Error) -> Problem {
    let field = |code, detail: &str| FieldError::body("/current_password", code, detail);
    match error {
        Error::WrongPassword => Problem::new(&problems::WRONG_PASSWORD)
            .field(field("wrong", "must be the current password")),
        Error::PasswordNeeded => Problem::new(&problems::PASSWORD_NEEDED).field(field(
            "missing",
            "is required to change the email or the password",
        )),
        _ => Problem::new(&problems::STALE_LOGIN)
            .detail("log in again, then retry with the new access token"),
    }
}
