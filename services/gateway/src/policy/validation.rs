//! Compares requests with the OpenAPI document of their upstream (`validate`): operation and parameters
//! here, bodies and responses as they arrive, in [`validated`](super::validated).
//!
//! In shadow, differences are counted and logged. To block is to fail closed: without a document, or
//! where it cannot be used, requests are answered with 503. Responses are only ever counted.

use std::sync::Arc;

use http::{HeaderValue, header};
use quartet_common::problem::{FieldError, Problem, kinds};

use super::{
    context::{Flow, PolicyContext},
    shares::Shares,
    validated::{CheckLimits, PendingBody, PendingResponse, Validated},
};
use crate::{
    config::model::{self, UnknownOperations},
    document::{
        ApiDocument, BodyRule, CheckCounts, CheckOutcome, DocumentSlot, Operation, SentParameters,
        Subject, Unknown, Violation,
    },
    error,
    request::{RequestFacts, RequestTarget, preflight_method},
    routing::{Route, RouteAction},
};

/// What the checks of routes refer to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ValidationParts<'p> {
    pub(crate) settings: &'p model::Validation,
    /// By the index of the upstream; `None`: no route needs it.
    pub(crate) slots: &'p [Option<Arc<DocumentSlot>>],
    pub(crate) counts: &'p CheckCounts,
}

#[derive(Debug)]
pub(super) struct Validation {
    blocks: bool,
    /// One, or those of the upstreams of a split.
    slots: Vec<Arc<DocumentSlot>>,
    passes_unknown: bool,
    refuses_unknown_query: bool,
    limits: CheckLimits,
    /// Of the responses that are looked at, and the others. `None`: none is.
    samples: Option<Shares>,
    counts: CheckCounts,
}

/// Why a request is refused.
enum Refusal {
    Unknown(Unknown),
    /// The document cannot be used for the operation.
    Broken,
    Parameters(Arc<Operation>, Vec<Violation>),
    MediaType(Arc<Operation>, Violation),
    MissingBody(Arc<Operation>, Violation),
    Encoded(Arc<Operation>),
    TooLarge(Arc<Operation>),
}

/// What is to be done about a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyPlan {
    Pass,
    /// It has rules.
    Check,
    /// It has, and cannot be looked into.
    Unchecked,
}

/// What is known of the body before it arrives.
enum Announced {
    /// There is none.
    None,
    /// Of HTTP/2 it is not known yet.
    Perhaps,
    Some,
}

impl Validation {
    /// `None`: the route does not validate.
    pub(super) fn new(route: &Route, parts: ValidationParts<'_>) -> Option<Self> {
        if !route.validate.is_on() {
            return None;
        }
        let indices: Vec<usize> = match (route.action, &route.split) {
            (RouteAction::Proxy(index), _) => vec![index],
            (_, Some(split)) => split.parts.iter().map(|(index, _)| *index).collect(),
            _ => Vec::new(),
        };
        let slots = indices.iter();
        let slots = slots.filter_map(|&index| parts.slots.get(index)?.clone());
        let settings = parts.settings;
        let percent = settings.response_percent;
        Some(Self {
            blocks: route.validate.blocks(),
            slots: slots.collect(),
            passes_unknown: settings.unknown_operations == UnknownOperations::Pass,
            refuses_unknown_query: settings.refuse_unknown_query,
            limits: CheckLimits::new(settings),
            samples: (percent > 0).then(|| Shares::new([percent, 100 - percent])),
            counts: parts.counts.clone(),
        })
    }

    pub(super) fn on_request(&self, facts: &RequestFacts<'_>, context: &mut PolicyContext) -> Flow {
        if preflight_method(facts.method, facts.headers).is_some() {
            // The upstream says what pages may do; a document does not have it.
            return Flow::Continue;
        }
        let slot = self.slot(context).map(|slot| slot.load());
        let Some(in_force) = slot.as_ref().and_then(|slot| slot.as_ref()) else {
            return self.unchecked(no_document);
        };
        let target = std::str::from_utf8(facts.target).unwrap_or_default();
        let target = RequestTarget::split(target);
        let sent = SentParameters {
            path: target.path,
            query: target.query.trim_start_matches('?'),
            headers: facts.headers,
        };
        let is_encoded = context.decoder.is_none() && is_encoded(facts);
        let judge = |document| self.judge(document, facts, &sent, is_encoded);
        let other = || in_force.previous.as_deref().map(judge);
        let (operation, plan, alternative) = match judge(&in_force.current) {
            Ok((operation, BodyPlan::Check)) => {
                let other = other().and_then(Result::ok).map(|(other, _)| other);
                (operation, BodyPlan::Check, other)
            }
            Ok((operation, plan)) => (operation, plan, None),
            Err(refusal) => match other() {
                Some(Ok((operation, plan))) => (operation, plan, None),
                _ => return self.refuse(refusal, context),
            },
        };
        self.accept(operation, alternative, plan, facts, context);
        Flow::Continue
    }

    /// Of the upstream that the request is for.
    fn slot(&self, context: &PolicyContext) -> Option<&Arc<DocumentSlot>> {
        match (self.slots.as_slice(), &context.upstream) {
            ([only], None) => Some(only),
            (all, Some(chosen)) => {
                let name = &chosen.config.name;
                all.iter().find(|slot| slot.source.upstream == *name)
            }
            _ => None,
        }
    }

    /// The operation of the request, and what is to be done about its body.
    fn judge<'d>(
        &self,
        document: &'d ApiDocument,
        facts: &RequestFacts<'_>,
        sent: &SentParameters<'_>,
        is_encoded: bool,
    ) -> Result<(&'d Arc<Operation>, BodyPlan), Refusal> {
        let found = document.operation(facts.method, sent.path);
        let (operation, base) = found.map_err(Refusal::Unknown)?;
        if operation.broken().is_some() {
            return Err(Refusal::Broken);
        }
        let found = operation.check_parameters(sent, base, self.refuses_unknown_query);
        if !found.is_empty() {
            return Err(Refusal::Parameters(Arc::clone(operation), found));
        }
        let plan = match operation.body() {
            Some(rule) => self.plan(operation, rule, facts, is_encoded)?,
            None => BodyPlan::Pass,
        };
        Ok((operation, plan))
    }

    fn plan(
        &self,
        operation: &Arc<Operation>,
        rule: &BodyRule,
        facts: &RequestFacts<'_>,
        is_encoded: bool,
    ) -> Result<BodyPlan, Refusal> {
        let content_type = facts.headers.first(&header::CONTENT_TYPE);
        match announced(facts) {
            Announced::None if rule.is_required() => {
                let missing = Violation::missing_body();
                return Err(Refusal::MissingBody(Arc::clone(operation), missing));
            }
            Announced::None => return Ok(BodyPlan::Pass),
            // Nothing may follow.
            Announced::Perhaps if content_type.is_none() => return Ok(BodyPlan::Check),
            _ => {}
        }
        let content = rule.contents().of_type(content_type);
        let content = content.map_err(|it| Refusal::MediaType(Arc::clone(operation), it))?;
        if !content.is_some_and(|at| rule.contents().has_rules(at, content_type)) {
            return Ok(BodyPlan::Pass);
        }
        let length = facts.headers.content_length().unwrap_or(0);
        let is_large = length > self.limits.max_body_bytes as u64;
        match (is_large, is_encoded) {
            (false, false) => Ok(BodyPlan::Check),
            _ if !self.blocks => Ok(BodyPlan::Unchecked),
            (true, _) => Err(Refusal::TooLarge(Arc::clone(operation))),
            (false, true) => Err(Refusal::Encoded(Arc::clone(operation))),
        }
    }

    fn accept(
        &self,
        operation: &Arc<Operation>,
        alternative: Option<&Arc<Operation>>,
        plan: BodyPlan,
        facts: &RequestFacts<'_>,
        context: &mut PolicyContext,
    ) {
        match plan {
            BodyPlan::Pass => self.counts.checked(Subject::Request, CheckOutcome::Valid),
            BodyPlan::Unchecked => {
                self.counts
                    .checked(Subject::Request, CheckOutcome::Unchecked);
            }
            BodyPlan::Check => {}
        }
        let is_sampled = self.samples.as_ref().is_some_and(|it| it.next() == 0);
        let has_body = plan == BodyPlan::Check;
        if !has_body && !is_sampled {
            return;
        }
        let operations = std::iter::once(operation).chain(alternative).cloned();
        let operations: Arc<[Arc<Operation>]> = operations.collect();
        let content_type = facts.headers.first(&header::CONTENT_TYPE);
        context.validated = Some(Box::new(Validated {
            body: has_body.then(|| {
                let operations = Arc::clone(&operations);
                PendingBody::new(operations, content_type.map(Into::into), self.blocks)
            }),
            response: is_sampled.then(|| PendingResponse::new(operations, facts.method)),
            limits: self.limits,
            counts: self.counts.clone(),
        }));
    }

    fn refuse(&self, refusal: Refusal, context: &mut PolicyContext) -> Flow {
        let (operation, violations) = match &refusal {
            Refusal::Unknown(_) if self.passes_unknown => {
                return self.unchecked(|| Flow::Continue);
            }
            Refusal::Unknown(Unknown::Path) => (None, vec![Violation::unknown_path()]),
            Refusal::Unknown(Unknown::Method(_)) => (None, vec![Violation::unknown_method()]),
            Refusal::Broken => return self.unchecked(no_document),
            Refusal::Parameters(operation, found) => (Some(operation), found.clone()),
            Refusal::MediaType(operation, one) | Refusal::MissingBody(operation, one) => {
                (Some(operation), vec![one.clone()])
            }
            Refusal::TooLarge(operation) => (Some(operation), vec![Violation::too_large()]),
            Refusal::Encoded(operation) => (Some(operation), vec![Violation::encoded()]),
        };
        let name = operation.map(|operation| &operation.name);
        self.counts.violated(Subject::Request, name, &violations);
        context.note_violation(Subject::Request, &violations);
        if self.blocks {
            Flow::Reply(self.problem(refusal).into())
        } else {
            Flow::Continue
        }
    }

    fn problem(&self, refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Unknown(Unknown::Path) => error::no_route(),
            Refusal::Unknown(Unknown::Method(methods)) => error::method_not_allowed(&methods),
            Refusal::Broken => error::document_unavailable(),
            Refusal::Parameters(_, found) => {
                let fields: Vec<FieldError> = found.iter().map(Violation::to_field_error).collect();
                Problem::new(&kinds::INVALID_PARAMETER).errors(fields)
            }
            Refusal::MediaType(_, one) => {
                Problem::new(&kinds::UNSUPPORTED_MEDIA_TYPE).field(one.to_field_error())
            }
            Refusal::MissingBody(_, one) => Problem::invalid(vec![one.to_field_error()]),
            Refusal::TooLarge(_) => error::body_too_large(self.limits.max_body_bytes as u64),
            Refusal::Encoded(_) => error::unsupported_coding(HeaderValue::from_static("identity")),
        }
    }

    /// The request cannot be compared. `blocked`: what is answered then.
    fn unchecked(&self, blocked: impl FnOnce() -> Flow) -> Flow {
        self.counts
            .checked(Subject::Request, CheckOutcome::Unchecked);
        if self.blocks {
            blocked()
        } else {
            Flow::Continue
        }
    }
}

fn no_document() -> Flow {
    Flow::Reply(error::document_unavailable().into())
}

/// Whether the body is compressed.
fn is_encoded(facts: &RequestFacts<'_>) -> bool {
    let mut codings = facts
        .headers
        .all(header::CONTENT_ENCODING)
        .map(<[u8]>::trim_ascii);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

fn announced(facts: &RequestFacts<'_>) -> Announced {
    let length = facts.headers.content_length();
    let is_framed = facts.headers.first(&header::TRANSFER_ENCODING).is_some();
    match length {
        Some(0) => Announced::None,
        Some(_) => Announced::Some,
        None if is_framed => Announced::Some,
        // Of HTTP/1, whose head says it, or of HTTP/2.
        None if facts.authority.is_none() => Announced::None,
        None => Announced::Perhaps,
    }
}
