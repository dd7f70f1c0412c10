//! Why a login fails, for the user and for the log.

use quartet_common::problem::{Kind, Problem};

use super::{
    provider::ProviderError,
    store::{StoreAway, StoreError},
};
use crate::error;

/// Why someone is not logged in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginFailure {
    #[error("the login is unknown, too old, or was used already")]
    Expired,
    #[error("the login was begun in another browser, or its cookie was removed")]
    OtherBrowser,
    #[error("the response of the provider is not one to a login: {0}")]
    Malformed(&'static str),
    /// With its code (RFC 6749, 4.1.2.1).
    #[error("the provider refused the login: {0}")]
    Denied(String),
    #[error("the user may not log in: {0}")]
    NotAllowed(&'static str),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the user reads.
pub(super) struct FailureText {
    pub(super) title: &'static str,
    pub(super) what: &'static str,
    pub(super) advice: &'static str,
    /// Of the link that begins again.
    pub(super) again: Option<&'static str>,
}

impl From<StoreAway> for LoginFailure {
    fn from(away: StoreAway) -> Self {
        Self::Store(away.into())
    }
}

impl LoginFailure {
    /// What programs get, and what the log has of it.
    pub(crate) fn into_problem(self) -> Problem {
        let kind = self.kind();
        let problem = Problem::new(kind);
        let problem = if kind.status == http::StatusCode::SERVICE_UNAVAILABLE {
            problem.retry_after(5)
        } else {
            problem
        };
        problem.source(self)
    }

    fn kind(&self) -> &'static Kind {
        match self {
            Self::Expired | Self::OtherBrowser | Self::Malformed(_) => &error::LOGIN_EXPIRED,
            Self::Denied(_) | Self::NotAllowed(_) => &error::LOGIN_REFUSED,
            Self::Provider(error) if error.is_away() => &error::LOGIN_UNAVAILABLE,
            Self::Provider(_) => &error::LOGIN_FAILED,
            Self::Store(_) => &error::LOGIN_UNAVAILABLE,
        }
    }

    pub(super) fn text(&self) -> FailureText {
        match self {
            Self::Expired => FailureText {
                title: "This login is no longer valid",
                what: "It took too long, or its link was opened a second time.",
                advice: "Log in again. Do not use the back button or a bookmark of the login page.",
                again: Some("Log in again"),
            },
            Self::OtherBrowser => FailureText {
                title: "This login began somewhere else",
                what: "It was begun in another browser or a private window, or cookies are blocked.",
                advice: "Allow cookies for this site, and log in again in this browser.",
                again: Some("Log in again"),
            },
            Self::Malformed(_) => FailureText {
                title: "This is not a login",
                what: "The address lacks what the login service adds to it.",
                advice: "Log in again from the page that you want to open.",
                again: Some("Log in again"),
            },
            Self::Denied(_) => FailureText {
                title: "The login was not completed",
                what: "The login service reports that it was canceled or refused.",
                advice: "Log in again. If it is refused again, ask your administrator for access.",
                again: Some("Log in again"),
            },
            Self::NotAllowed(_) => FailureText {
                title: "No access",
                what: "You are logged in at the login service, but this account has no access to this site.",
                advice: "Use another account, or ask your administrator for access.",
                again: Some("Log in with another account"),
            },
            Self::Provider(error) if error.is_of_clock() => FailureText {
                title: "The clocks do not agree",
                what: "The time of the login service and that of this site differ too much.",
                advice: "Try again in a minute. If it fails again, send your administrator the number below.",
                again: Some("Log in again"),
            },
            Self::Provider(error) if error.is_away() => FailureText {
                title: "The login service does not respond",
                what: "Logging in is not possible at the moment. Nothing is wrong with your account.",
                advice: "Try again in a minute.",
                again: Some("Log in again"),
            },
            Self::Provider(_) => FailureText {
                title: "The login failed",
                what: "The login service sent a response that this site cannot accept.",
                advice: "Try again. If it fails again, send your administrator the number below.",
                again: Some("Log in again"),
            },
            Self::Store(_) => FailureText {
                title: "Logging in is not possible at the moment",
                what: "This site cannot store or find its sessions. Nothing is wrong with your account.",
                advice: "Try again in a minute.",
                again: Some("Try again"),
            },
        }
    }
}
