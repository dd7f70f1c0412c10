//! Which failures of an attempt lead to another one, beside a connection that cannot be made.

use serde::Deserialize;

/// A failure after which a request that is safe to retry is sent to another replica.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum RetryCause {
    /// The connection ended before a response began.
    #[serde(rename = "reset")]
    Reset,
    #[serde(rename = "502")]
    BadGateway,
    #[serde(rename = "503")]
    ServiceUnavailable,
    #[serde(rename = "504")]
    GatewayTimeout,
}

/// A set of them.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(from = "Vec<RetryCause>")]
pub(crate) struct RetryOn(u8);

impl RetryCause {
    const ALL: [Self; 4] = [
        Self::Reset,
        Self::BadGateway,
        Self::ServiceUnavailable,
        Self::GatewayTimeout,
    ];

    /// That of a response with this status.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            502 => Some(Self::BadGateway),
            503 => Some(Self::ServiceUnavailable),
            504 => Some(Self::GatewayTimeout),
            _ => None,
        }
    }
}

impl RetryOn {
    pub(crate) fn includes(self, cause: RetryCause) -> bool {
        self.0 & (1 << cause as u8) != 0
    }
}

impl From<Vec<RetryCause>> for RetryOn {
    fn from(causes: Vec<RetryCause>) -> Self {
        Self(
            causes
                .iter()
                .fold(0, |all, cause| all | (1 << *cause as u8)),
        )
    }
}

/// All of them.
impl Default for RetryOn {
    fn default() -> Self {
        Self::from(RetryCause::ALL.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_includes_what_it_was_made_of() {
        for cause in RetryCause::ALL {
            assert!(RetryOn::default().includes(cause));
            assert!(!RetryOn::from(Vec::new()).includes(cause));
            let alone = RetryOn::from(vec![cause]);
            let included = RetryCause::ALL.into_iter().filter(|it| alone.includes(*it));
            assert_eq!(included.collect::<Vec<_>>(), [cause]);
        }
        assert_eq!(
            RetryCause::of_status(503),
            Some(RetryCause::ServiceUnavailable)
        );
        assert_eq!(RetryCause::of_status(500), None);
    }
}
