//! Why a provider is of no use at the moment.

use quartet_auth::jwt::JwtError;

/// What a provider did wrong. None of the texts has a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("the provider does not respond as expected")]
    Http(#[from] reqwest::Error),
    #[error("the response of the provider is too long")]
    TooLong,
    #[error("a text of the provider is too long")]
    LongText,
    #[error("the response of the provider is not valid")]
    Invalid(#[from] serde_json::Error),
    #[error("the provider responds with {0}")]
    Status(u16),
    /// With the code of RFC 6749, 5.2.
    #[error("the provider refuses: {0}")]
    Refused(String),
    #[error("the metadata of the provider is that of another issuer")]
    OtherIssuer,
    #[error("the metadata of the provider has an endpoint that cannot be used: {0}")]
    Endpoint(&'static str),
    #[error("the response of the provider has no {0}")]
    Missing(&'static str),
    #[error("the token of the provider is not valid")]
    Token(#[from] JwtError),
    #[error("the token of the provider is for another login: {0}")]
    Mismatch(&'static str),
    #[error("the token of the provider was issued in the future")]
    Future,
    #[error("the provider failed a moment ago")]
    Recently,
}

impl ProviderError {
    /// Whether the clocks of both are the reason, as far as can be known.
    pub(crate) fn is_of_clock(&self) -> bool {
        matches!(
            self,
            Self::Future | Self::Token(JwtError::Expired | JwtError::NotYetValid)
        )
    }

    /// Whether the provider could not be asked: the same may succeed later.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Http(_) | Self::TooLong | Self::Recently => true,
            Self::Token(error) => matches!(error, JwtError::KeysUnavailable(_)),
            Self::Status(status) => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}
