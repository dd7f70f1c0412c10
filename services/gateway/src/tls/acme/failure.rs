//! Why there is no new certificate.

use std::time::Duration;

use quartet_common::causes;

use super::{http_client::LastRefusal, store::StoreError};

#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    #[error("the store of the certificates: {0}")]
    Store(#[from] StoreError),
    #[error("another gateway has taken over")]
    LeaseLost,
    #[error("the authority has no profile `{asked}`, only {offered}")]
    Profile { asked: String, offered: String },
    #[error("the authority could not prove the hosts: {0}")]
    Refused(String),
    #[error("the authority: {error}")]
    Authority {
        error: String,
        /// `urn:ietf:params:acme:error:` is left out.
        kind: Option<String>,
        status: Option<u16>,
        retry_after: Option<Duration>,
    },
    #[error("the authority: no answer in time")]
    Timeout,
    #[error("{0}")]
    Unusable(String),
}

impl AcmeError {
    /// `last`: what the authority said last, which the library does not pass on.
    pub(super) fn of_authority(error: &instant_acme::Error, last: LastRefusal) -> Self {
        let mut text = causes(error);
        let (kind, status) = match error {
            instant_acme::Error::Api(problem) => {
                let kind = problem.r#type.as_deref().map(|kind| {
                    let kind = kind
                        .strip_prefix("urn:ietf:params:acme:error:")
                        .unwrap_or(kind);
                    kind.to_owned()
                });
                (kind, problem.status.or(last.status))
            }
            _ => (None, last.status),
        };
        if let (None, Some(status)) = (&kind, status) {
            text = format!("status {status}: {text}");
        }
        Self::Authority {
            error: text,
            kind,
            status,
            retry_after: last.retry_after,
        }
    }

    /// As metrics and the store call it.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Store(_) => "store",
            Self::LeaseLost => "lease_lost",
            Self::Profile { .. } => "profile",
            Self::Refused(_) => "refused",
            Self::Authority { kind, status, .. } => match (kind.as_deref(), status) {
                (Some("rateLimited"), _) | (_, Some(429)) => "rate_limited",
                (Some("serverInternal") | None, _) | (_, Some(500..)) => "unavailable",
                _ => "refused",
            },
            Self::Timeout => "unavailable",
            Self::Unusable(_) => "unusable",
        }
    }

    pub(super) fn is_kind(&self, expected: &str) -> bool {
        matches!(self, Self::Authority { kind: Some(kind), .. } if kind == expected)
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Authority { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Every outcome of an order, in metrics.
pub(crate) const OUTCOMES: [&str; 8] = [
    "issued",
    "store",
    "lease_lost",
    "profile",
    "refused",
    "rate_limited",
    "unavailable",
    "unusable",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(kind: Option<&str>, status: Option<u16>) -> AcmeError {
        AcmeError::Authority {
            error: String::new(),
            kind: kind.map(str::to_owned),
            status,
            retry_after: None,
        }
    }

    #[test]
    fn outcomes_are_few_and_known() {
        for (error, expected) in [
            (authority(Some("rateLimited"), Some(429)), "rate_limited"),
            (authority(None, Some(429)), "rate_limited"),
            (authority(None, Some(503)), "unavailable"),
            (authority(None, None), "unavailable"),
            (authority(Some("serverInternal"), Some(500)), "unavailable"),
            (authority(Some("rejectedIdentifier"), Some(400)), "refused"),
            (AcmeError::Timeout, "unavailable"),
            (AcmeError::LeaseLost, "lease_lost"),
        ] {
            assert_eq!(error.outcome(), expected, "{error:?}");
            assert!(OUTCOMES.contains(&expected));
        }
    }

    #[test]
    fn an_answer_that_is_no_problem_has_its_status() {
        let json = serde_json::from_str::<u8>("<html>").unwrap_err();
        let last = LastRefusal {
            status: Some(502),
            retry_after: Some(Duration::from_secs(7)),
        };
        let error = AcmeError::of_authority(&instant_acme::Error::Json(json), last);
        assert!(error.to_string().contains("status 502"), "{error}");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    }
}
