//! The body of a request, and the response to it, beside what the OpenAPI document says of them.
//!
//! Both paths call these in this order: the request body as its parts arrive, or as a whole before
//! anything is forwarded; the head of the final response, the parts of its body, its end. A body that
//! blocks is held back until it is whole and valid. Others pass while they are looked at.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use quartet_common::problem::{FieldError, Problem, kinds};

use super::{
    buffered::{Buffered, Excess},
    context::{Flow, PolicyContext},
};
use crate::{
    config::model,
    document::{BodyFault, CheckCounts, CheckOutcome, Operation, ResponseRule, Subject, Violation},
    error,
};

/// Bounds of what is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckLimits {
    pub(super) max_body_bytes: usize,
    max_response_bytes: usize,
    max_buffered_bytes: usize,
}

/// What is still to be compared of a request.
#[derive(Debug)]
pub(crate) struct Validated {
    pub(super) body: Option<PendingBody>,
    pub(super) response: Option<PendingResponse>,
    pub(super) limits: CheckLimits,
    pub(super) counts: CheckCounts,
}

/// Of the documents in force, one of which must allow it.
type Operations = Arc<[Arc<Operation>]>;

/// A request body.
#[derive(Debug)]
pub(super) struct PendingBody {
    operations: Operations,
    content_type: Option<Box<[u8]>>,
    blocks: bool,
    buffer: Buffered,
    /// It was whole once, and found valid.
    is_done: bool,
}

/// A response.
#[derive(Debug)]
pub(super) struct PendingResponse {
    operations: Operations,
    is_head: bool,
    /// Of a body that is looked into.
    body: Option<ResponseBody>,
}

#[derive(Debug)]
struct ResponseBody {
    status: u16,
    content_type: Option<Box<[u8]>>,
    buffer: Buffered,
}

/// Why a body is not as it must be.
enum Refusal {
    Fault(BodyFault),
    MediaType(Violation),
    Missing(Violation),
}

impl CheckLimits {
    pub(super) fn new(settings: &model::Validation) -> Self {
        let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            max_body_bytes: bytes(settings.max_body_bytes),
            max_response_bytes: bytes(settings.max_response_bytes),
            max_buffered_bytes: bytes(settings.max_buffered_bytes),
        }
    }
}

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

impl PendingBody {
    pub(super) fn new(
        operations: Operations,
        content_type: Option<Box<[u8]>>,
        blocks: bool,
    ) -> Self {
        Self {
            operations,
            content_type,
            blocks,
            buffer: Buffered::default(),
            is_done: false,
        }
    }

    /// What the first operation says against the body, unless another one allows it.
    fn verdict(&self, body: &[u8]) -> Result<(), Refusal> {
        let mut results = self.operations.iter().map(|it| self.verdict_of(it, body));
        match results.next() {
            Some(Err(first)) if !results.any(|other| other.is_ok()) => Err(first),
            _ => Ok(()),
        }
    }

    fn verdict_of(&self, operation: &Operation, body: &[u8]) -> Result<(), Refusal> {
        let Some(rule) = operation.body() else {
            return Ok(());
        };
        if body.is_empty() {
            return if rule.is_required() {
                Err(Refusal::Missing(Violation::missing_body()))
            } else {
                Ok(())
            };
        }
        let content_type = self.content_type.as_deref();
        let contents = rule.contents();
        let content = contents.of_type(content_type).map_err(Refusal::MediaType)?;
        match content {
            Some(at) if contents.has_rules(at, content_type) => {
                contents.check(at, body).map_err(Refusal::Fault)
            }
            _ => Ok(()),
        }
    }
}

impl Refusal {
    fn violations(&self) -> Vec<Violation> {
        match self {
            Self::Fault(BodyFault::Malformed(..)) => vec![Violation::malformed_body()],
            Self::Fault(BodyFault::Invalid(found)) => found.clone(),
            Self::MediaType(one) | Self::Missing(one) => vec![one.clone()],
        }
    }

    fn problem(&self, violations: &[Violation]) -> Problem {
        let fields: Vec<FieldError> = violations.iter().map(Violation::to_field_error).collect();
        match self {
            Self::Fault(BodyFault::Malformed(line, column)) => {
                error::malformed_json(*line, *column)
            }
            Self::Fault(BodyFault::Invalid(_)) | Self::Missing(_) => Problem::invalid(fields),
            Self::MediaType(_) => Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).errors(fields),
        }
    }
}

impl PendingResponse {
    pub(super) fn new(operations: Operations, method: &Method) -> Self {
        Self {
            operations,
            is_head: *method == Method::HEAD,
            body: None,
        }
    }

    /// The body that is to be looked into, if any.
    fn head(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Option<ResponseBody>, Vec<Violation>> {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(None);
        }
        let all = self.operations.iter();
        let mut results = all.map(|it| self.head_of(it, status, headers));
        let first = results.next().unwrap_or(Ok(None));
        let violations = match first {
            Ok(body) => return Ok(body),
            Err(violations) => violations,
        };
        results.find_map(Result::ok).ok_or(violations)
    }

    fn head_of(
        &self,
        operation: &Operation,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Option<ResponseBody>, Vec<Violation>> {
        let rule = operation
            .response(status.as_u16())
            .map_err(|one| vec![one])?;
        let Some(rule) = rule else { return Ok(None) };
        let missing = rule.missing_headers(|name| headers.contains_key(name));
        if !missing.is_empty() {
            return Err(missing);
        }
        let has_none = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let content_type = headers.get(header::CONTENT_TYPE);
        let content_type = content_type.map(http::HeaderValue::as_bytes);
        if self.is_head || has_none || content_type.is_none() {
            return Ok(None);
        }
        let content = rule
            .contents()
            .of_type(content_type)
            .map_err(|one| vec![one])?;
        let is_plain = headers.get(header::CONTENT_ENCODING).is_none();
        let has_rules = content.is_some_and(|at| rule.contents().has_rules(at, content_type));
        Ok((has_rules && is_plain).then(|| ResponseBody {
            status: status.as_u16(),
            content_type: content_type.map(Into::into),
            buffer: Buffered::default(),
        }))
    }

    /// What is wrong with the body; `None`: nothing.
    fn verdict(&self, body: &ResponseBody) -> Option<Vec<Violation>> {
        let of = |operation: &Arc<Operation>| {
            let rule: &ResponseRule = operation.response(body.status).ok()??;
            let content = rule
                .contents()
                .of_type(body.content_type.as_deref())
                .ok()??;
            match rule.contents().check(content, body.buffer.bytes()) {
                Ok(()) => None,
                Err(BodyFault::Malformed(..)) => Some(vec![Violation::malformed_body()]),
                Err(BodyFault::Invalid(found)) => Some(found),
            }
        };
        let mut verdicts = self.operations.iter().map(of);
        let first = verdicts.next()??;
        verdicts.all(|other| other.is_some()).then_some(first)
    }
}
