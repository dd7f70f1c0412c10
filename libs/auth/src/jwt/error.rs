//! Why a token is not accepted.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use quartet_common::problem::Problem;

/// Why a token is not accepted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JwtError {
    #[error("the access token is missing")]
    Missing,
    #[error("Authorization must be `Bearer` and one access token")]
    NoBearer,
    #[error("the access token is not a JWT")]
    Malformed,
    #[error("the subject or session of the access token is one that no header can name")]
    UnusableSubject,
    #[error("the access token has expired")]
    Expired,
    #[error("the access token is not valid yet")]
    NotYetValid,
    #[error("the signature of the access token is invalid")]
    BadSignature,
    #[error("the issuer of the access token is not accepted")]
    WrongIssuer,
    #[error("the access token is for another audience")]
    WrongAudience,
    #[error("the token is not an access token")]
    WrongType,
    #[error("the algorithm of the access token is not accepted")]
    WrongAlgorithm,
    #[error("the access token demands an extension that is not supported")]
    CriticalExtension,
    #[error("the access token is signed with an unknown key")]
    UnknownKey,
    #[error("the session of the access token has ended")]
    SessionEnded,
    #[error("the signing keys could not be fetched")]
    KeysUnavailable(#[source] Arc<dyn std::error::Error + Send + Sync>),
}

impl From<JwtError> for Problem {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::KeysUnavailable(_) => Self::unavailable(error),
            JwtError::Missing => Self::unauthenticated(error.to_string()),
            // RFC 6750, 3.1: the error attribute only if a token was sent.
            _ => Self::unauthenticated(error.to_string()).header(
                http::header::WWW_AUTHENTICATE,
                http::HeaderValue::from_static("Bearer error=\"invalid_token\""),
            ),
        }
    }
}

impl From<jsonwebtoken::errors::Error> for JwtError {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature => Self::BadSignature,
            ErrorKind::InvalidIssuer => Self::WrongIssuer,
            ErrorKind::InvalidAudience => Self::WrongAudience,
            ErrorKind::InvalidAlgorithm => Self::WrongAlgorithm,
            ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => Self::WrongIssuer,
            ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => Self::WrongAudience,
            _ => Self::Malformed,
        }
    }
}
