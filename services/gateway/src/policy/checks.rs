//! What both paths call to compare the body of a request, and its response, with the document.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{
    buffered::Excess,
    context::{Flow, PolicyContext},
    validated::Refusal,
};
use crate::{
    document::{CheckOutcome, Subject, Violation},
    error,
};

impl PolicyContext {
    /// Remembers a violation for the log.
    pub(super) fn note_violation(&mut self, subject: Subject, violations: &[Violation]) {
        let Some(first) = violations.first().filter(|_| self.violation.is_none()) else {
            return;
        };
        let more = match violations.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (subject, code) = (subject.name(), first.code);
        self.violation = Some(format!("{subject} {} {code}{more}", first.field).into());
    }

    /// Whether a request body is compared, and must be before it is forwarded.
    pub(crate) fn awaits_body(&self) -> bool {
        let body = self.validated.as_ref().and_then(|it| it.body.as_ref());
        body.is_some_and(|body| body.blocks && !body.is_done)
    }

    /// The whole body, before it is forwarded.
    pub(crate) fn check_body(&mut self, body: &[u8]) -> Flow {
        let Some(validated) = &mut self.validated else {
            return Flow::Continue;
        };
        let Some(pending) = &mut validated.body else {
            return Flow::Continue;
        };
        let result = pending.verdict(body);
        pending.is_done = true;
        self.conclude(result)
    }

    /// What is forwarded of a part of the body; `end`: it is the last one.
    ///
    /// # Errors
    /// The answer to a body that is refused.
    pub(crate) fn check_body_part(
        &mut self,
        part: Option<Bytes>,
        end: bool,
    ) -> Result<Option<Bytes>, Flow> {
        let Some(validated) = &mut self.validated else {
            return Ok(part);
        };
        let limits = validated.limits;
        let Some(pending) = validated.body.as_mut().filter(|body| !body.is_done) else {
            return Ok(part);
        };
        let bytes = part.as_deref().unwrap_or_default();
        let (most, all) = (limits.max_body_bytes, limits.max_buffered_bytes);
        if let Err(excess) = pending.buffer.push(bytes, most, all) {
            return self.give_up(excess, part);
        }
        if !end {
            // An empty part: none at all would end the body.
            return Ok(if pending.blocks {
                Some(Bytes::new())
            } else {
                part
            });
        }
        let result = pending.verdict(pending.buffer.bytes());
        let (blocks, whole) = (pending.blocks, pending.buffer.take());
        pending.is_done = true;
        match self.conclude(result) {
            Flow::Continue if blocks => Ok((!whole.is_empty()).then(|| whole.into())),
            Flow::Continue => Ok(part),
            refused => Err(refused),
        }
    }

    /// The body, or all bodies, are too large to be compared.
    fn give_up(&mut self, excess: Excess, part: Option<Bytes>) -> Result<Option<Bytes>, Flow> {
        let Some(validated) = &mut self.validated else {
            return Ok(part);
        };
        let blocks = validated.body.take().is_some_and(|body| body.blocks);
        let counts = &validated.counts;
        counts.checked(Subject::Request, CheckOutcome::Unchecked);
        if !blocks {
            return Ok(part);
        }
        let problem = match excess {
            Excess::Body => error::body_too_large(validated.limits.max_body_bytes as u64),
            Excess::Total => error::validation_overloaded(),
        };
        Err(Flow::Reply(problem.into()))
    }

    /// Counts the verdict on a body. A refusal, if it blocks.
    fn conclude(&mut self, result: Result<(), Refusal>) -> Flow {
        let Some(validated) = &mut self.validated else {
            return Flow::Continue;
        };
        let Some(pending) = &validated.body else {
            return Flow::Continue;
        };
        let Err(refusal) = result else {
            let counts = &validated.counts;
            counts.checked(Subject::Request, CheckOutcome::Valid);
            return Flow::Continue;
        };
        let violations = refusal.violations();
        let name = pending.operations.first().map(|operation| &operation.name);
        let counts = &validated.counts;
        counts.violated(Subject::Request, name, &violations);
        let blocks = pending.blocks;
        self.note_violation(Subject::Request, &violations);
        if blocks {
            Flow::Reply(refusal.problem(&violations).into())
        } else {
            Flow::Continue
        }
    }

    /// The body is sent again.
    pub(super) fn restart_checked_body(&mut self) {
        let body = self.validated.as_mut().and_then(|it| it.body.as_mut());
        if let Some(body) = body {
            body.buffer.clear();
        }
    }

    /// Whether the response is compared.
    pub(crate) fn checks_response(&self) -> bool {
        let validated = self.validated.as_ref();
        validated.is_some_and(|validated| validated.response.is_some())
    }

    /// The head of the final response.
    pub(crate) fn check_response_head(&mut self, status: StatusCode, headers: &HeaderMap) {
        let Some(validated) = &mut self.validated else {
            return;
        };
        let Some(pending) = &mut validated.response else {
            return;
        };
        match pending.head(status, headers) {
            Ok(Some(body)) => pending.body = Some(body),
            Ok(None) => {
                validated.response = None;
                let counts = &validated.counts;
                counts.checked(Subject::Response, CheckOutcome::Valid);
            }
            Err(violations) => self.respond_invalid(&violations),
        }
    }

    pub(crate) fn check_response_part(&mut self, part: &[u8]) {
        let Some(validated) = &mut self.validated else {
            return;
        };
        let limits = validated.limits;
        let response = validated.response.as_mut();
        let Some(body) = response.and_then(|response| response.body.as_mut()) else {
            return;
        };
        let (most, all) = (limits.max_response_bytes, limits.max_buffered_bytes);
        if body.buffer.push(part, most, all).is_err() {
            validated.response = None;
            let counts = &validated.counts;
            counts.checked(Subject::Response, CheckOutcome::Unchecked);
        }
    }

    /// The response has ended as it should.
    pub(crate) fn check_response_end(&mut self) {
        let Some(validated) = &mut self.validated else {
            return;
        };
        let Some(response) = validated.response.take() else {
            return;
        };
        let Some(body) = &response.body else {
            return;
        };
        match response.verdict(body) {
            None => validated
                .counts
                .checked(Subject::Response, CheckOutcome::Valid),
            Some(violations) => {
                validated.response = Some(response);
                self.respond_invalid(&violations);
            }
        }
    }

    fn respond_invalid(&mut self, violations: &[Violation]) {
        let Some(validated) = &mut self.validated else {
            return;
        };
        let Some(response) = validated.response.take() else {
            return;
        };
        let name = response.operations.first().map(|operation| &operation.name);
        validated
            .counts
            .violated(Subject::Response, name, violations);
        self.note_violation(Subject::Response, violations);
    }
}
