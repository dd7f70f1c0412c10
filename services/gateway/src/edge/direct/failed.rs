//! Why there is no whole response, and what the client gets instead.

use std::io;

use quartet_common::problem::Problem;

use crate::{
    edge::{failure, response_framing::RefusalReason},
    error,
};

/// Why there is no complete response.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The client disconnected.
    ClientGone,
    /// The client took nothing of the response.
    ClientStalled,
    /// The request body did not arrive in time.
    BodyTimeout,
    UpstreamTimeout,
    /// The time of the whole request has passed.
    RequestTimeout,
    /// The upstream has not answered while another replica could be asked.
    TryTimeout,
    /// Another attempt takes the place of the response.
    Withheld,
    /// The connection to the upstream failed or ended before the response did.
    UpstreamClosed(Option<io::Error>),
    /// The response is not passed on.
    Refused(RefusalReason),
}

/// Why no attempt brought a whole response.
pub(super) struct FailedRequest {
    /// `None`: the client has disconnected.
    pub(super) problem: Option<Problem>,
    pub(super) error: Option<String>,
    /// The status and the bytes of a response that has started.
    pub(super) sent: Option<(Option<u16>, u64)>,
}

impl FailedRequest {
    /// `sent`: the status and the bytes of a response that has started.
    pub(super) fn of(failure: &ExchangeError, sent: Option<(Option<u16>, u64)>) -> Self {
        Self {
            problem: failure.problem(),
            error: Some(failure.text()),
            sent,
        }
    }

    pub(super) fn unreachable(error: Option<String>) -> Self {
        Self {
            error,
            ..Self::refused(error::upstream_unreachable())
        }
    }

    /// Nothing was sent to an upstream.
    pub(super) fn refused(problem: Problem) -> Self {
        Self {
            problem: Some(problem),
            error: None,
            sent: None,
        }
    }
}

impl ExchangeError {
    /// Rather than of the client or of time.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Self::UpstreamClosed(_) | Self::Refused(_))
    }

    fn problem(&self) -> Option<Problem> {
        match self {
            Self::ClientGone | Self::ClientStalled => None,
            Self::BodyTimeout => Some(failure::body_timed_out()),
            Self::UpstreamTimeout | Self::RequestTimeout | Self::TryTimeout => {
                Some(error::upstream_timeout())
            }
            Self::UpstreamClosed(_) | Self::Refused(_) | Self::Withheld => {
                Some(error::bad_gateway())
            }
        }
    }

    fn text(&self) -> String {
        let text = match self {
            Self::ClientGone => "the client disconnected",
            Self::ClientStalled => "the client did not read the response in time",
            Self::BodyTimeout => "the request body did not arrive in time",
            Self::UpstreamTimeout => "the upstream did not respond in time",
            Self::RequestTimeout => "the request did not end in time",
            Self::TryTimeout => "the upstream did not respond within the time-out of an attempt",
            Self::Withheld => "the upstream answered with an error",
            Self::UpstreamClosed(None) => "the upstream closed the connection",
            Self::UpstreamClosed(Some(error)) => return error.to_string(),
            Self::Refused(why) => why,
        };
        text.to_owned()
    }
}
