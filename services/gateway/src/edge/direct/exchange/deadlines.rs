//! Which wait ends first. Every one of them is in force only while something depends on it.

use tokio::time::Instant;

use super::Exchange;
use crate::edge::direct::failed::ExchangeError;

/// Who is waited for.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    Body,
    Answer,
    Upstream,
    Try,
    /// For the end of the whole request.
    End,
}

impl<C, U> Exchange<'_, C, U> {
    pub(super) fn expired(&self) -> ExchangeError {
        match self.earliest() {
            Some((_, Wait::Body)) => ExchangeError::BodyTimeout,
            Some((_, Wait::Answer)) => ExchangeError::ClientStalled,
            Some((_, Wait::Try)) => ExchangeError::TryTimeout,
            Some((_, Wait::End)) => ExchangeError::RequestTimeout,
            Some((_, Wait::Upstream)) | None => ExchangeError::UpstreamTimeout,
        }
    }

    /// The earliest of the deadlines in force.
    pub(super) fn earliest(&self) -> Option<(Instant, Wait)> {
        let deadlines = self.deadlines().into_iter().flatten();
        deadlines.min_by_key(|(deadline, _)| *deadline)
    }

    fn deadlines(&self) -> [Option<(Instant, Wait)>; 4] {
        let silence = self.timeouts.response;
        let upstream = || Some((self.upstream_since + silence?, Wait::Upstream));
        let request = if self.sending.is_done() {
            None
        } else if self.sending.buffer.is_empty() {
            Some((self.body_since + self.timeouts.body, Wait::Body))
        } else {
            upstream()
        };
        let response = if self.answering.has_unsent() {
            Some((self.answer_since + self.timeouts.write, Wait::Answer))
        } else if self.sending.is_done() {
            upstream()
        } else {
            None
        };
        let attempt = self.try_until.filter(|_| !self.head_received);
        let attempt = attempt.map(|until| (until, Wait::Try));
        let end = self.timeouts.end.map(|end| (end, Wait::End));
        [request, response, attempt, end]
    }
}
