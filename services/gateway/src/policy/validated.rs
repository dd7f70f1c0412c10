//! The body of a request, and the response to it, beside what the OpenAPI document says of them.
//!
//! Both paths call these in this order: the request body as its parts arrive, or as a whole before
//! anything is forwarded; the head of the final response, the parts of its body, its end. A body that
//! blocks is held back until it is whole and valid. Others pass while they are looked at.

use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use quartet_common::problem::{FieldError, Problem, kinds};

use super::buffered::Buffered;
use crate::{
    config::model,
    document::{BodyFault, CheckCounts, Operation, ResponseRule, Violation},
    error,
};

/// Bounds of what is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckLimits {
    pub(super) max_body_bytes: usize,
    pub(super) max_response_bytes: usize,
    pub(super) max_buffered_bytes: usize,
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
    pub(super) operations: Operations,
    pub(super) content_type: Option<Box<[u8]>>,
    pub(super) blocks: bool,
    pub(super) buffer: Buffered,
    /// It was whole once, and found valid.
    pub(super) is_done: bool,
}

/// A response.
#[derive(Debug)]
pub(super) struct PendingResponse {
    pub(super) operations: Operations,
    pub(super) is_head: bool,
    /// Of a body that is looked into.
    pub(super) body: Option<ResponseBody>,
}

#[derive(Debug)]
pub(super) struct ResponseBody {
    pub(super) status: u16,
    pub(super) content_type: Option<Box<[u8]>>,
    pub(super) buffer: Buffered,
}

/// Why a body is not as it must be.
pub(super) enum Refusal {
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
    pub(super) fn verdict(&self, body: &[u8]) -> Result<(), Refusal> {
        let mut results = self.operations.iter().map(|it| self.verdict_of(it, body));
        match results.next() {
            Some(Err(first)) if !results.any(|other| other.is_ok()) => Err(first),
            _ => Ok(()),
        }
    }

    pub(super) fn verdict_of(&self, operation: &Operation, body: &[u8]) -> Result<(), Refusal> {
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
    pub(super) fn violations(&self) -> Vec<Violation> {
        match self {
            Self::Fault(BodyFault::Malformed(..)) => vec![Violation::malformed_body()],
            Self::Fault(BodyFault::Invalid(found)) => found.clone(),
            Self::MediaType(one) | Self::Missing(one) => vec![one.clone()],
        }
    }

    pub(super) fn problem(&self, violations: &[Violation]) -> Problem {
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
    pub(super) fn head(
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

    pub(super) fn head_of(
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
    pub(super) fn verdict(&self, body: &ResponseBody) -> Option<Vec<Violation>> {
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
